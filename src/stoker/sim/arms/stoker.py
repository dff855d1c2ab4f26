"""Stoker itself: the real core, driven in virtual time the way `stoker.runtime` drives it.

`_tell` and `_carry_out` are the dispatcher's, `_claim` and `_give_back` the job runner's, the
periodic reports the engine monitor's. Only bytes and tasks are missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from stoker.core.actions import Abort, Action, ClaimJobs, Dispatch, Preempt, Reject
from stoker.core.events import (
    Arrived,
    CapacityChanged,
    DeadlineReached,
    EngineDown,
    EngineSampled,
    EngineUp,
    Event,
    FirstToken,
    HostSampled,
    JobsAvailable,
    JobsClaimed,
    LeaseGranted,
    LeaseReleased,
    Left,
    LimitsChanged,
    Progressed,
)
from stoker.core.jobs import RetryPolicy, retry_delay_s
from stoker.core.optimizer import STEP_EVERY_S, Optimizer, OptimizerPolicy, Step
from stoker.core.policy import Policy
from stoker.core.reasons import Reason
from stoker.core.scheduler import Scheduler
from stoker.core.work import JobId, LeaseId, Outcome, Priority, Request, RequestId, Usage
from stoker.sim.arms.job_table import JobTable
from stoker.sim.diary import Diary
from stoker.sim.work import Ended, Notice, SimRequest, Started
from stoker.sim.world import Look, World

SAMPLE_EVERY_S = 0.5
HOST_EVERY_S = 1.0
PING_EVERY_S = 1.0
ABORT_GRACE_S = 0.5
"""vLLM's, as its adapter states it."""
BYTES_PER_TOKEN = 4.2
"""Of the prompts' JSON; the core has to learn it."""
ENDLESS = 1_000_000
SILENCE_S = 1.5
"""Three failed scrapes in a row: the engine is down."""


@dataclass(frozen=True, slots=True)
class Options:
    """How the core is run."""

    policy: Policy = field(default_factory=Policy)
    optimizer: OptimizerPolicy = field(default_factory=OptimizerPolicy)
    progress_every_s: float = 1.5
    """The runtime reports four times a second, which would be most of a run's time here; lengths
    are predicted anew only once a second in any case. It divides the optimizer's three seconds."""
    diary: Diary | None = None
    """Who writes down what is decided."""


@dataclass(slots=True)
class _Ticket:
    """A request that is here: as the world knows it, and as the scheduler does."""

    request: SimRequest
    core: Request
    is_running: bool = False


class StokerArm:
    def __init__(self, world: World, options: Options | None = None) -> None:
        self._world = world
        self._options = options or Options()
        self.scheduler = Scheduler(self._options.policy, world.capacity)
        self.optimizer = Optimizer(self._options.optimizer)
        self.steps: list[Step] = []
        self.tickets: dict[RequestId, _Ticket] = {}
        self._events: deque[Event] = deque()
        self._is_handling = False
        self._timer_at: float | None = None
        self._table = JobTable(None)
        self._attempts: dict[RequestId, int] = {}
        self._delayed = 0
        """Jobs that failed with the engine and wait for their next attempt."""

    # ------------------------------------------------------------------ the life of the process

    def start(self) -> None:
        kernel = self._world.kernel
        self._table = JobTable(self._world.backlog)
        self._begin_diary()
        self._tell(CapacityChanged(kernel.now, self._world.capacity))
        self._report_host()
        self._tell(EngineUp(kernel.now, ABORT_GRACE_S))
        self._ping()
        kernel.every(SAMPLE_EVERY_S, self._report_engine)
        kernel.every(HOST_EVERY_S, self._report_host)
        kernel.every(PING_EVERY_S, self._ping)
        kernel.every(self._options.progress_every_s, self._report_progress)
        kernel.every(STEP_EVERY_S, self._step)

    def _begin_diary(self) -> None:
        diary, now = self._options.diary, self._world.kernel.now
        if diary is not None:
            diary.scheduler_began(now, self._options.policy, self._world.capacity)
            diary.optimizer_began(now, self._options.optimizer)

    def look(self) -> Look:
        scheduler, now = self.scheduler, self._world.kernel.now
        limits, agents = scheduler.state.box.limits, self._world.agents
        background = scheduler.state.admission.background(now)
        return Look(
            limit=limits.requests(Priority.P2 if agents is None else agents.priority),
            predicted_tokens=scheduler.state.ledger.final_tokens,
            waiting=len(scheduler.state.queues),
            is_p0_held=scheduler.state.hold.is_held(now),
            excuse=None if background is None else background.reason.value,
        )

    def jobs_outside(self) -> int:
        waiting = sum(
            1 for ticket in self.tickets.values() if ticket.core.job_id and not ticket.is_running
        )
        return waiting + len(self._table) + self._delayed

    # ------------------------------------------------------------------ who comes and goes

    def arrive(self, request: SimRequest) -> None:
        if request.priority is Priority.P0:
            self._world.meter.p0_arrived(request.id)
        self._enter(request, self._core_request(request))

    def hang_up(self, id: RequestId) -> None:
        ticket = self.tickets.get(id)
        if ticket is None:
            return
        self._leave_engine(ticket, is_kept=False)
        self._world.meter.p0_left(id, is_refused=False)
        self._left(ticket, Outcome.CANCELLED)

    def grant(self, id: LeaseId, expires_at: float) -> None:
        self._tell(LeaseGranted(self._world.kernel.now, id, expires_at))

    def release(self, id: LeaseId) -> None:
        self._tell(LeaseReleased(self._world.kernel.now, id))

    def notice(self, notice: Notice, request: SimRequest) -> None:
        ticket = self.tickets[request.id]
        match notice:
            case Started(at=at, id=id):
                self._tell(FirstToken(at, id))
            case Ended(usage=usage):
                self._attempts.pop(request.id, None)
                self._left(ticket, Outcome.FINISHED, usage)
                if request.session and self._world.agents is not None:
                    self._world.agents.turn_ended(request)

    def lost(self, request: SimRequest) -> None:
        """The stream broke: a job begins anew after its delay, a caller gets an error."""
        ticket = self.tickets[request.id]
        self._left(ticket, Outcome.FAILED)
        if request.priority is Priority.P0:
            self._world.meter.p0_left(request.id, is_refused=True)
            return
        attempts = self._attempts[request.id] = self._attempts.get(request.id, 0) + 1
        delay_s = retry_delay_s(attempts, RetryPolicy())
        if request.session:
            self._world.kernel.after(delay_s, lambda: self.arrive(request))
        else:
            fresh = _from_its_beginning(request, ticket.core.resumed_tokens)
            self._delayed += 1
            self._world.kernel.after(delay_s, lambda: self._promote(fresh))
        if self.scheduler.state.box.is_engine_up:
            self._world.kernel.after(SILENCE_S, self._note_silence)

    def engine_is_back(self) -> None:
        now = self._world.kernel.now
        self._tell(CapacityChanged(now, self._world.capacity))
        self._tell(EngineUp(now, ABORT_GRACE_S))

    def _note_silence(self) -> None:
        if not self._world.is_engine_up and self.scheduler.state.box.is_engine_up:
            self._tell(EngineDown(self._world.kernel.now, "it does not answer"))

    # ------------------------------------------------------------------ reports, as the monitor's

    def _report_engine(self) -> None:
        if self._world.is_engine_up and self._world.has_telemetry:
            self._tell(EngineSampled(self._world.kernel.now, self._world.sample()))

    def _report_host(self) -> None:
        now = self._world.kernel.now
        self._tell(HostSampled(now, self._world.sample_host()))

    def _report_progress(self) -> None:
        tokens = {
            id: self._world.tokens_of(id)
            for id, ticket in self.tickets.items()
            if ticket.is_running
        }
        if tokens:
            self._tell(Progressed(self._world.kernel.now, tokens))

    def _ping(self) -> None:
        backlog = self._world.backlog
        available = ENDLESS if backlog is not None else len(self._table)
        tenants: Mapping[str, int] = {}
        if backlog is not None and backlog.has_tenants:
            self._table.fill()
            tenants = self._table.tenants
        self._tell(JobsAvailable(self._world.kernel.now, available, tenants))

    def _step(self) -> None:
        """One tick of the control loop."""
        window = self.scheduler.close_window(self._world.kernel.now)
        step = self.optimizer.step(window)
        self.steps.append(step)
        if self._options.diary is not None:
            self._options.diary.stepped(window, step)
        self._tell(LimitsChanged(step.at, step.limits))

    # ------------------------------------------------------------------ the dispatcher

    def _enter(self, request: SimRequest, core: Request) -> None:
        assert request.id not in self.tickets, f"{request.id} is here already"
        self.tickets[request.id] = _Ticket(request, core)
        self._tell(Arrived(self._world.kernel.now, core))

    def _left(self, ticket: _Ticket, outcome: Outcome, usage: Usage | None = None) -> None:
        del self.tickets[ticket.core.id]
        self._tell(Left(self._world.kernel.now, ticket.core.id, outcome, usage))

    def _tell(self, event: Event) -> None:
        """Never re-enters the core: what an action causes waits until this event is done."""
        self._events.append(event)
        if self._is_handling:
            return
        self._is_handling = True
        try:
            while self._events:
                event = self._events.popleft()
                actions = self.scheduler.handle(event)
                if self._options.diary is not None:
                    self._options.diary.handled(event, actions)
                for action in actions:
                    self._carry_out(action)
        finally:
            self._is_handling = False
        self._arm()

    def _carry_out(self, action: Action) -> None:
        match action:
            case Dispatch(id=id):
                ticket = self.tickets[id]
                ticket.is_running = True
                self._world.submit(ticket.request, engine_priority=ticket.core.priority * 5)
            case ClaimJobs():
                self._claim(action)
            case Preempt(id=id):
                self._preempt(self.tickets[id])
            case Reject(id=id):
                self._refused(self.tickets[id], action)
            case Abort(id=id):
                self._abort(self.tickets[id])

    def _arm(self) -> None:
        """One timer, never later than the next deadline."""
        kernel = self._world.kernel
        deadline = self.scheduler.next_deadline(kernel.now)
        if deadline is None or (self._timer_at is not None and self._timer_at <= deadline):
            return
        self._timer_at = at = max(deadline, kernel.now)
        kernel.at(at, lambda: self._deadline_reached(at))

    def _deadline_reached(self, at: float) -> None:
        if self._timer_at == at:
            self._timer_at = None
            self._tell(DeadlineReached(at))

    # ------------------------------------------------------------------ the job runner

    def _claim(self, asked: ClaimJobs) -> None:
        rows = self._table.claim(asked.count, asked.family, asked.tenant)
        self._tell(JobsClaimed(self._world.kernel.now, asked.count, len(rows), asked.tenant))
        for row in rows:
            self._enter(row.request, self._core_job(row.request, row.kept_tokens))

    def _preempt(self, ticket: _Ticket) -> None:
        """Stop it where it is; it goes on from its text when it is claimed again."""
        request, kept = ticket.request, ticket.core.resumed_tokens
        made = self._leave_engine(ticket, is_kept=True)
        self._left(ticket, Outcome.PREEMPTED)
        self._give_back(continued(request, made), kept + made)

    def _give_back(self, request: SimRequest, kept: int) -> None:
        self._table.give_back(request, kept)
        available = max(0, self.scheduler.state.claims.available)
        claims = self.scheduler.state.claims
        tenants = claims.with_more({request.tenant: 1}) if claims.tenants else {}
        self._tell(JobsAvailable(self._world.kernel.now, available + 1, tenants))

    def _promote(self, request: SimRequest) -> None:
        self._delayed -= 1
        self._give_back(request, 0)

    def _refused(self, ticket: _Ticket, reject: Reject) -> None:
        self._left(ticket, Outcome.FAILED)
        request = ticket.request
        if request.priority is Priority.P0:
            self._world.meter.p0_left(request.id, is_refused=True)
        elif request.session:
            wait_s = reject.retry_after_s or 1.0
            self._world.kernel.after(wait_s, lambda: self.arrive(request))
        elif reject.explanation.reason is not Reason.EXCEEDS_CAPACITY:
            self._give_back(request, ticket.core.resumed_tokens)

    def _abort(self, ticket: _Ticket) -> None:
        """The core gives it up with the engine; the world has told of most of them before."""
        if ticket.core.id in self._world.running:
            self._world.abort(ticket.core.id, is_kept=False)
        self.lost(ticket.request)

    def _leave_engine(self, ticket: _Ticket, *, is_kept: bool) -> int:
        if not ticket.is_running:
            return 0
        return self._world.abort(ticket.core.id, is_kept=is_kept)

    # ------------------------------------------------------------------ requests as the core sees

    def _core_request(self, request: SimRequest) -> Request:
        """Nobody has counted the tokens of what comes by HTTP."""
        return Request(
            request.id,
            request.priority,
            prompt_bytes=round(BYTES_PER_TOKEN * request.prompt_tokens),
            max_tokens=request.max_tokens,
            family=request.family,
            session=request.session,
        )

    def _core_job(self, request: SimRequest, kept: int) -> Request:
        """A tokenizer counts the prompts of jobs; text that is kept counts apart."""
        prompt = request.prompt_tokens - kept
        return Request(
            request.id,
            Priority.P2,
            prompt_bytes=round(BYTES_PER_TOKEN * prompt),
            prompt_tokens=prompt,
            max_tokens=request.max_tokens,
            family=request.family,
            tenant=request.tenant,
            preemptible=True,
            resumed_tokens=kept,
            job_id=JobId(request.id),
        )


def continued(request: SimRequest, made: int) -> SimRequest:
    """The rest of a job whose first `made` output tokens are prompt now."""
    if made == 0:
        return request
    *before, last = request.segments
    return replace(
        request,
        segments=(*before, replace(last, tokens=last.tokens + made)),
        output_tokens=max(1, request.output_tokens - made),
    )


def _from_its_beginning(request: SimRequest, kept: int) -> SimRequest:
    *before, last = request.segments
    return replace(
        request,
        segments=(*before, replace(last, tokens=last.tokens - kept)),
        output_tokens=request.output_tokens + kept,
    )
