"""The calibration finds constants that it can know, and reads what the recordings hold."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from benchmarks.calibration import beyond, closed_loop
from benchmarks.calibration.fit import EXPONENT, STEP, errors, fit, mean_absolute
from stoker.sim.profiles import GB10_FP8, H100_MOE, EngineProfile

DATA = Path(__file__).parents[2] / "benchmarks/data"
TIMES = closed_loop.Times(warm_up_s=1.0, window_s=5.0)
TRUTH = EngineProfile(
    "truth",
    step_base_s=0.01,
    step_slope_s=0.004,
    step_exponent=0.7,
    context_token_s=0.0,
    prefill_token_s=2e-4,
    front_s=0.01,
)


def points(*callers: int) -> list[closed_loop.Point]:
    """A recording of an engine whose constants are known."""
    blank = [closed_loop.Point(n, 200, 40.0, 0.5, {}) for n in callers]
    return [replace(one, measured=closed_loop.simulate(TRUTH, one, TIMES)) for one in blank]


@pytest.mark.slow
def test_a_fit_on_half_the_points_predicts_the_other_half() -> None:
    recorded = points(1, 2, 6, 10, 12)
    simulate = partial(closed_loop.simulate, times=TIMES)
    guess = replace(TRUTH, step_base_s=0.02, step_slope_s=0.002, prefill_token_s=4e-4, front_s=0.02)

    found = fit(recorded[::2], simulate, guess, (*STEP, EXPONENT))

    table = errors(recorded[1::2], simulate, found)
    assert mean_absolute(table, "output_tokens_per_s") < 0.03
    assert mean_absolute(table, "ttft_p50_s") < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("callers", [1, 16, 64, 128])
def test_the_h100_profile_still_tells_the_recorded_curve(callers: int) -> None:
    recorded = closed_loop.read_points(DATA / "h100_moe_30b_graph_prefill.csv")
    point = next(one for one in recorded if one.callers == callers)

    found = closed_loop.simulate(H100_MOE, point, closed_loop.Times(6.0, 22.0), seeds=3)

    assert found["output_tokens_per_s"] == pytest.approx(point.measured["output_tokens_per_s"], 0.1)
    assert found["ttft_p50_s"] == pytest.approx(point.measured["ttft_p50_s"], 0.2)


@pytest.mark.slow
def test_the_h100_profile_loses_turns_and_cache_when_agents_outgrow_the_kv_cache() -> None:
    fits, thrashes = (beyond.simulate(H100_MOE, beyond.Agents(count, {})) for count in (32, 48))

    assert thrashes["turns_per_s"] < 0.85 * fits["turns_per_s"]
    assert thrashes["cached_share"] < 0.6 < fits["cached_share"]


def test_what_a_recording_does_not_know_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "recorded.csv"
    path.write_text(
        "n,prompt_tokens,output_tokens,output_sigma,output_tokens_per_s,ttft_p50_s,itl_p50_s\n"
        "4,200,64,0.5,80.5,0.25,\n"
    )

    assert closed_loop.read_points(path) == [
        closed_loop.Point(4, 200, 64.0, 0.5, {"output_tokens_per_s": 80.5, "ttft_p50_s": 0.25})
    ]


@pytest.mark.parametrize(("batch", "step_s"), [(1, 1 / 51.9), (5, 5 / 109.5), (10, 10 / 150.2)])
def test_the_gb10_profile_decodes_as_fast_as_a_few_callers_saw(batch: int, step_s: float) -> None:
    # Closed loops of 1, 5 and 10 callers (1,000 tokens each way), which no fit has seen.
    assert GB10_FP8.decode_step_s(batch, batch * 1500) == pytest.approx(step_s, rel=0.15)
