"""The survival curve against the textbook, and against the bias it exists to remove."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stoker.core.lengths import HALF_LIFE, LengthCurve, LengthHistory, bin_floor, bin_of

lengths = st.integers(0, 3_000_000)
exact_lengths = st.integers(1, 15)


def survival_at(curve: LengthCurve, tokens: float) -> float:
    return [s for point, s in zip(curve.points, curve.survival, strict=True) if point <= tokens][-1]


def history_of(*lengths: int) -> LengthHistory:
    history = LengthHistory()
    for length in lengths:
        history.add(length)
    return history


@given(lengths)
def test_a_length_lies_in_its_bin_and_a_bin_is_narrow(length: int) -> None:
    index = bin_of(length)

    assert bin_floor(index) <= length
    assert bin_of(bin_floor(index)) == index
    assert bin_floor(index + 1) - bin_floor(index) <= max(1, bin_floor(index) / 8)


@given(lengths, lengths)
def test_bins_keep_the_order_of_lengths(one: int, other: int) -> None:
    assert (bin_of(min(one, other))) <= bin_of(max(one, other))


def test_curve_gives_the_published_estimate_for_the_remission_times_of_freireich() -> None:
    # The 6-MP arm of Freireich et al. (Blood 1963), the data set of every textbook; negative =
    # censored. The half-life moves 21 observations by a little, hence the tolerance.
    times = [
        6,
        6,
        6,
        -6,
        7,
        -9,
        10,
        -10,
        -11,
        13,
        16,
        -17,
        -19,
        -20,
        22,
        23,
        -25,
        -32,
        -32,
        -34,
        -35,
    ]
    random.Random(7).shuffle(times)
    history = LengthHistory()
    for time in times:
        history.add(abs(time), is_censored=time < 0)

    curve = history.curve()

    published = {5: 1.0, 6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 23: 0.448}
    for time, expected in published.items():
        assert survival_at(curve, time) == pytest.approx(expected, abs=0.015)


@given(
    st.lists(st.tuples(exact_lengths, st.booleans(), st.integers(0, 14)), min_size=1, max_size=40)
)
def test_curve_is_the_weighted_product_limit_with_delayed_entry(
    sample: list[tuple[int, bool, int]],
) -> None:
    sample = [(length, cut, min(entry, length - 1)) for length, cut, entry in sample]
    history = LengthHistory()
    for length, is_censored, entered in sample:
        history.add(length, entered=entered, is_censored=is_censored)
    weights = [2.0 ** (index / HALF_LIFE) for index in range(len(sample))]
    expected, alive = {0: 1.0}, 1.0
    for time in sorted({length for length, is_censored, _ in sample if not is_censored}):
        rows = list(zip(sample, weights, strict=True))
        dead = sum(w for (length, cut, _), w in rows if length == time and not cut)
        at_risk = sum(w for (length, _, entry), w in rows if entry < time <= length)
        # Where a whole risk set dies before others enter, the textbook's curve ends too early.
        assume(at_risk > dead * (1 + 1e-9) or time == max(length for length, _, _ in sample))
        alive *= 1.0 - dead / at_risk
        expected[time] = alive

    curve = history.curve()

    for time, share in expected.items():
        assert survival_at(curve, time) == pytest.approx(share, abs=1e-9)


@given(
    st.lists(exact_lengths, min_size=1, max_size=40),
    st.integers(0, 14),
    st.none() | st.integers(1, 20),
)
def test_remaining_moments_are_those_of_the_sample(
    sample: list[int], seen: int, bound: int | None
) -> None:
    rest = [
        (2.0 ** (index / HALF_LIFE), min(length, bound or length) - seen)
        for index, length in enumerate(sample)
        if length > seen or seen == 0
    ]
    assume(rest and (bound is None or bound > seen))
    weight = sum(w for w, _ in rest)

    moments = history_of(*sample).curve().remaining(seen, bound)

    assert moments.mean == pytest.approx(sum(w * r for w, r in rest) / weight)
    assert moments.second == pytest.approx(sum(w * r * r for w, r in rest) / weight)


@given(
    st.lists(st.tuples(lengths, st.booleans(), lengths), max_size=60),
    st.integers(0, 2_000_000),
    st.none() | st.integers(0, 2_000_000),
)
def test_remaining_is_finite_positive_and_bounded_after_any_history(
    sample: list[tuple[int, bool, int]], seen: int, bound: int | None
) -> None:
    history = LengthHistory()
    for length, is_censored, entered in sample:
        history.add(length, entered=min(entered, length), is_censored=is_censored)
    curve = history.curve()

    moments = curve.remaining(seen, bound)

    assert all(a <= b for a, b in pairwise(curve.points))
    assert all(1.0 >= a >= b >= 0.0 for a, b in pairwise(curve.survival))
    assert moments.known >= 0.0
    assert math.isfinite(moments.second)
    assert moments.mean >= -1e-6
    if bound is not None:
        assert moments.mean <= max(0, bound - seen) * (1 + 1e-6) + 1e-6


def test_early_censoring_does_not_bias_the_mean_as_it_biases_the_plain_average() -> None:
    draw = random.Random(1)
    history, finished = LengthHistory(), []
    for _ in range(1500):
        length, stopped = round(draw.expovariate(1 / 300)), round(draw.expovariate(1 / 200))
        history.add(min(length, stopped), is_censored=stopped < length)
        if length <= stopped:
            finished.append(length)

    mean = history.curve().remaining(0, None).mean

    assert sum(finished) / len(finished) < 150
    assert mean == pytest.approx(300, rel=0.2)


def test_running_answers_correct_the_short_bias_right_after_a_start() -> None:
    draw = random.Random(2)
    drawn = [round(draw.expovariate(1 / 400)) for _ in range(200)]
    history = history_of(*(length for length in drawn if length <= 100))
    assert history.curve().remaining(0, None).mean < 60

    history.in_flight.extend((100, 0) for length in drawn if length > 100)
    history.is_stale = True

    assert history.curve().remaining(0, None).mean == pytest.approx(400, rel=0.3)


def test_an_answer_continued_after_a_preemption_counts_once() -> None:
    draw = random.Random(3)
    drawn = [round(draw.expovariate(1 / 300)) + 1 for _ in range(400)]
    whole, in_parts = history_of(*drawn), LengthHistory()
    for length in drawn:
        entered = 0
        for stop in (40, 120):
            if length > stop:
                in_parts.add(stop, entered=entered, is_censored=True)
                entered = stop
        in_parts.add(length, entered=entered)

    expected, mean = (h.curve().remaining(0, None).mean for h in (whole, in_parts))

    assert mean == pytest.approx(expected, rel=0.1)


def test_answers_cut_off_at_the_bound_are_evidence_for_that_bound_only() -> None:
    history = LengthHistory()
    for _ in range(50):
        history.add(1000, is_censored=True)
    curve = history.curve()

    at_bound, beyond = curve.remaining(0, 1000), curve.remaining(0, 2000)

    assert at_bound.mean == pytest.approx(1000)
    assert at_bound.known == pytest.approx(history.count)
    assert beyond.mean > 1500
    assert beyond.known == 0.0


def test_constant_lengths_stay_exact_through_thousands_of_observations() -> None:
    history = history_of(*[50] * 13_000)

    moments = history.curve().remaining(0, None)

    assert moments.mean == 50
    assert moments.second == pytest.approx(2500)
    assert history.curve().remaining(50, None).known == 0.0
    assert history.count == pytest.approx(1 / (1 - 2 ** (-1 / HALF_LIFE)), rel=1e-6)


def test_answers_without_output_are_a_length_like_any_other() -> None:
    assert history_of(0, 0, 0).curve().remaining(0, None).mean == 0.0


def test_one_early_death_among_continued_answers_does_not_end_the_curve() -> None:
    history = LengthHistory()
    history.add(5)
    for _ in range(10):
        history.add(500, entered=100)

    assert history.curve().remaining(200, None).mean == pytest.approx(300)


# ---------------------------------------------------------------------------- when lengths change


def lognormal(chance: random.Random, mean: float) -> int:
    return max(1, round(chance.lognormvariate(math.log(mean) - 0.18, 0.6)))


def taught(history: LengthHistory, lengths: Iterable[int]) -> int:
    """Let it learn them as the scheduler does; how many times it forgot."""
    forgotten = 0
    for length in lengths:
        before = history.count
        history.add(length)
        forgotten += history.count < 0.5 * before
        history.curve()
    return forgotten


@pytest.mark.parametrize("seed", range(5))
def test_answers_three_times_as_long_are_noticed_after_a_dozen(seed: int) -> None:
    chance, history = random.Random(seed), LengthHistory()
    taught(history, (lognormal(chance, 600) for _ in range(400)))

    longer = [lognormal(chance, 1800) for _ in range(60)]

    assert taught(history, longer[:16]) == 1
    taught(history, longer[16:])
    assert history.curve().remaining(0, None).mean > 1_000  # else 830


@pytest.mark.parametrize(
    "draw",
    [
        lambda chance: 100,
        lambda chance: lognormal(chance, 600),
        lambda chance: max(1, round(chance.expovariate(1 / 300))),
        lambda chance: chance.choice((20, 2_000)),
    ],
    ids=["constant", "lognormal", "exponential", "two kinds"],
)
def test_lengths_that_stay_what_they_are_are_hardly_ever_taken_for_others(draw) -> None:
    chance, history = random.Random(7), LengthHistory()

    assert taught(history, (draw(chance) for _ in range(5_000))) <= 2


def test_answers_that_were_cut_off_late_are_evidence_of_longer_ones_too() -> None:
    chance, history = random.Random(1), LengthHistory()
    taught(history, (lognormal(chance, 600) for _ in range(400)))

    for _ in range(8):
        before = history.count
        history.add(1_500, is_censored=True)
        if history.count < 0.5 * before:
            return
    pytest.fail("eight answers outlasted nearly all that are known, and nothing was noticed")


def test_few_observations_are_no_ground_to_forget_the_fewer_before() -> None:
    history = LengthHistory()

    assert taught(history, [100] * 50 + [10_000] * 20) == 0
