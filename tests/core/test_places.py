"""Sessions keep their place while they are away: who has one, what it is good for, how it ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.actions import Action, Dispatch
from stoker.core.events import (
    Arrived,
    DeadlineReached,
    EngineDown,
    EngineSample,
    EngineSampled,
    EngineUp,
    Left,
    LimitsChanged,
)
from stoker.core.limits import Capacity, Limits
from stoker.core.places import Standing
from stoker.core.policy import Policy
from stoker.core.reasons import Explanation, Reason
from stoker.core.scheduler import Scheduler
from stoker.core.tool_time import START_S, ToolTime
from stoker.core.work import Outcome, Priority, Request, RequestId, Usage

POLICY = Policy(ramp_s=0.0, p0_linger_s=0.0, p0_reserved_slots=0, p1_reserved_slots=0)
P1 = Priority.P1


def scheduler(
    p1: int | None = 2, slots: int = 8, kv_tokens: int | None = None, policy: Policy = POLICY
) -> Scheduler:
    it = Scheduler(policy, Capacity(slots, kv_tokens))
    it.handle(EngineUp(-100.0))
    it.handle(LimitsChanged(-100.0, Limits(requests_p1=p1, requests_p2=p1)))
    return it


def call(
    it: Scheduler,
    at: float,
    name: str,
    session: str = "",
    priority: Priority = P1,
    tokens: int = 100,
) -> list[Action]:
    request = Request(
        RequestId(name),
        priority,
        prompt_bytes=4 * tokens,
        prompt_tokens=tokens,
        max_tokens=10,
        session=session,
    )
    return it.handle(Arrived(at, request))


def a_call_of(session: str) -> Request:
    return Request(RequestId("any"), P1, prompt_bytes=1, session=session)


def starts(name: str, cause: str = "Arrived") -> list[Action]:
    return [Dispatch(RequestId(name), cause)]


def end(it: Scheduler, at: float, name: str, tokens: int = 110) -> list[Action]:
    return it.handle(Left(at, RequestId(name), Outcome.FINISHED, Usage(tokens - 10, 10)))


def why(it: Scheduler, name: str, at: float) -> Explanation:
    story = it.explain(RequestId(name), at)
    assert story is not None
    assert story.explanation is not None
    return story.explanation


def test_a_session_keeps_its_place_for_its_tool_time():
    it = scheduler(p1=1)
    call(it, 0.0, "a1", "a")
    call(it, 0.0, "p0", priority=Priority.P0)  # the engine is never idle here
    end(it, 1.0, "a1")

    assert call(it, 2.0, "b1", "b") == []
    waits = why(it, "b1", 2.0)
    assert (waits.reason, waits.knob) == (Reason.LIMIT, "limit_requests_p1")
    assert (waits.measured, waits.limit) == (1, 1)
    assert "between two calls" in waits.message
    assert call(it, 3.0, "a2", "a") == starts("a2")


def test_a_parked_session_loses_its_place_when_its_time_is_over():
    it = scheduler(p1=1)
    call(it, 0.0, "p0", priority=Priority.P0)
    call(it, 0.0, "a1", "a")
    end(it, 1.0, "a1")
    call(it, 2.0, "b1", "b")

    assert it.next_deadline(2.0) == 1.0 + START_S
    assert it.handle(DeadlineReached(1.0 + START_S)) == starts("b1", "DeadlineReached")


def test_a_turn_goes_before_newcomers_that_came_earlier():
    it = scheduler(p1=None, slots=2)
    call(it, 0.0, "a1", "a")
    end(it, 1.0, "a1")
    call(it, 1.0, "x")
    call(it, 1.0, "y")
    call(it, 2.0, "newcomer")
    call(it, 3.0, "a2", "a")

    assert end(it, 4.0, "x") == starts("a2", "Left")
    assert end(it, 5.0, "y") == starts("newcomer", "Left")


def two_endless_sessions(it: Scheduler, until: float) -> list[Action]:
    """One slot, and always the turn of the other session waiting; what started at the end."""
    call(it, 0.0, "a0", "a")
    call(it, 0.0, "b0", "b")
    end(it, 0.5, "a0")
    call(it, 0.5, "a1", "a")
    call(it, 0.6, "newcomer")
    running, waiting = ("b", 0), ("a", 1)
    at = 1.0
    while True:
        started = end(it, at, f"{running[0]}{running[1]}")
        session, turn = running[0], running[1] + 1
        if at >= until:
            return started
        assert started == starts(f"{waiting[0]}{waiting[1]}", "Left")
        call(it, at, f"{session}{turn}", session)
        running, waiting = waiting, (session, turn)
        at += 1.0


def test_a_newcomer_that_has_waited_its_age_goes_before_turns():
    it = scheduler(p1=None, slots=1)

    assert two_endless_sessions(it, until=31.0) == starts("newcomer", "Left")


def test_a_newcomer_that_has_waited_its_age_takes_the_place_of_the_youngest_that_is_away():
    it = scheduler(p1=2, slots=2)
    call(it, 0.0, "p0", priority=Priority.P0)

    assert two_endless_sessions(it, until=31.0) == starts("newcomer", "Left")
    assert it.state.places.count(P1) == 2
    assert it.state.places.standing(a_call_of("a")) is Standing.SHARING
    assert it.state.places.standing(a_call_of("b")) is Standing.NEWCOMER


def test_calls_of_one_session_share_its_place_but_no_more_run_than_the_ceiling():
    it = scheduler(p1=2)
    call(it, 0.0, "a1", "a")

    assert call(it, 0.0, "a2", "a") == starts("a2")
    assert it.state.places.count(P1) == 1
    assert call(it, 0.0, "a3", "a") == []
    assert why(it, "a3", 0.0).reason is Reason.LIMIT
    assert end(it, 1.0, "a1") == starts("a3", "Left")


def test_when_the_ceiling_falls_the_youngest_session_waits_at_its_next_turn():
    it = scheduler(p1=2)
    call(it, 0.0, "p0", priority=Priority.P0)
    for name in ("a", "b"):
        call(it, 0.0, f"{name}1", name)
        end(it, 1.0, f"{name}1")
    it.handle(LimitsChanged(1.5, Limits(requests_p1=1)))

    assert call(it, 2.0, "b2", "b") == []
    assert why(it, "b2", 2.0).reason is Reason.LIMIT
    assert call(it, 2.0, "a2", "a") == starts("a2")


def test_an_idle_engine_takes_a_newcomer_whatever_is_parked():
    it = scheduler(p1=1, kv_tokens=1_000)
    call(it, 0.0, "a1", "a", tokens=900)
    end(it, 1.0, "a1", tokens=910)

    assert call(it, 2.0, "b1", "b", tokens=900) == starts("b1")
    assert it.state.places.count(P1) == 1
    assert it.snapshot(2.0).parked_tokens == 0


def test_what_parked_sessions_hold_is_kept_from_newcomers_and_not_counted_twice():
    it = scheduler(p1=None, kv_tokens=1_000)
    call(it, 0.0, "p0", priority=Priority.P0, tokens=10)
    call(it, 0.0, "a1", "a", tokens=600)
    end(it, 1.0, "a1", tokens=610)

    assert it.snapshot(1.0).parked_tokens == 610
    assert call(it, 2.0, "b1", "b", tokens=500) == []
    assert why(it, "b1", 2.0).reason is Reason.KV_PEAK
    assert call(it, 3.0, "a2", "a", tokens=700) == starts("a2")
    assert it.snapshot(3.0).parked_tokens == 0


def test_room_is_kept_for_a_parked_prefix_only_as_far_as_reading_it_again_would_cost_more():
    it = scheduler(p1=None, kv_tokens=1_000)
    call(it, 0.0, "a1", "a", tokens=600)
    end(it, 1.0, "a1", tokens=610)

    it.state.places.worth_s = 2 * START_S
    assert it.snapshot(1.0).parked_tokens == 610
    it.state.places.worth_s = START_S / 2
    assert it.snapshot(1.0).parked_tokens == 305


def test_what_a_cached_prefix_is_worth_comes_from_how_fast_the_engine_reads():
    it = scheduler(kv_tokens=100_000)
    for second in range(5):
        it.state.service.note_prefill(float(second), 1_000.0 * (second + 1), 0.1 * (second + 1))
    it.handle(EngineSampled(5.0, EngineSample(running=0)))

    assert it.state.places.worth_s == pytest.approx(10.0, rel=0.2)


def test_a_dead_engine_has_forgotten_what_was_parked_but_the_session_has_its_place():
    it = scheduler(p1=1)
    call(it, 0.0, "a1", "a")
    end(it, 1.0, "a1")

    it.handle(EngineDown(2.0, "test"))
    it.handle(EngineUp(3.0))

    assert it.snapshot(3.0).parked_tokens == 0
    assert it.snapshot(3.0).classes[P1].places.parked == 1


def test_a_turn_that_is_given_up_leaves_the_session_parked():
    it = scheduler(p1=1, slots=1)
    call(it, 0.0, "a1", "a")
    end(it, 1.0, "a1")
    call(it, 1.0, "p0", priority=Priority.P0)
    call(it, 2.0, "a2", "a")

    it.handle(Left(3.0, RequestId("a2"), Outcome.CANCELLED))

    places = it.snapshot(3.0).classes[P1].places
    assert (places.running, places.parked) == (0, 1)
    assert it.next_deadline(3.0) == 3.0 + START_S


def test_without_a_longest_time_sessions_keep_nothing():
    it = scheduler(p1=1, policy=Policy(session_ttl_max_s=0.0, ramp_s=0.0))
    call(it, 0.0, "p0", priority=Priority.P0)
    call(it, 0.0, "a1", "a")
    end(it, 1.0, "a1")
    it.handle(DeadlineReached(1.0))

    assert call(it, 1.5, "b1", "b") == starts("b1")


def test_tool_time_is_learned_also_from_sessions_that_came_back_too_late():
    it = scheduler(p1=1)
    at = 0.0
    for turn in range(60):
        call(it, at, f"a{turn}", "a")
        end(it, at + 1.0, f"a{turn}")
        it.handle(DeadlineReached(at + 20.0))
        at += 21.0

    assert it.snapshot(at).classes[P1].places.ttl_s == pytest.approx(20.0, rel=0.25)


def test_tool_time_starts_at_ten_seconds_and_forgets_old_habits():
    tool_time = ToolTime()
    assert tool_time.usual_s == START_S
    for _ in range(300):
        tool_time.note(100.0)
    for _ in range(300):
        tool_time.note(1.0)

    assert 0.8 <= tool_time.usual_s <= 1.3


@given(st.lists(st.floats(0.0, 500.0), min_size=100, max_size=200))
def test_four_in_five_of_the_latest_gaps_are_within_the_usual_time(gaps: list[float]):
    tool_time = ToolTime()
    for gap in gaps * 3:
        tool_time.note(gap)

    within = sum(gap <= tool_time.usual_s * 1.001 for gap in gaps) / len(gaps)
    assert within >= 0.55  # the latest count most; what counts is not all of them
