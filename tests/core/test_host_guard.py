"""The unified memory guard: samples of the host in, a level out, and what follows from it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.actions import Action, ClaimJobs, Dispatch, Preempt
from stoker.core.events import (
    Arrived,
    EngineUp,
    Event,
    FirstToken,
    HostSample,
    HostSampled,
    JobsAvailable,
    JobsClaimed,
    Left,
    Progressed,
)
from stoker.core.host_guard import HostGuard, Level, floors
from stoker.core.limits import Capacity
from stoker.core.policy import Policy
from stoker.core.reasons import Reason
from stoker.core.scheduler import Scheduler
from stoker.core.work import JobId, Outcome, Priority, Request, RequestId, Usage

GIB = 2**30
POLICY = Policy(ramp_s=0.0)
FLOOR, SHED, HARD = POLICY.ram_floor_bytes, POLICY.ram_shed_bytes, POLICY.ram_hard_bytes


def sample(gib: float, psi: float | None = 0.0, rss: float | None = None) -> HostSample:
    return HostSample(
        ram_available_bytes=int(gib * GIB),
        ram_total_bytes=128 * GIB,
        psi_full_percent=psi,
        engine_rss_bytes=None if rss is None else int(rss * GIB),
    )


def levels(guard: HostGuard, gibs: list[float], begin: float = 0.0) -> list[Level]:
    """The level after each of these samples, a second apart."""
    seen = []
    for index, gib in enumerate(gibs):
        guard.note(begin + index, sample(gib))
        seen.append(guard.level)
    return seen


def line(start: float, slope: float, count: int) -> list[float]:
    return [max(0.0, start + slope * index) for index in range(count)]


# ---------------------------------------------------------------------------- the level


def test_plenty_of_ram_lets_everybody_in():
    guard = HostGuard(POLICY)

    assert set(levels(guard, [60.0] * 20)) == {Level.OK}
    assert guard.refusal(in_flight=500) is None
    assert guard.view().why is None


def test_a_fall_is_seen_coming_before_the_floor_is_reached():
    guard = HostGuard(POLICY)
    levels(guard, [40.0] * 10)

    seen = levels(guard, line(40.0, -1.8, 18), begin=10.0)

    held = next(index for index, level in enumerate(seen) if level is not Level.OK)
    assert 40.0 - 1.8 * held > 8.0 * 1.5, "admission has to stop well above the floor"


def test_the_explanation_of_a_forecast_has_the_knob_the_measure_and_the_limit():
    guard = HostGuard(POLICY)
    levels(guard, line(40.0, -2.0, 11))

    why = guard.view().why

    assert why is not None
    assert (why.reason, why.knob) == (Reason.HOST_RAM_FLOOR, "ram_shed_bytes")
    assert why.measured == pytest.approx(0.0, abs=0.1 * GIB)
    assert why.limit == SHED
    assert "forecast in 10 s" in (why.note or "")


@pytest.mark.parametrize(
    ("rss", "words"),
    [
        ([3.0] * 6, "mostly to others (the engine's grew by 0.00 GiB)"),
        ([3.0, 3.4, 3.8, 4.2, 4.6, 5.0], "mostly into the engine's process"),
        ([None] * 6, "2.50 GiB went in 5 s"),
    ],
)
def test_the_note_says_whether_the_engine_or_somebody_else_took_it(rss, words):
    guard = HostGuard(POLICY)
    for second, engine in enumerate(rss):
        guard.note(float(second), sample(9.5 - 0.5 * second, rss=engine))

    why = guard.view().why

    assert why is not None
    assert words in (why.note or "")


def test_one_odd_sample_is_not_a_slope():
    guard = HostGuard(POLICY)

    assert set(levels(guard, [20.0, 20.0, 20.0, 20.0, 14.0, 20.0, 20.0, 20.0])) == {Level.OK}


def test_stalls_hold_with_ram_to_spare_and_end_with_a_margin():
    guard = HostGuard(POLICY)
    guard.note(0.0, sample(60, psi=7.0))
    assert guard.level is Level.HOLD
    assert guard.view().why.knob == "psi_full_max_percent"

    for second in range(1, 5):
        guard.note(float(second), sample(60, psi=4.5))
    assert guard.level is Level.HOLD
    for second in range(5, 9):
        guard.note(float(second), sample(60, psi=1.0))
    assert guard.level is Level.OK


def test_a_hold_ends_above_the_floor_by_a_margin_only():
    guard = HostGuard(POLICY)
    levels(guard, [9.0, 7.0])

    assert set(levels(guard, [8.4] * 8, begin=2.0)) == {Level.HOLD}
    assert levels(guard, [12.0] * 5, begin=10.0)[-1] is Level.OK


def test_a_host_that_lives_below_its_floor_still_works_one_by_one_and_then_more():
    guard = HostGuard(POLICY)

    seen = levels(guard, [5.0] * 11)
    assert seen == [Level.HOLD] * 10 + [Level.SPARSE]
    assert guard.requests_allowed == 1
    levels(guard, [5.0] * 20, begin=11.0)
    assert guard.requests_allowed == 11


def test_far_below_its_floor_it_takes_one_at_a_time():
    guard = HostGuard(POLICY)

    levels(guard, [2.0] * 60)

    assert guard.level is Level.SPARSE
    assert guard.requests_allowed == 1


def test_a_host_that_always_stalls_takes_one_at_a_time_after_a_minute():
    guard = HostGuard(POLICY)

    for second in range(70):
        guard.note(float(second), sample(60, psi=30.0))
        assert guard.level is (Level.HOLD if second < 60 else Level.SPARSE)

    assert guard.requests_allowed == 1


def test_a_leak_below_the_floor_closes_it_again():
    guard = HostGuard(POLICY)
    levels(guard, [7.9] * 30)
    assert guard.level is Level.SPARSE

    seen = levels(guard, line(7.9, -0.2, 10), begin=30.0)

    assert seen[-1] is Level.HOLD


def test_work_is_taken_back_one_a_second_while_it_falls_and_not_once_it_has_stopped():
    guard = HostGuard(POLICY)
    levels(guard, line(9.0, -0.4, 9))  # to 5.8

    assert guard.level is Level.SHED
    assert [guard.jobs_to_shed(8.0 + tick / 4, 10) for tick in range(5)] == [1, 0, 0, 0, 1]
    seen = levels(guard, [5.8] * 12, begin=9.0)
    assert Level.SHED not in seen[3:]
    assert seen[-1] is Level.SPARSE


def test_below_the_hard_floor_all_goes_at_once():
    guard = HostGuard(POLICY)
    levels(guard, [20.0, 3.0])

    assert guard.level is Level.SHED
    assert guard.jobs_to_shed(1.0, 10) == 10


def test_work_that_runs_the_host_short_twice_comes_back_by_half_and_then_slowly():
    guard = HostGuard(POLICY)
    short, plenty = sample(7.0), sample(40.0)

    guard.note(0.0, short, in_flight=40)
    for second in range(1, 6):
        guard.note(float(second), plenty)
    assert guard.requests_allowed is None, "once may have been anybody"
    guard.note(20.0, short, in_flight=40)
    for second in range(21, 26):
        guard.note(float(second), plenty)

    assert guard.level is Level.OK
    assert guard.requests_allowed == 20
    refusal = guard.refusal(in_flight=20)
    assert refusal is not None
    assert (refusal.knob, refusal.measured, refusal.limit) == ("requests_allowed", 20, 20)
    for second in range(26, 60):
        guard.note(float(second), plenty, in_flight=20)
    assert guard.requests_allowed == 23
    for second in range(60, 640):
        guard.note(float(second), plenty, in_flight=20)
    assert guard.requests_allowed is None


def test_a_relapse_while_work_comes_back_slowly_costs_a_fifth_unless_some_had_to_be_shed():
    guard = HostGuard(POLICY)
    plenty = sample(40.0)

    def is_short(at: float, *gib: float) -> int | None:
        """Short by these samples, with 40 in the engine; then how many may be there."""
        for second, left in enumerate(gib):
            guard.note(at + second, sample(left), in_flight=40)
        for second in range(len(gib), len(gib) + 5):
            guard.note(at + second, plenty, in_flight=40)
        return guard.requests_allowed

    is_short(0.0, 7.0)
    assert is_short(20.0, 7.0) == 20, "nobody knows by how much it was too many"
    assert is_short(40.0, 7.9) == 32
    assert is_short(60.0, 7.9, 5.0, 1.0) == 20


def test_a_relapse_that_the_work_cannot_have_caused_costs_it_nothing_more():
    guard = HostGuard(POLICY)
    for begin in (0.0, 20.0):
        guard.note(begin, sample(7.0), in_flight=40)
        for second in range(1, 6):
            guard.note(begin + second, sample(40.0))
    assert guard.requests_allowed == 20

    guard.note(40.0, sample(7.0), in_flight=2)
    for second in range(41, 46):
        guard.note(float(second), sample(40.0))

    assert guard.requests_allowed == 20


def test_a_host_that_stalls_and_is_short_gives_work_back_though_its_ram_is_steady():
    guard = HostGuard(POLICY)
    levels(guard, [7.0] * 15)
    assert guard.level is Level.SPARSE

    guard.note(15.0, sample(7.0, psi=9.0))

    assert guard.level is Level.SHED


@pytest.mark.parametrize("total_gib", [4, 16, 64, 128, 512])
def test_every_floor_is_lowered_on_a_small_host(total_gib):
    marks = floors(POLICY, total_gib * GIB)

    scale = min(1.0, total_gib / 128)
    assert (marks.hold, marks.shed, marks.hard) == (FLOOR * scale, SHED * scale, HARD * scale)


def test_a_floor_of_nothing_turns_the_ram_guard_off():
    guard = HostGuard(Policy(ram_floor_bytes=0))

    assert set(levels(guard, line(9.0, -1.0, 12))) == {Level.OK}


def test_a_host_that_tells_nothing_is_not_guarded():
    guard = HostGuard(POLICY)

    for second in range(5):
        guard.note(float(second), HostSample())

    assert guard.level is Level.OK


# ---------------------------------------------------------------------------- for any samples

noise = st.floats(0.98, 1.02)
anything = st.lists(
    st.tuples(st.floats(0.0, 100.0), st.one_of(st.none(), st.floats(0.0, 100.0))), max_size=60
)


@given(gib=st.floats(0.5, 60.0), noises=st.lists(noise, min_size=20, max_size=90))
def test_a_steady_host_never_flaps_whatever_the_noise(gib, noises):
    seen = levels(HostGuard(POLICY), [gib * factor for factor in noises])

    changes = [level for before, level in pairwise(seen) if level is not before]
    assert len(changes) <= 2, changes
    assert seen[-1] in (Level.OK, Level.SPARSE)


@given(past=anything, gib=st.floats(9.0, 100.0), noises=st.lists(noise, min_size=30, max_size=30))
def test_it_recovers_when_ram_has_returned_whatever_came_before(past, gib, noises):
    guard = HostGuard(POLICY)
    for second, (gib_before, psi) in enumerate(past):
        guard.note(float(second), sample(gib_before, psi))

    seen = levels(guard, [gib * factor for factor in noises], begin=float(len(past)))

    assert seen[-1] is Level.OK


@given(past=anything, gib=st.floats(0.1, 100.0), psi=st.floats(0.0, 100.0))
def test_it_never_strands_a_host_whose_ram_no_longer_moves(past, gib, psi):
    guard = HostGuard(POLICY)
    for second, (gib_before, psi_before) in enumerate(past):
        guard.note(float(second), sample(gib_before, psi_before))
    for second in range(len(past), len(past) + 75):
        guard.note(float(second), sample(gib, psi))

    assert guard.refusal(in_flight=0) is None


# ---------------------------------------------------------------------------- the scheduler by it


class ElasticBox:
    """An engine that takes RAM with each token and gives it back when a job ends."""

    def __init__(self, gib: float, gib_per_job_s: float, life_s: float) -> None:
        self.it = scheduler(slots=64)
        self.gib, self.gib_per_job_s, self.life_s = gib, gib_per_job_s, life_s
        self.running: dict[RequestId, float] = {}
        self.serial = 0
        self.shed_at: list[float] = []
        self.done_at: list[float] = []
        self.least_gib = gib

    def second(self, at: float) -> None:
        for id, since in list(self.running.items()):
            if at - since >= self.life_s and self.running.pop(id, None) is not None:
                self.done_at.append(at)
                self.tell(Left(at, id, Outcome.FINISHED, Usage(10, 10)))
        left = self.gib - self.gib_per_job_s * sum(at - since for since in self.running.values())
        self.least_gib = min(self.least_gib, left)
        self.tell(HostSampled(at, sample(max(0.0, left))))
        self.tell(JobsAvailable(at, 10_000))

    def tell(self, event: Event) -> None:
        for action in self.it.handle(event):
            match action:
                case Dispatch(id=id):
                    self.running[id] = event.at
                case Preempt(id=id):
                    if self.running.pop(id, None) is not None:
                        self.shed_at.append(event.at)
                    self.tell(Left(event.at, id, Outcome.PREEMPTED))
                case ClaimJobs(count=count):
                    self.tell(JobsClaimed(event.at, count, count))
                    for _ in range(count):
                        self.serial += 1
                        self.tell(Arrived(event.at, job(str(self.serial))))


def test_an_engine_that_eats_the_ram_itself_finds_its_place_instead_of_going_round_for_ever():
    box = ElasticBox(gib=20.0, gib_per_job_s=0.02, life_s=40.0)

    for second in range(600):
        box.second(float(second))

    assert box.least_gib > 2.0
    assert [at for at in box.shed_at if at > 150] == [], "no work is thrown away any more"
    # 12 GiB above the floor hold 30 jobs at 0.4 GiB each in the mean: 30 jobs in 40 s.
    assert len([at for at in box.done_at if at > 150]) > 0.5 * 30 * 450 / 40


def scheduler(slots: int = 16) -> Scheduler:
    it = Scheduler(POLICY, Capacity(requests=slots))
    it.handle(EngineUp(at=-1.0))
    return it


def job(name: str) -> Request:
    id = RequestId(name)
    return Request(id, Priority.P2, prompt_bytes=40, preemptible=True, job_id=JobId(name))


def arrive(it: Scheduler, at: float, name: str, priority: Priority) -> list[Action]:
    is_job = priority is Priority.P2
    request = job(name) if is_job else Request(RequestId(name), priority, prompt_bytes=40)
    return it.handle(Arrived(at, request))


def test_a_growing_co_tenant_takes_background_back_the_least_lost_first_and_nobody_else():
    it = scheduler()
    it.handle(HostSampled(0.0, sample(9.0)))
    for index, name in enumerate(("a", "b", "c", "agent", "person")):
        arrive(it, 0.1, name, Priority.P1 if name == "agent" else Priority.P2)
        it.handle(FirstToken(0.2, RequestId(name)))
        it.handle(Progressed(0.3, {RequestId(name): 100 * (index + 1)}))

    taken = []
    for second in range(1, 12):
        actions = it.handle(HostSampled(float(second), sample(9.0 - 0.45 * second)))
        taken.append([action.id for action in actions if isinstance(action, Preempt)])

    shed = [ids for ids in taken if ids]
    assert [id for ids in shed for id in ids] == ["a", "b", "c", "person"]
    assert [len(ids) for ids in shed] == [1, 1, 1, 1]
    assert it.state.ledger.count(Priority.P1) == 1


def test_p0_goes_while_the_host_sheds():
    it = scheduler()
    for second in range(10):
        it.handle(HostSampled(float(second), sample(12.0 - second)))
    assert it.snapshot(9.0).guard.level is Level.SHED

    assert arrive(it, 9.1, "agent", Priority.P1) == []
    assert arrive(it, 9.2, "person", Priority.P0) == [Dispatch(RequestId("person"), "Arrived")]


@given(past=anything, classes=st.lists(st.sampled_from(list(Priority)), min_size=1, max_size=60))
def test_nothing_but_p0_starts_while_it_holds_and_only_background_is_taken_back(past, classes):
    it = scheduler(slots=64)
    priorities: dict[RequestId, Priority] = {}
    for second, (gib, psi) in enumerate(past):
        taken = it.handle(HostSampled(float(second), sample(gib, psi)))
        name = str(second)
        priorities[RequestId(name)] = classes[second % len(classes)]
        taken += arrive(it, second + 0.5, name, priorities[RequestId(name)])

        allowed = it.snapshot(second + 0.5).guard.requests_allowed
        for action in taken:
            if isinstance(action, Preempt):
                assert priorities[action.id] is Priority.P2
            if isinstance(action, Dispatch) and priorities[action.id] is not Priority.P0:
                assert allowed != 0


@given(
    gibs=st.lists(st.floats(0.1, 7.9), min_size=1, max_size=40),
    priority=st.sampled_from([Priority.P1, Priority.P2]),
)
def test_below_the_floor_there_are_never_more_than_the_guard_allows(gibs, priority):
    it = scheduler(slots=64)
    for second, gib in enumerate(gibs):
        actions = it.handle(HostSampled(float(second), sample(gib)))
        actions += arrive(it, second + 0.5, str(second), priority)

        guard = it.snapshot(second + 0.5).guard
        assert guard.level is not Level.OK
        if any(isinstance(action, Dispatch) for action in actions):
            assert it.state.ledger.count(priority) <= guard.requests_allowed
