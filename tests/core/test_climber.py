"""The climber: finds the top, stays on it, and moves on nothing that says nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.climb import ClimbPolicy, ClimbReason, ClimbStep, ClimbView
from stoker.core.climber import Climber
from tests.core.hills import climb

VIEW = ClimbView(
    at=0.0,
    places=8.0,
    rate=100.0,
    limit_share=1.0,
    guard_share=0.0,
    pace_share=0.0,
    capacity=64,
    expected_slope=None,
)


def hill(top: float, sharpness: float) -> Callable[[float], float]:
    def rate(places: float) -> float:
        return 100.0 * math.exp(-sharpness * math.log(max(places, 0.1) / top) ** 2)

    return rate


def thrashing(places: float) -> float:
    """A batch curve that a prefix cache of 24 places breaks off."""
    rate = places / (0.0122 + 0.00903 * places**0.722)
    return rate if places < 24.0 else rate * (24.0 / places) ** 1.4


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("curve", [hill(24, 0.5), hill(100, 0.3), thrashing])
def test_it_finds_an_inner_optimum_and_stays_there(
    curve: Callable[[float], float], seed: int
) -> None:
    best = max(curve(places) for places in range(1, 257))

    reached = [
        curve(places) / best
        for places, _ in climb(Climber(ClimbPolicy()), curve, minutes=20.0, seed=seed)
    ]

    later = reached[len(reached) // 2 :]
    assert sum(later) / len(later) >= 0.93  # the floor; noise of 5 % a tick, a cliff, and 20 min
    assert next(tick for tick, share in enumerate(reached) if share > 0.9) * 3.0 <= 120.0


def test_it_grows_to_the_capacity_where_more_always_pays() -> None:
    def endless(places: float) -> float:
        return float(places**0.5)

    *_, (_, last) = climb(Climber(ClimbPolicy()), endless, minutes=10.0, capacity=64)

    assert last.ceiling == 64


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_noise_on_a_flat_curve_moves_it_by_less_than_one_trust_radius(seed: int) -> None:
    policy = ClimbPolicy()
    climber = Climber(policy, position=math.log(20.0))

    positions = [
        step.position
        for _, step in climb(climber, lambda _: 100.0, minutes=60.0, seed=seed, noise=0.08)
    ]

    assert max(abs(position - math.log(20.0)) for position in positions) <= policy.trust_max


def test_it_follows_the_guard_just_above_without_dither() -> None:
    steps = [
        step for _, step in climb(Climber(ClimbPolicy()), lambda n: n**0.5, minutes=10.0, guard=30)
    ][-40:]

    assert {step.reason for step in steps} == {ClimbReason.GUARDED}
    assert all(30 < step.ceiling <= 36 for step in steps)
    assert all(step.dither == 0.0 for step in steps)


@pytest.mark.slow
def test_a_slope_that_is_surely_negative_goes_below_the_guard() -> None:
    *_, (places, _) = climb(Climber(ClimbPolicy()), thrashing, minutes=30.0, guard=44, noise=0.03)

    assert places < 33.0


@pytest.mark.slow
def test_drift_makes_it_look_for_the_top_again() -> None:
    policy = ClimbPolicy()
    climber = Climber(policy, position=math.log(16.0))
    *_, _ = climb(climber, hill(16, 0.5), minutes=15.0)
    moved = hill(60, 0.5)
    reasons, reached = [], []
    for places, step in climb(climber, moved, minutes=20.0, seed=1, since=900.0):
        reasons.append(step.reason)
        reached.append(moved(places) / 100.0)

    assert ClimbReason.DRIFTED in reasons
    assert next(tick for tick, share in enumerate(reached) if share > 0.9) * 3.0 <= 180.0


@pytest.mark.parametrize(
    "useless",
    [
        {"taint": "P0 was here"},
        {"limit_share": 0.0, "places": 2.0},
    ],
)
def test_a_window_that_says_nothing_moves_nothing(useless: dict[str, object]) -> None:
    climber = Climber(ClimbPolicy())
    *_, _ = climb(climber, thrashing, minutes=10.0)
    before = climber.position, climber.curvature, climber.trust

    for tick in range(200):
        step = climber.step(replace(VIEW, at=600.0 + 3.0 * tick, rate=1.0, **useless))

        assert step.reason in (ClimbReason.TAINTED, ClimbReason.APP_LIMITED)
        assert step.dither == 0.0

    assert (climber.position, climber.curvature, climber.trust) == before


def test_a_preemption_takes_a_step_back_and_then_a_pause() -> None:
    climber = Climber(ClimbPolicy(), position=math.log(40.0))

    first = climber.step(replace(VIEW, at=3.0, places=40.0, preemptions=2.0))
    second = climber.step(replace(VIEW, at=6.0, places=40.0))
    later = climber.step(replace(VIEW, at=36.0, places=36.0))

    assert (first.reason, first.ceiling) == (ClimbReason.BACKED_OFF, round(40 * math.exp(-0.1)))
    assert second.reason is ClimbReason.COOLING
    assert later.reason is not ClimbReason.COOLING


def test_a_ceiling_that_was_never_learned_may_grow_while_others_are_here() -> None:
    climber = Climber(ClimbPolicy())

    for tick in range(1, 20):
        step = climber.step(
            replace(
                VIEW,
                at=3.0 * tick,
                places=math.exp(climber.position),
                taint="P2 was here",
                may_grow=True,
            )
        )

    assert step.ceiling == 64


VIEWS = st.builds(
    ClimbView,
    at=st.just(0.0),
    places=st.floats(0.0, 300.0),
    rate=st.floats(0.0, 1e6),
    limit_share=st.floats(0.0, 1.0),
    guard_share=st.floats(0.0, 1.0),
    pace_share=st.floats(0.0, 1.0),
    capacity=st.integers(1, 256),
    expected_slope=st.none() | st.floats(-2.0, 1.0),
    taint=st.none() | st.just("P0 was here"),
    may_grow=st.booleans(),
    preemptions=st.floats(0.0, 50.0),
)


@given(st.lists(VIEWS, min_size=1, max_size=120), st.none() | st.floats(0.0, 6.0))
def test_whatever_it_is_shown_the_ceiling_stays_inside_the_capacity(
    views: list[ClimbView], position: float | None
) -> None:
    climber = Climber(ClimbPolicy(), position=position)

    for tick, view in enumerate(views):
        step: ClimbStep = climber.step(replace(view, at=3.0 * tick))

        assert 1 <= step.ceiling <= view.capacity
        assert math.isfinite(step.position)
        assert climber.curvature < 0.0
        assert ClimbPolicy().trust_min <= climber.trust <= ClimbPolicy().trust_max
