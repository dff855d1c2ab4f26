"""The scheduler by plain calls: events with literal times in, lists of actions out."""

from __future__ import annotations

import pytest

from stoker.core.actions import Abort, Action, ClaimJobs, Dispatch, Preempt, Reject
from stoker.core.events import (
    Arrived,
    CapacityChanged,
    DeadlineReached,
    DrainRequested,
    EngineDown,
    EngineSample,
    EngineSampled,
    EngineUp,
    FirstToken,
    HostSample,
    HostSampled,
    JobsAvailable,
    JobsClaimed,
    LeaseGranted,
    LeaseReleased,
    Left,
    LimitsChanged,
    Progressed,
)
from stoker.core.limits import Capacity, Limits
from stoker.core.policy import Policy
from stoker.core.reasons import Reason
from stoker.core.scheduler import Scheduler
from stoker.core.work import JobId, LeaseId, Outcome, Priority, Request, RequestId, Usage

POLICY = Policy(p0_reserved_slots=1, p1_reserved_slots=1, ramp_s=0.0, p0_linger_s=2.0)


def scheduler(slots: int = 8, policy: Policy = POLICY, **capacity: int) -> Scheduler:
    it = Scheduler(policy, Capacity(requests=slots, **capacity))
    it.handle(EngineUp(at=-100.0, abort_grace_s=1.0))
    return it


def request(name: str, priority: Priority, **fields: object) -> Request:
    is_job = priority is Priority.P2
    defaults: dict[str, object] = {
        "prompt_bytes": 400,
        "max_tokens": 100,
        "preemptible": is_job,
        "job_id": JobId(name) if is_job else None,
    }
    return Request(RequestId(name), priority, **{**defaults, **fields})  # type: ignore[arg-type]


def arrive(
    it: Scheduler, at: float, name: str, priority: Priority, **fields: object
) -> list[Action]:
    return it.handle(Arrived(at, request(name, priority, **fields)))


def fill(it: Scheduler, count: int, priority: Priority = Priority.P2, at: float = 0.0) -> list[str]:
    names = [f"{priority.label}-{index}" for index in range(count)]
    for name in names:
        assert arrive(it, at, name, priority) == [Dispatch(RequestId(name), "Arrived")]
        it.handle(FirstToken(at, RequestId(name)))
    return names


def reason_of(it: Scheduler, name: str, at: float = 0.0) -> Reason:
    story = it.explain(RequestId(name), at)
    assert story is not None
    assert story.explanation is not None, story
    return story.explanation.reason


def test_interactive_request_overtakes_background_when_a_slot_frees():
    it = scheduler(slots=1)
    arrive(it, 0.0, "first", Priority.P1)
    arrive(it, 1.0, "job", Priority.P2)
    arrive(it, 2.0, "person", Priority.P0)

    actions = it.handle(Left(3.0, RequestId("first"), Outcome.FINISHED, Usage(100, 20)))

    assert Dispatch(RequestId("person"), "Left") in actions
    assert Dispatch(RequestId("job"), "Left") not in actions


def test_background_leaves_the_reserved_slots_free():
    it = scheduler(slots=8)
    fill(it, 6)

    assert arrive(it, 0.0, "one more", Priority.P2) == []
    assert reason_of(it, "one more") is Reason.SLOT_RESERVE
    assert arrive(it, 0.0, "agent", Priority.P1) == [Dispatch(RequestId("agent"), "Arrived")]


def test_p0_arrival_sheds_unread_first_then_youngest_and_starts_at_once():
    it = scheduler(slots=8, policy=Policy(p2_during_p0=1, prefill_debt_steps=100.0))
    for index, name in enumerate(("old", "young", "unread")):
        arrive(it, float(index), name, Priority.P2)
    for name in ("old", "young"):
        it.handle(FirstToken(3.0, RequestId(name)))
    it.handle(Progressed(4.0, {RequestId("old"): 50, RequestId("young"): 5}))

    actions = arrive(it, 5.0, "person", Priority.P0)

    assert actions == [
        Preempt(RequestId("unread"), "Arrived"),
        Preempt(RequestId("young"), "Arrived"),
        Dispatch(RequestId("person"), "Arrived"),
    ]


def test_a_second_p0_asks_nobody_else_to_leave_before_the_first_have_gone():
    it = scheduler()
    fill(it, 3)
    arrive(it, 5.0, "person", Priority.P0)

    assert arrive(it, 5.1, "other person", Priority.P0) == [
        Dispatch(RequestId("other person"), "Arrived")
    ]


def test_no_job_is_preempted_twice_within_the_pause():
    it = scheduler(policy=Policy(p0_linger_s=0.0, ramp_s=0.0, shed_pause_s=5.0))
    arrive(it, 0.0, "job", Priority.P2)
    assert Preempt(RequestId("job"), "Arrived") in arrive(it, 1.0, "a", Priority.P0)
    it.handle(Left(1.1, RequestId("job"), Outcome.PREEMPTED))
    it.handle(Left(1.2, RequestId("a"), Outcome.FINISHED, Usage(10, 1)))
    assert Dispatch(RequestId("job"), "Arrived") in arrive(it, 2.5, "job", Priority.P2)

    assert arrive(it, 3.0, "b", Priority.P0) == [Dispatch(RequestId("b"), "Arrived")]
    it.handle(Left(6.5, RequestId("b"), Outcome.FINISHED, Usage(10, 1)))
    assert Preempt(RequestId("job"), "Arrived") in arrive(it, 7.0, "c", Priority.P0)


def test_a_lease_stops_background_even_on_an_idle_engine_and_ends_by_itself():
    it = scheduler()
    it.handle(LeaseGranted(0.0, LeaseId("l"), expires_at=30.0))

    assert arrive(it, 1.0, "job", Priority.P2) == [Preempt(RequestId("job"), "Arrived")]
    it.handle(Left(1.0, RequestId("job"), Outcome.PREEMPTED))
    assert it.handle(JobsAvailable(2.0, 5)) == []
    assert it.next_deadline(2.0) == 30.0
    assert it.handle(DeadlineReached(30.0)) == [ClaimJobs(5, "DeadlineReached")]


def test_releasing_the_last_lease_frees_the_box_at_once():
    it = scheduler()
    it.handle(LeaseGranted(0.0, LeaseId("a"), 30.0))
    it.handle(LeaseGranted(0.0, LeaseId("b"), 30.0))
    it.handle(JobsAvailable(1.0, 1))

    assert it.handle(LeaseReleased(2.0, LeaseId("a"))) == []
    assert it.handle(LeaseReleased(3.0, LeaseId("b"))) == [ClaimJobs(1, "LeaseReleased")]


def test_background_returns_gradually_after_a_lease():
    it = scheduler(slots=32, policy=Policy(ramp_s=8.0, p0_linger_s=0.0))
    it.handle(LeaseGranted(0.0, LeaseId("l"), expires_at=10.0))
    it.handle(JobsAvailable(1.0, 100))
    asked = []
    for at in (10.0, 12.0, 14.0, 19.0):
        for action in it.handle(DeadlineReached(at)):
            assert isinstance(action, ClaimJobs)
            it.handle(JobsClaimed(at, action.count, action.count))
            for index in range(action.count):
                arrive(it, at, f"{at}-{index}", Priority.P2)
                it.handle(FirstToken(at, RequestId(f"{at}-{index}")))
        asked.append(it.state.ledger.count(Priority.P2))

    assert asked[0] == 1
    assert asked == sorted(asked)
    assert asked[1] < asked[2] < asked[3]


def test_the_ramp_wakes_itself():
    it = scheduler(slots=32, policy=Policy(ramp_s=8.0, p0_linger_s=0.0))
    it.handle(LeaseGranted(0.0, LeaseId("l"), expires_at=10.0))
    it.handle(JobsAvailable(1.0, 100))
    it.handle(DeadlineReached(10.0))

    deadline = it.next_deadline(10.0)

    assert deadline is not None
    assert 10.0 < deadline < 18.0


def test_prefill_debt_bounds_unread_background_prompts_but_never_blocks_a_single_long_one():
    it = scheduler(policy=Policy(prefill_debt_steps=1.0), prefill_tokens_per_step=1_000)
    assert arrive(it, 0.0, "huge", Priority.P2, prompt_tokens=5_000) == [
        Dispatch(RequestId("huge"), "Arrived")
    ]
    assert arrive(it, 0.0, "next", Priority.P2, prompt_tokens=100) == []
    assert reason_of(it, "next") is Reason.PREFILL_DEBT

    assert it.handle(FirstToken(1.0, RequestId("huge"))) == [
        Dispatch(RequestId("next"), "FirstToken")
    ]


def test_the_forecast_peak_of_the_kv_cache_holds_background_back():
    it = scheduler(slots=64, kv_tokens=2_000)
    arrive(it, 0.0, "a", Priority.P1, prompt_tokens=1_500, max_tokens=300)

    assert arrive(it, 0.0, "b", Priority.P2, prompt_tokens=400, max_tokens=100) == []
    assert reason_of(it, "b") is Reason.KV_PEAK


def test_p0_needs_only_room_for_its_prompt():
    it = scheduler(slots=64, kv_tokens=2_000)
    arrive(it, 0.0, "a", Priority.P1, prompt_tokens=1_500, max_tokens=400)

    assert arrive(it, 0.0, "p", Priority.P0, prompt_tokens=400, max_tokens=400) == [
        Dispatch(RequestId("p"), "Arrived")
    ]


def test_what_can_never_fit_is_refused_for_good():
    it = scheduler(context_tokens=1_000)

    [action] = arrive(it, 0.0, "a", Priority.P0, prompt_tokens=1_200)

    assert isinstance(action, Reject)
    assert action.explanation.reason is Reason.EXCEEDS_CAPACITY
    assert not action.explanation.is_retryable
    assert action.retry_after_s is None


def test_a_full_queue_refuses_with_numbers_and_a_time_to_come_back():
    it = scheduler(slots=1, policy=Policy(queue_max_p1=2))
    for index in range(3):
        arrive(it, 0.0, f"{index}", Priority.P1)

    [action] = arrive(it, 0.0, "late", Priority.P1)

    assert isinstance(action, Reject)
    assert action.explanation.reason is Reason.QUEUE_FULL
    assert (action.explanation.measured, action.explanation.limit) == (2, 2)
    assert action.retry_after_s is not None
    assert 1.0 <= action.retry_after_s <= 120.0


def test_waiting_too_long_is_refused_and_the_scheduler_wakes_for_it():
    it = scheduler(slots=1, policy=Policy(wait_max_p1_s=20.0, age_p1_s=1e9))
    arrive(it, 0.0, "running", Priority.P1)
    arrive(it, 1.0, "waiting", Priority.P1)
    assert it.next_deadline(1.0) == 20.0  # the running one's own entry; looked at and dropped
    it.handle(DeadlineReached(20.0))
    assert it.next_deadline(20.0) == 21.0

    [action] = it.handle(DeadlineReached(21.0))

    assert isinstance(action, Reject)
    assert action.id == "waiting"
    assert action.explanation.reason is Reason.QUEUE_TIMEOUT


def test_engine_down_aborts_what_ran_and_refuses_those_who_wait_after_a_grace():
    it = scheduler(slots=1, policy=Policy(down_wait_max_s=10.0, ramp_s=0.0))
    arrive(it, 0.0, "running", Priority.P0)
    arrive(it, 0.0, "waiting", Priority.P0)

    assert it.handle(EngineDown(5.0, "connection refused")) == [
        Abort(RequestId("running"), "connection refused", "EngineDown")
    ]
    it.handle(Left(5.0, RequestId("running"), Outcome.FAILED))
    assert reason_of(it, "waiting", 6.0) is Reason.ENGINE_DOWN
    [action] = it.handle(DeadlineReached(15.0))
    assert isinstance(action, Reject)
    assert action.explanation.reason is Reason.ENGINE_UNAVAILABLE


def test_engine_up_again_serves_those_who_still_wait():
    it = scheduler(slots=1)
    it.handle(EngineDown(1.0, "died"))
    assert arrive(it, 2.0, "a", Priority.P0) == []

    assert it.handle(EngineUp(4.0)) == [Dispatch(RequestId("a"), "EngineUp")]


def test_a_learned_limit_delays_but_an_idle_engine_takes_the_head():
    it = scheduler()
    it.handle(LimitsChanged(0.0, Limits(requests_p1=0, requests_p2=0, tokens=0)))

    assert arrive(it, 0.0, "a", Priority.P1) == [Dispatch(RequestId("a"), "Arrived")]
    assert arrive(it, 0.0, "b", Priority.P1) == []
    assert reason_of(it, "b") is Reason.LIMIT


def test_stale_telemetry_counts_as_full_for_background_and_agents_only():
    it = scheduler()
    it.handle(EngineSampled(0.0, EngineSample(running=0)))
    arrive(it, 0.0, "a", Priority.P1)

    assert arrive(it, 10.0, "b", Priority.P1) == []
    assert reason_of(it, "b", 10.0) is Reason.TELEMETRY_STALE
    assert it.snapshot(10.0).is_telemetry_stale
    assert arrive(it, 10.0, "p", Priority.P0) == [Dispatch(RequestId("p"), "Arrived")]
    assert it.handle(EngineSampled(11.0, EngineSample(running=2))) == [
        Dispatch(RequestId("b"), "EngineSampled")
    ]


def test_an_engine_without_gauges_is_never_stale():
    it = scheduler()
    arrive(it, 0.0, "a", Priority.P1)

    assert arrive(it, 1e6, "b", Priority.P1) == [Dispatch(RequestId("b"), "Arrived")]
    assert it.snapshot(1e6).engine.running is None


def test_short_host_ram_stops_everybody_but_p0():
    it = scheduler()
    it.handle(HostSampled(0.0, HostSample(ram_available_bytes=2**30, ram_total_bytes=128 * 2**30)))

    assert arrive(it, 0.0, "agent", Priority.P1) == []
    assert reason_of(it, "agent") is Reason.HOST_RAM_FLOOR
    assert arrive(it, 0.0, "person", Priority.P0) == [Dispatch(RequestId("person"), "Arrived")]


def test_slots_being_freed_by_the_engine_are_not_given_to_agents_before_it_confirms():
    it = scheduler(slots=2, policy=Policy(p0_reserved_slots=0, p1_reserved_slots=0))
    fill(it, 2, Priority.P1)
    arrive(it, 1.0, "next", Priority.P1)
    assert it.handle(Left(2.0, RequestId("p1-0"), Outcome.CANCELLED)) == []
    assert reason_of(it, "next", 2.0) is Reason.SLOTS_FULL

    assert it.handle(EngineSampled(2.2, EngineSample(running=2))) == []
    assert it.handle(EngineSampled(2.4, EngineSample(running=1))) == [
        Dispatch(RequestId("next"), "EngineSampled")
    ]


def test_a_departure_that_nobody_confirms_ends_with_its_grace():
    it = scheduler(slots=1)
    arrive(it, 0.0, "a", Priority.P1)
    arrive(it, 0.0, "b", Priority.P1)
    it.handle(Left(2.0, RequestId("a"), Outcome.CANCELLED))
    assert it.next_deadline(2.0) == 3.0

    assert it.handle(DeadlineReached(3.0)) == [Dispatch(RequestId("b"), "DeadlineReached")]


def test_an_aged_agent_request_goes_before_p0_but_not_into_its_reserve():
    it = scheduler(slots=8, policy=Policy(p0_reserved_slots=2, age_p1_s=30.0))
    fill(it, 8, Priority.P0)
    arrive(it, 0.0, "agent", Priority.P1)
    arrive(it, 1.0, "person", Priority.P0)

    at_first = it.handle(Left(10.0, RequestId("p0-0"), Outcome.FINISHED, Usage(1, 1)))
    arrive(it, 11.0, "other", Priority.P0)
    later = it.handle(Left(31.0, RequestId("p0-1"), Outcome.FINISHED, Usage(1, 1)))

    assert at_first == [Dispatch(RequestId("person"), "Left")]
    assert later == [Dispatch(RequestId("agent"), "Left")]


def test_starved_background_becomes_a_guest_under_endless_p0_and_gives_way_to_the_next():
    it = scheduler(policy=Policy(age_p2_s=120.0, p0_linger_s=2.0))
    arrive(it, 0.0, "long chat", Priority.P0)
    it.handle(JobsAvailable(0.0, 10))
    assert it.handle(DeadlineReached(119.0)) == []

    assert it.handle(DeadlineReached(120.0)) == [ClaimJobs(1, "DeadlineReached")]
    it.handle(JobsClaimed(120.0, 1, 1))
    assert arrive(it, 120.0, "guest", Priority.P2) == [Dispatch(RequestId("guest"), "Arrived")]
    assert it.handle(DeadlineReached(121.0)) == []
    assert arrive(it, 122.0, "person", Priority.P0) == [
        Preempt(RequestId("guest"), "Arrived"),
        Dispatch(RequestId("person"), "Arrived"),
    ]


def test_jobs_are_claimed_for_the_room_there_is_and_never_more():
    it = scheduler(slots=8)
    fill(it, 3, Priority.P1)

    assert it.handle(JobsAvailable(1.0, 100)) == [ClaimJobs(3, "JobsAvailable")]
    assert it.handle(JobsAvailable(1.0, 100)) == []
    assert it.handle(JobsClaimed(1.1, 3, 2)) == []


def test_a_short_claim_ends_the_asking_until_the_next_ping():
    it = scheduler(slots=8)
    it.handle(JobsAvailable(1.0, 100))
    it.handle(JobsClaimed(1.1, 6, 0))

    assert it.handle(DeadlineReached(2.0)) == []
    assert it.handle(JobsAvailable(3.0, 1)) == [ClaimJobs(1, "JobsAvailable")]


def test_draining_refuses_newcomers_sends_jobs_back_and_lets_the_rest_finish():
    it = scheduler()
    fill(it, 1, Priority.P1)
    arrive(it, 0.0, "job", Priority.P2)

    assert it.handle(DrainRequested(1.0)) == [Preempt(RequestId("job"), "DrainRequested")]
    [action] = arrive(it, 2.0, "late", Priority.P0)
    assert isinstance(action, Reject)
    assert action.explanation.reason is Reason.DRAINING


def test_a_failed_request_teaches_nothing():
    it = scheduler()
    before = it.state.predictor.estimate(request("x", Priority.P1))
    arrive(it, 0.0, "a", Priority.P1)
    it.handle(Left(1.0, RequestId("a"), Outcome.FAILED, Usage(1, 1)))

    assert it.state.predictor.estimate(request("x", Priority.P1)) == before


def test_leaving_twice_or_unknown_changes_nothing():
    it = scheduler()
    arrive(it, 0.0, "a", Priority.P1)
    it.handle(Left(1.0, RequestId("a"), Outcome.FINISHED, Usage(1, 1)))

    assert it.handle(Left(2.0, RequestId("a"), Outcome.FINISHED, Usage(1, 1))) == []
    assert it.snapshot(2.0).outcomes == {(Priority.P1, "finished"): 1}


def test_the_story_tells_why_it_waited_and_how_it_ended():
    it = scheduler(slots=1)
    arrive(it, 0.0, "first", Priority.P1)
    arrive(it, 1.0, "second", Priority.P1)
    it.handle(Left(4.0, RequestId("first"), Outcome.FINISHED, Usage(10, 5)))
    it.handle(FirstToken(4.5, RequestId("second")))
    it.handle(Left(5.0, RequestId("second"), Outcome.FINISHED, Usage(10, 7)))

    story = it.explain(RequestId("second"), 6.0)

    assert story is not None
    assert story.state == "gone"
    assert [entry.what for entry in story.entries] == [
        "arrived",
        "waits",
        "dispatched",
        "first_token",
        "finished",
    ]
    assert story.entries[1].fields["reason"] == "slots_full"
    assert story.entries[-1].fields["output_tokens"] == 7


def test_the_place_in_the_queue_names_what_the_first_waits_for():
    it = scheduler(slots=1)
    for name in ("running", "first", "second"):
        arrive(it, 0.0, name, Priority.P1)

    story = it.explain(RequestId("second"), 1.0)

    assert story is not None
    assert story.position == 1
    assert story.explanation is not None
    assert story.explanation.reason is Reason.QUEUED
    assert "every slot of the engine is taken" in story.explanation.message


def test_a_smaller_capacity_reported_later_is_obeyed():
    it = scheduler(slots=8)
    it.handle(LimitsChanged(0.0, Limits(requests_p2=8)))
    it.handle(CapacityChanged(0.0, Capacity(requests=2)))

    assert it.snapshot(0.0).limits.requests_p2 == 2
    fill(it, 1, Priority.P1)
    assert it.handle(JobsAvailable(1.0, 5)) == [ClaimJobs(1, "JobsAvailable")]


@pytest.mark.parametrize("priority", [Priority.P0, Priority.P1])
def test_nobody_below_overtakes_a_blocked_class(priority):
    it = scheduler(slots=64, kv_tokens=2_000)
    arrive(it, 0.0, "big one", Priority.P1, prompt_tokens=1_700, max_tokens=10)
    arrive(it, 0.0, "blocked", priority, prompt_tokens=1_000, max_tokens=10)

    assert arrive(it, 1.0, "small", Priority.P2, prompt_tokens=1, max_tokens=1) in (
        [],
        [Preempt(RequestId("small"), "Arrived")],
    )
