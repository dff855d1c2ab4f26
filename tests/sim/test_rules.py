"""Each baseline's rule, on inputs made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stoker.sim.arms.rules import (
    Aimd,
    Concur,
    Finished,
    Fixed,
    Gradient2,
    NaiveNewton,
    Tick,
    Vegas,
)

CALM = Tick(at=100.0, in_flight=8, preemptions=0, waiting=0, kv_cache_usage=0.4, cached_share=0.5)


def finish(rule, duration_s, count=1, *, in_flight=1000, tokens=100, at=0.0):
    for _ in range(count):
        rule.finished(Finished(at, duration_s, in_flight, tokens))


def test_a_fixed_limit_stays():
    rule = Fixed(24)
    rule.ticked(replace(CALM, preemptions=5))

    assert rule.limit == 24


def test_aimd_adds_one_while_its_limit_is_used():
    rule = Aimd(most=64)
    rule.ticked(CALM)

    assert rule.limit == 9


def test_aimd_stays_where_its_limit_is_not_used():
    rule = Aimd(most=64)
    rule.ticked(replace(CALM, in_flight=4))

    assert rule.limit == 8


def test_aimd_gives_up_a_tenth_for_a_preemption():
    rule = Aimd(most=64, level=40.0)
    rule.ticked(replace(CALM, in_flight=40, preemptions=1))

    assert rule.limit == 36


def test_aimd_takes_waiting_for_a_sign_only_when_it_lasts():
    rule = Aimd(most=64, level=40.0)
    rule.ticked(replace(CALM, in_flight=40, waiting=3))
    assert rule.limit == 41

    rule.ticked(replace(CALM, in_flight=40, waiting=3))
    assert rule.limit == 36


def test_gradient2_grows_by_its_queue_while_durations_are_as_ever():
    rule = Gradient2(most=200)
    finish(rule, 10.0)

    assert rule.level == pytest.approx(20.0 * 0.8 + 24.0 * 0.2)


def test_gradient2_shrinks_when_durations_double_their_long_mean():
    rule = Gradient2(most=200, level=100.0)
    finish(rule, 10.0, 300)
    before = rule.level
    finish(rule, 40.0)

    # The gradient is cut at a half: L' = L/2 + 4, of which a fifth is taken.
    assert rule.level == pytest.approx(before * 0.8 + (before * 0.5 + 4.0) * 0.2, rel=1e-3)


def test_gradient2_does_not_grow_on_a_box_that_is_half_empty():
    rule = Gradient2(most=200)
    finish(rule, 10.0, in_flight=9)

    assert rule.level == 20.0


def test_vegas_leaps_while_nothing_queues_and_steps_back_from_a_queue():
    rule = Vegas(most=1000)
    finish(rule, 10.0)
    assert rule.level == pytest.approx(20.0 + 6.0 * 1.30103, rel=1e-4)

    before = rule.level
    finish(rule, 20.0)
    assert rule.level == pytest.approx(before - 1.4449, rel=1e-3)


def test_vegas_takes_a_new_look_at_the_unloaded_duration_now_and_then():
    rule = Vegas(most=20, level=20.0)
    finish(rule, 1.0)
    finish(rule, 10.0, 700)
    level = rule.level
    finish(rule, 10.0)

    assert rule.level >= level


def test_concur_lets_one_more_in_while_the_cache_is_nearly_empty():
    rule = Concur(most=64)
    rule.ticked(replace(CALM, kv_cache_usage=0.1))

    assert rule.limit == 9


def test_concur_holds_between_its_thresholds():
    rule = Concur(most=64)
    rule.ticked(replace(CALM, kv_cache_usage=0.3))

    assert rule.limit == 8


def test_concur_halves_when_the_cache_is_used_and_the_hit_rate_falls():
    rule = Concur(most=64, level=40.0)
    rule.ticked(replace(CALM, kv_cache_usage=0.7, cached_share=0.8))
    assert rule.limit == 40

    rule.ticked(replace(CALM, kv_cache_usage=0.7, cached_share=0.6))
    assert rule.limit == 20


def test_naive_newton_waits_for_its_window_and_then_probes():
    rule = NaiveNewton(most=64)
    rule.ticked(replace(CALM, at=42.0))
    assert rule.limit == 8

    rule.ticked(replace(CALM, at=45.0))
    assert rule.limit == 9


def test_naive_newton_follows_the_slope_by_at_most_a_quarter():
    rule = NaiveNewton(most=64)
    finish(rule, 1.0, tokens=450, at=40.0)
    rule.ticked(replace(CALM, at=45.0))
    finish(rule, 1.0, tokens=450, at=46.0)
    rule.ticked(replace(CALM, at=48.0))

    assert rule.level == pytest.approx(9.0 * 1.25)


@pytest.mark.parametrize("kind", [Aimd, Gradient2, Vegas, Concur, NaiveNewton])
def test_no_rule_leaves_the_engines_bounds(kind):
    rule = kind(most=30)
    for tick in range(200):
        preemptions = 3 if tick % 60 > 50 else 0
        rule.ticked(Tick(3.0 * tick, rule.limit, preemptions, 0, 0.1, 0.5 if tick % 2 else 0.4))
        finish(rule, 1.0 + tick % 7, in_flight=rule.limit, at=3.0 * tick)
        assert 1 <= rule.limit <= 30
