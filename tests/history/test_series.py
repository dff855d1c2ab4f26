"""Put together in any way, the parts of a stretch of time say what the whole says."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.history.series import Sample, bin_middle_s, bin_of, merged, percentile_s

values = st.floats(0, 1e12, allow_nan=False)
seconds = st.floats(0.001, 100, allow_nan=False)
times = st.floats(1e-4, 1e4, allow_nan=False)
names = st.sampled_from(["p0.waiting", "p2.running", "held_tokens"])


@st.composite
def samples(draw):
    sample = Sample(covered_s=draw(seconds))
    for name, value in draw(st.lists(st.tuples(names, values), max_size=4)):
        sample.count(name, value)
    for name, value, for_s in draw(st.lists(st.tuples(names, values, seconds), max_size=4)):
        sample.see(name, value, for_s)
    for name, value in draw(st.lists(st.tuples(names, times), max_size=6)):
        sample.time(name, value)
    return sample


def plain(sample: Sample) -> tuple[object, ...]:
    """What a sample says, but for the order of additions."""
    return (
        pytest.approx(sample.covered_s),
        {name: pytest.approx(value) for name, value in sample.sums.items()},
        {
            name: (
                pytest.approx(one.seen_s),
                pytest.approx(one.mean),
                one.least,
                one.most,
            )
            for name, one in sample.gauges.items()
        },
        sample.times,
    )


def said(sample: Sample) -> tuple[object, ...]:
    gauges = {
        name: (one.seen_s, one.mean, one.least, one.most) for name, one in sample.gauges.items()
    }
    return sample.covered_s, sample.sums, gauges, sample.times


@given(st.lists(samples(), max_size=8), st.integers(1, 4))
def test_samples_in_groups_say_what_they_say_one_by_one(parts, size):
    groups = [merged(parts[at : at + size]) for at in range(0, len(parts), size)]

    assert said(merged(groups)) == plain(merged(parts))


@given(samples(), samples())
def test_putting_together_changes_neither_part(one, other):
    before = said(merged([one])), said(merged([other]))

    merged([one, other]).count("p0.waiting", 1)

    assert (said(one), said(other)) == before


@given(st.lists(times, min_size=1, max_size=60), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_percentile_is_that_of_the_times_to_within_half_a_bin(seen, share):
    sample = Sample()
    for value in seen:
        sample.time("p0.ttft_s", value)
    exact = sorted(seen)[max(1, math.ceil(share * len(seen))) - 1]

    found = percentile_s(sample.times["p0.ttft_s"], share)

    assert found == pytest.approx(exact, rel=0.05)


@given(times)
def test_a_bin_has_its_own_middle(value):
    assert bin_of(bin_middle_s(bin_of(value))) == bin_of(value)


def test_nothing_has_no_percentile():
    assert percentile_s({}, 0.5) is None


def test_a_gauge_that_nobody_knows_is_left_out():
    sample = Sample()
    sample.see("kv_cache_usage", None, 2.0)

    assert not list(sample.names())
