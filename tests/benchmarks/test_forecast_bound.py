"""What a forecaster could know at best: the sums of `benchmarks/bench_forecast.py`."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.bench_forecast import Case, Lengths, expected_peak, measured
from stoker.core.envelope import InFlight, kv_peak
from stoker.sim.lengths import LogNormal

uncertain = st.builds(InFlight, st.integers(0, 10_000), st.floats(0, 1e4), st.floats(0, 1e7))


@dataclass(frozen=True, slots=True)
class Alike:
    """Every prompt has 1,000 tokens, every answer 400."""

    def draw(self, random: Random) -> tuple[int, int]:
        return 1000, 400


@given(st.lists(uncertain, min_size=1, max_size=12))
def test_two_parts_are_the_envelope_that_stoker_uses(in_flight: list[InFlight]) -> None:
    assert expected_peak(in_flight, 2) == pytest.approx(kv_peak(in_flight, 0.0))


@given(
    st.integers(1, 8),
    st.lists(st.builds(InFlight, st.integers(0, 99), st.floats(0, 99), st.just(0.0))),
)
def test_certain_lengths_have_one_peak_in_however_many_parts(
    parts: int, in_flight: list[InFlight]
) -> None:
    assert expected_peak(in_flight, parts) == pytest.approx(kv_peak(in_flight, 0.0))


def test_who_knows_every_length_is_never_wrong() -> None:
    row = measured(Case("alike", Alike(), 6, 10_000), sets=4, seed=1)

    assert row.endswith("| 100% | 0.0% | 0.0% | 0.0% |")


def test_what_runs_is_met_by_how_long_it_stays() -> None:
    chance = Random(3)
    lengths = Lengths(LogNormal(100, 400, prompt_sigma=0.0, output_sigma=0.6), chance)
    seen = [lengths.running()[1] for _ in range(4000)]

    # E[L^2] / 2 E[L] of a log-normal: half the mean, times exp(sigma^2).
    assert sum(seen) / len(seen) == pytest.approx(200 * 1.4333, rel=0.05)
    assert all(lengths.remaining(one) > 0 for one in seen[:100])
