"""Random lives of the scheduler: whatever happens in whatever order, its invariants hold.

Safety is checked after every event; liveness (nobody waits for ever) when the machine is done.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stoker.core.actions import Abort, Action, ClaimJobs, Dispatch, Preempt, Reject
from stoker.core.events import (
    Arrived,
    CapacityChanged,
    DeadlineReached,
    EngineDown,
    EngineSample,
    EngineSampled,
    EngineUp,
    Event,
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
from stoker.core.places import Standing
from stoker.core.policy import Policy
from stoker.core.reasons import Reason
from stoker.core.scheduler import Scheduler
from stoker.core.work import JobId, LeaseId, Outcome, Priority, Request, RequestId, Usage

POLICY = Policy(
    age_p1_s=20.0,
    age_p2_s=40.0,
    wait_max_p0_s=50.0,
    wait_max_p1_s=100.0,
    ramp_s=3.0,
    p0_linger_s=2.0,
    lease_max_s=60.0,
    queue_max_p0=6,
    queue_max_p1=6,
)


class SchedulerMachine(RuleBasedStateMachine):
    """A model box: it obeys every action, as the real dispatcher and runner do."""

    tenants: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.capacity = Capacity(requests=4, kv_tokens=4_000, context_tokens=3_000)
        self.largest = self.capacity.requests
        self.it = Scheduler(POLICY, self.capacity)
        self.requests: dict[RequestId, Request] = {}
        self.waiting: dict[RequestId, None] = {}
        self.running: dict[RequestId, int] = {}
        self.store: dict[RequestId, Request] = {}
        self.shed_at: dict[RequestId, float] = {}
        self.serial = 0
        self.leases = 0
        self.is_up = True
        self.prompt_total = self.cached_total = 0.0
        self.tell(EngineUp(self.now, abort_grace_s=1.0))

    # ------------------------------------------------------------------ the obedient box

    def tell(self, event: Event) -> None:
        before = {priority: self.it.state.places.count(priority) for priority in Priority}
        actions = self.it.handle(event)
        for priority in (Priority.P1, Priority.P2):
            limit = self.it.state.box.limits.requests(priority)
            if limit is not None:
                places = self.it.state.places.count(priority)
                assert places <= max(before[priority], limit), "a newcomer passed the ceiling"
        expiry = self.it.state.places.next_expiry()
        assert expiry > event.at, "a parked session outlived its time"
        for action in actions:
            self.obey(action)

    def obey(self, action: Action) -> None:
        match action:
            case Dispatch(id=id):
                assert id in self.waiting, f"{id} was promised a slot twice, or never waited"
                if self.requests[id].priority is not Priority.P0:
                    assert self.it.state.guard.requests_allowed != 0, "the host has no RAM for it"
                del self.waiting[id]
                self.running[id] = 0
                self.check_joining(self.requests[id])
            case Reject(id=id, explanation=explanation):
                assert id not in self.running
                self.waiting.pop(id, None)
                assert explanation.reason is not Reason.ADMITTED
                self.tell(Left(self.now, id, Outcome.FAILED))
            case Preempt(id=id, cause=cause):
                self.give_back(id, cause)
            case Abort(id=id):
                assert id in self.running
                self.leave(id, Outcome.FAILED)
            case ClaimJobs(count=count, tenant=tenant):
                assert count > 0
                self.check_claim(count)
                self.claim(count, tenant)

    def claim(self, count: int, tenant: str | None) -> None:
        """The oldest first, as the store does."""
        theirs = [id for id, job in self.store.items() if tenant in (None, job.tenant)]
        got = sorted(theirs, key=lambda one: int(one.partition("-")[2]))[:count]
        self.tell(JobsClaimed(self.now, count, len(got), tenant))
        for id in got:
            self.requests[id] = self.store.pop(id)
            self.waiting[id] = None
            self.tell(Arrived(self.now, self.requests[id]))

    def tell_jobs(self) -> None:
        tenants = Counter(job.tenant for job in self.store.values())
        self.tell(JobsAvailable(self.now, len(self.store), tenants if self.tenants else {}))

    def tenant(self, number: int) -> str:
        return self.tenants[number % len(self.tenants)] if self.tenants else ""

    def give_back(self, id: RequestId, cause: str) -> None:
        """Into the store, with its text, at its old place."""
        request, tokens = self.requests[id], self.running.get(id)
        assert request.priority is Priority.P2
        if tokens is not None:
            before = self.shed_at.get(id, float("-inf"))
            is_for_p0 = cause != "HostSampled"  # the host's RAM knows no pause
            assert not is_for_p0 or self.now - before >= POLICY.shed_pause_s, f"{id}, twice"
            self.shed_at[id] = self.now
        self.leave(id, Outcome.PREEMPTED)
        self.store[id] = replace(request, resumed_tokens=request.resumed_tokens + (tokens or 0))

    def check_joining(self, request: Request) -> None:
        """Beside P0, background work starts only where C0 has room, or as the one guest."""
        state = self.it.state
        if request.priority is Priority.P2 and state.hold.is_held(self.now):
            assert state.ledger.staying_p2 <= max(state.beside_p0.allowed(), 1)
            if state.ledger.guest != request.id:
                load = state.ledger.running[request.id].load
                assert state.service.prefill_s(load.unread_tokens) <= POLICY.p0_itl_target_s

    def check_claim(self, count: int) -> None:
        """Beside P0, only as many are fetched as could join."""
        state = self.it.state
        if state.hold.is_held(self.now):
            most = max(1, min(state.beside_p0.allowed(), len(self.store)))
            assert count <= most

    def leave(self, id: RequestId, outcome: Outcome) -> None:
        self.waiting.pop(id, None)
        tokens = self.running.pop(id, None)
        usage = Usage(100, tokens or 1) if outcome is Outcome.FINISHED else None
        self.tell(Left(self.now, id, outcome, usage))

    def arrive(
        self, priority: Priority, prompt: int, most: int | None, *, session: str = ""
    ) -> None:
        self.serial += 1
        id = RequestId(f"{priority.label}-{self.serial}")
        request = self.request(id, priority, prompt, most, is_job=False)
        if session:
            request = replace(request, session=session, tenant=self.tenant(ord(session)))
        self.requests[id] = request
        self.waiting[id] = None
        self.tell(Arrived(self.now, self.requests[id]))

    def request(
        self, id: RequestId, priority: Priority, prompt: int, most: int | None, *, is_job: bool
    ) -> Request:
        return Request(
            id,
            priority,
            prompt_bytes=prompt * 4,
            prompt_tokens=prompt,
            max_tokens=most,
            tenant=self.tenant(self.serial),
            preemptible=is_job,
            job_id=JobId(id) if is_job else None,
        )

    # ------------------------------------------------------------------ what may happen

    @rule(
        priority=st.sampled_from([Priority.P0, Priority.P1]),
        prompt=st.integers(1, 3_500),
        most=st.one_of(st.none(), st.integers(1, 500)),
    )
    def somebody_arrives(self, priority: Priority, prompt: int, most: int | None) -> None:
        self.arrive(priority, prompt, most)

    @rule(
        priority=st.sampled_from(list(Priority)),
        prompt=st.integers(1, 1_500),
        session=st.sampled_from("abcde"),
    )
    def a_session_calls(self, priority: Priority, prompt: int, session: str) -> None:
        self.arrive(priority, prompt, 100, session=session)

    @rule(count=st.integers(1, 30))
    def jobs_are_enqueued(self, count: int) -> None:
        for _ in range(count):
            self.serial += 1
            id = RequestId(f"p2-{self.serial}")
            self.store[id] = self.request(id, Priority.P2, 300, 100, is_job=True)
        self.tell_jobs()

    @precondition(lambda self: self.running)
    @rule(data=st.data(), outcome=st.sampled_from([Outcome.FINISHED, Outcome.FAILED]))
    def a_running_one_ends(self, data: st.DataObject, outcome: Outcome) -> None:
        self.leave(data.draw(st.sampled_from(list(self.running))), outcome)

    @precondition(lambda self: self.running or self.waiting)
    @rule(data=st.data())
    def a_client_hangs_up(self, data: st.DataObject) -> None:
        here = [*self.running, *self.waiting]
        self.leave(data.draw(st.sampled_from(here)), Outcome.CANCELLED)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), tokens=st.integers(1, 60))
    def tokens_come(self, data: st.DataObject, tokens: int) -> None:
        id = data.draw(st.sampled_from(list(self.running)))
        if self.running[id] == 0:
            self.tell(FirstToken(self.now, id))
        if id in self.running:
            self.running[id] += tokens
            self.tell(Progressed(self.now, dict(self.running)))

    @rule(seconds=st.sampled_from([0.01, 0.5, 3.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        until = self.now + seconds
        while (deadline := self.it.next_deadline(self.now)) is not None and deadline <= until:
            assert deadline > self.now or deadline >= self.now, "time must not stand still"
            self.now = max(self.now, deadline)
            self.tell(DeadlineReached(self.now))
            if self.it.next_deadline(self.now) == deadline:
                break
        self.now = until
        self.tell(DeadlineReached(self.now))

    @rule(seconds=st.floats(0.5, 60.0))
    def a_lease_is_granted(self, seconds: float) -> None:
        self.leases += 1
        self.tell(LeaseGranted(self.now, LeaseId(str(self.leases)), self.now + seconds))

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def a_lease_is_released(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(1, self.leases))
        self.tell(LeaseReleased(self.now, LeaseId(str(number))))

    @rule(
        requests=st.one_of(st.none(), st.integers(-5, 400)),
        tokens=st.one_of(st.none(), st.integers(-5, 10**6)),
    )
    def limits_are_learned(self, requests: int | None, tokens: int | None) -> None:
        self.tell(LimitsChanged(self.now, Limits(requests, requests, requests, tokens)))

    @rule(requests=st.integers(1, 12), kv_tokens=st.one_of(st.none(), st.integers(3_000, 9_000)))
    def capacity_is_reported(self, requests: int, kv_tokens: int | None) -> None:
        self.capacity = Capacity(requests, kv_tokens, context_tokens=3_000)
        self.largest = max(self.largest, requests)
        self.tell(CapacityChanged(self.now, self.capacity))

    @rule(lag=st.integers(0, 3), share=st.sampled_from([0.0, 0.5, 1.0]))
    def gauges_are_read(self, lag: int, share: float) -> None:
        self.prompt_total += 5_000.0
        self.cached_total += share * 5_000.0
        sample = EngineSample(
            running=len(self.running) + lag,
            kv_cache_usage=share,
            prompt_tokens_total=self.prompt_total,
            prompt_tokens_cached_total=self.cached_total,
        )
        self.tell(EngineSampled(self.now, sample))

    @rule(gigabytes=st.sampled_from([1, 5, 7, 60]), stalls=st.sampled_from([0.0, 9.0]))
    def host_ram_is_read(self, gigabytes: int, stalls: float) -> None:
        sample = HostSample(gigabytes * 2**30, 128 * 2**30, psi_full_percent=stalls)
        self.tell(HostSampled(self.now, sample))

    @rule(step_s=st.sampled_from([0.004, 0.02, 0.04, 0.2]), token_s=st.sampled_from([1e-5, 1e-3]))
    def the_engine_shows_how_fast_it_is(self, step_s: float, token_s: float) -> None:
        service = self.it.state.service
        for batch in (1, 2, 4):
            for _ in range(8):
                service.note_step(self.now, batch, step_s * batch**0.5)
                service.note_prefill(self.now, 1000, 1000 * token_s)

    @rule()
    def the_engine_goes_down(self) -> None:
        self.is_up = False
        self.tell(EngineDown(self.now, "test"))

    @rule()
    def the_engine_comes_up(self) -> None:
        self.is_up = True
        self.tell(EngineUp(self.now, abort_grace_s=1.0))

    # ------------------------------------------------------------------ safety

    @invariant()
    def the_ledger_counts_what_runs(self) -> None:
        assert set(self.it.state.ledger.running) == set(self.running)
        for priority in Priority:
            expected = sum(self.requests[id].priority is priority for id in self.running)
            assert self.it.state.ledger.count(priority) == expected
        held = sum(self.it.state.ledger.running[id].held_tokens for id in self.running)
        assert self.it.state.ledger.held_tokens == held
        assert self.it.state.ledger.final_tokens >= held - 1e-6
        assert self.it.state.ledger.unread_p2_tokens >= 0

    @invariant()
    def everybody_who_waits_is_known_and_has_a_reason(self) -> None:
        assert {w.request.id for w in self.it.state.queues} == set(self.waiting)
        for id in self.waiting:
            story = self.it.explain(id, self.now)
            assert story is not None
            assert story.explanation is not None
            assert story.explanation.reason is not Reason.ADMITTED
            assert story.explanation.message

    @invariant()
    def no_higher_class_waits_for_a_slot_that_a_newcomer_below_took(self) -> None:
        """The slots above P0's reserve are the most that P1 and P2 ever fill, unless it shrank."""
        kept = POLICY.reserve(self.capacity.requests)[0]
        below = self.it.state.ledger.count(Priority.P1) + self.it.state.ledger.count(Priority.P2)
        if below > max(1, self.capacity.requests - kept):
            assert self.largest > self.capacity.requests, "P1 and P2 are in P0's reserve"

    @invariant()
    def an_idle_engine_leaves_nobody_waiting(self) -> None:
        if self.running or not self.is_up or self.it.state.ledger.departing:
            return
        for waiting in self.it.state.queues:
            assert waiting.request.priority is not Priority.P0, "P0 waits on an idle engine"
            explanation = self.it.explain(waiting.request.id, self.now).explanation
            allowed = {Reason.HOST_RAM_FLOOR, Reason.QUEUED}
            if waiting.request.priority is Priority.P2:
                allowed |= {Reason.P0_LEASE, Reason.RAMP}
            assert explanation.reason in allowed, explanation

    @invariant()
    def what_may_be_beside_p0_is_within_the_box(self) -> None:
        beside = self.it.state.beside_p0
        slots = self.capacity.requests - POLICY.reserve(self.capacity.requests)[0]
        assert 0 <= beside.allowed() <= beside.tolerated() <= slots

    @invariant()
    def a_session_with_a_place_is_not_held_up_by_what_was_learned(self) -> None:
        for waiting in self.it.state.queues:
            if self.it.state.places.standing(waiting.request) is Standing.TURN:
                explanation = self.it.explain(waiting.request.id, self.now).explanation
                learned = (Reason.LIMIT, Reason.THRASH)
                assert explanation.reason not in learned, explanation

    @invariant()
    def places_are_counted_as_they_are(self) -> None:
        state = self.it.state
        for priority in (Priority.P1, Priority.P2):
            here = [one for one in self.running if self.requests[one].priority is priority]
            sessions = {self.requests[one].session for one in here} - {""}
            alone = sum(not self.requests[one].session for one in here)
            view = state.places.view(priority)
            assert view.running == len(sessions) + alone
            assert view.parked >= 0
            assert state.places.count(priority) == view.running + view.parked
            turn = state.queues.first_turn(priority)
            if turn is not None:
                assert state.places.standing(turn.request) is Standing.TURN
                assert turn.request.session not in sessions, "its session runs already"
        if not any(state.places.view(priority).parked for priority in Priority):
            assert state.places.parked_tokens == 0
        assert state.places.parked_tokens >= 0

    @invariant()
    def limits_stay_inside_capacity(self) -> None:
        limits = self.it.state.box.limits
        for limit in (limits.requests_p0, limits.requests_p1, limits.requests_p2):
            assert limit is None or 1 <= limit <= self.capacity.requests

    # ------------------------------------------------------------------ liveness

    def teardown(self) -> None:
        """With a healthy box and no newcomers, everybody is served or refused in bounded time."""
        self.is_up = True
        self.tell(EngineUp(self.now))
        for _ in range(400 + len(self.store)):
            if not (self.waiting or self.running or self.store):
                return
            self.tell(HostSampled(self.now, HostSample(2**40, 2**40, 0.0)))
            self.tell(EngineSampled(self.now, EngineSample(running=len(self.running))))
            if self.store:
                self.tell_jobs()
            for id in list(self.running):
                if id in self.running:
                    self.leave(id, Outcome.FINISHED)
            self.time_passes(3.0)
        raise AssertionError(f"still waiting: {list(self.waiting)}, in store: {list(self.store)}")


class SharedMachine(SchedulerMachine):
    """The same with three tenants in every class."""

    tenants = ("x", "y", "z")

    @invariant()
    def the_shares_are_kept_of_those_who_want_something(self) -> None:
        state = self.it.state
        for priority in Priority:
            fair = state.fair.of(priority)
            wanting = {one.request.tenant for one in state.queues.of_class(priority)}
            if priority is Priority.P2:
                wanting |= state.claims.tenants.keys()
            assert set(fair.tenants) == wanting
            assert all(deficit >= -fair.debt_max for deficit in fair.tenants.values())

    @invariant()
    def places_are_counted_for_each_tenant(self) -> None:
        for priority in (Priority.P1, Priority.P2):
            of = self.it.state.places._classes[priority]
            assert sum(of.tenants.values()) == self.it.state.places.count(priority)
            assert all(count > 0 for count in of.tenants.values())


TestSchedulerMachine = SchedulerMachine.TestCase
TestSharedMachine = SharedMachine.TestCase
