"""One scheduler of several on a box: P0 on another engine, and RAM that another engine takes."""

from __future__ import annotations

from stoker.core.actions import ClaimJobs, Dispatch, Preempt
from stoker.core.events import (
    Arrived,
    CapacityChanged,
    EngineUp,
    HostSample,
    HostSampled,
    JobsAvailable,
    JobsClaimed,
    Left,
    P0Elsewhere,
    RunningElsewhere,
)
from stoker.core.limits import Capacity
from stoker.core.policy import Policy
from stoker.core.reasons import Reason
from stoker.core.scheduler import Scheduler
from stoker.core.views import why_background_waits
from stoker.core.work import JobId, Outcome, Priority, Request, RequestId

GIB = 2**30


def a_scheduler(**policy):
    scheduler = Scheduler(Policy(**{"ramp_s": 0.0, "p0_linger_s": 0.0, **policy}))
    scheduler.handle(CapacityChanged(0.0, Capacity(requests=8)))
    scheduler.handle(EngineUp(0.0))
    return scheduler


def request(id, priority=Priority.P1, **fields):
    return Request(RequestId(id), priority, prompt_bytes=40, max_tokens=8, **fields)


def job(id):
    return request(id, Priority.P2, preemptible=True, job_id=JobId(id))


def run(scheduler, at, *requests):
    """Dispatched ids."""
    actions = [one for r in requests for one in scheduler.handle(Arrived(at, r))]
    return [one.id for one in actions if isinstance(one, Dispatch)]


def of(kind, actions):
    return [one for one in actions if isinstance(one, kind)]


def test_p0_on_another_engine_takes_running_background_work_back():
    scheduler = a_scheduler()
    run(scheduler, 1.0, job("j1"), job("j2"))

    actions = scheduler.handle(P0Elsewhere(10.0, is_held=True))

    assert {one.id for one in of(Preempt, actions)} == {"j1", "j2"}


def test_no_background_work_starts_while_p0_is_on_another_engine_and_it_says_why():
    scheduler = a_scheduler()
    scheduler.handle(P0Elsewhere(1.0, is_held=True))

    actions = scheduler.handle(JobsAvailable(2.0, 5))

    why = why_background_waits(scheduler.state, 2.0)
    assert of(ClaimJobs, actions) == []
    assert why.reason is Reason.P0_LEASE
    assert "another engine" in why.message
    assert scheduler.snapshot(2.0).is_p0_elsewhere


def test_normal_work_goes_on_while_p0_is_on_another_engine():
    scheduler = a_scheduler()
    scheduler.handle(P0Elsewhere(1.0, is_held=True))

    assert run(scheduler, 2.0, request("r1")) == ["r1"]


def test_background_work_returns_when_p0_has_left_the_other_engine():
    scheduler = a_scheduler(ramp_s=2.0)
    scheduler.handle(JobsAvailable(0.5, 5))
    scheduler.handle(JobsClaimed(0.6, 5, 0))
    scheduler.handle(P0Elsewhere(1.0, is_held=True))
    scheduler.handle(JobsAvailable(2.0, 5))

    begun = of(ClaimJobs, scheduler.handle(P0Elsewhere(3.0, is_held=False)))

    assert 0 < sum(one.count for one in begun) < 5, "it returns over the ramp"
    assert not scheduler.state.hold.is_held(3.0)


def test_a_number_set_by_hand_holds_for_p0_on_another_engine_too():
    scheduler = a_scheduler(p2_during_p0=1)
    run(scheduler, 1.0, job("j1"), job("j2"))

    actions = scheduler.handle(P0Elsewhere(10.0, is_held=True))

    assert len(of(Preempt, actions)) == 1


def test_a_starved_job_is_a_guest_until_the_next_p0_on_the_other_engine():
    scheduler = a_scheduler(age_p2_s=5.0)
    scheduler.handle(P0Elsewhere(1.0, is_held=True))
    scheduler.handle(JobsAvailable(1.0, 5))

    claims = of(ClaimJobs, scheduler.handle(JobsAvailable(7.0, 5)))
    scheduler.handle(JobsClaimed(7.0, 1, 1))
    started = run(scheduler, 7.0, job("j1"))
    again = scheduler.handle(P0Elsewhere(14.0, is_held=True))

    assert [one.count for one in claims] == [1]
    assert started == ["j1"]
    assert [one.id for one in of(Preempt, again)] == ["j1"]


def sampled(scheduler, at, gib, in_flight):
    sample = HostSample(ram_available_bytes=int(gib * GIB), ram_total_bytes=128 * GIB)
    return scheduler.handle(HostSampled(at, sample, in_flight))


def below_the_floor(scheduler, in_flight=0):
    """Steady for long: one may run, and one more every two seconds."""
    for at in range(1, 15):
        sampled(scheduler, float(at), 7.0, in_flight)


def test_what_runs_in_another_engine_counts_against_what_the_ram_allows():
    scheduler = a_scheduler()
    scheduler.handle(RunningElsewhere(0.5, 1))
    below_the_floor(scheduler, in_flight=1)
    allowed = scheduler.state.guard.requests_allowed
    scheduler.handle(RunningElsewhere(14.1, allowed))

    blocked = run(scheduler, 14.2, request("r1"))
    freed = scheduler.handle(RunningElsewhere(14.3, allowed - 1))

    assert blocked == []
    assert [one.id for one in of(Dispatch, freed)] == ["r1"]


def test_an_engine_that_had_its_turn_leaves_free_ram_to_one_that_has_nothing():
    scheduler = a_scheduler()
    below_the_floor(scheduler)
    run(scheduler, 14.1, request("r1"))
    scheduler.handle(RunningElsewhere(14.2, 0, is_other_next=True))

    waits = run(scheduler, 14.3, request("r2"))
    scheduler.handle(Left(14.4, RequestId("r1"), Outcome.FINISHED))
    story = scheduler.explain(RequestId("r2"), 14.4)
    goes_on = scheduler.handle(RunningElsewhere(14.5, 0))

    assert waits == []
    assert story.explanation.reason is Reason.HOST_RAM_FLOOR
    assert "another engine's" in story.explanation.message
    assert [one.id for one in of(Dispatch, goes_on)] == ["r2"]


def test_with_ram_to_spare_other_engines_do_not_matter():
    scheduler = a_scheduler()
    for at in range(1, 15):
        sampled(scheduler, float(at), 60.0, 500)
    scheduler.handle(RunningElsewhere(14.1, 500, is_other_next=True))

    assert run(scheduler, 14.2, request("r1"), request("r2")) == ["r1", "r2"]
