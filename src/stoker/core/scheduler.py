"""The scheduler: events in, actions out. It keeps the box fed without overrunning it.

`handle()` is the only way in. It is synchronous, so decisions never interleave, and each decision
reserves what it decided on: once `Dispatch` is returned, the ledger counts that request.

Its parts, each with one job: `queues` (order), `ledger` (what is in flight), `hold` (when P0 has
the box), `ageing` (who has waited too long), `admission` (may this start, and if not, why not),
`shedding` (who gives way), `waits` (how long one may be kept waiting), `claims` (jobs on their
way from the store), `learning` (what leaving requests teach), `story` (what happened).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import assert_never

from stoker.core import shedding, views
from stoker.core.actions import Abort, Action, ClaimJobs, Dispatch, Preempt, Reject
from stoker.core.admission import Admission
from stoker.core.ageing import Ageing
from stoker.core.box import Box
from stoker.core.claims import Claims
from stoker.core.events import (
    Arrived,
    CapacityChanged,
    DeadlineReached,
    DrainRequested,
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
    Observation,
    Progressed,
)
from stoker.core.hold import P0Hold
from stoker.core.learning import Learning
from stoker.core.ledger import Ledger, Running
from stoker.core.limits import Capacity, clamp
from stoker.core.load import LoadPredictor, PeakForecast
from stoker.core.policy import Policy
from stoker.core.queues import ClassQueues, Waiting
from stoker.core.reasons import Explanation, Reason
from stoker.core.snapshot import Snapshot, Story
from stoker.core.story import Stories
from stoker.core.waits import Waits
from stoker.core.work import Outcome, Priority, Request, RequestId

_RAMP_STEPS = 12
_QUIET = (FirstToken, Progressed)
"""Facts that can change nothing while nobody waits here: they come most often."""


class Scheduler:
    """All scheduling state."""

    def __init__(
        self,
        policy: Policy | None = None,
        capacity: Capacity | None = None,
    ) -> None:
        self.policy = policy or Policy()
        self.box = Box(capacity or Capacity(requests=1))
        self.ledger = Ledger()
        self.queues = ClassQueues()
        self.hold = P0Hold(self.policy.p0_linger_s)
        self.ageing = Ageing(self.policy)
        self.waits = Waits(self.policy)
        self.predictor = LoadPredictor()
        self.forecast = PeakForecast()
        self.learning = Learning(self.ledger, self.predictor, self.forecast)
        self.stories = Stories()
        self.claims = Claims()
        self.admission = Admission(
            self.policy, self.box, self.ledger, self.hold, self.ageing, self.forecast
        )
        self.admissions: Counter[tuple[Priority, Reason]] = Counter()
        self.outcomes: Counter[tuple[Priority, str]] = Counter()
        self.preemptions = 0
        self._preempted_at: dict[RequestId, float] = {}

    # ------------------------------------------------------------------ the two verbs of the shell

    def handle(self, event: Event) -> list[Action]:
        """Take one fact and return what follows from it, in order."""
        actions = list(self._take(event))
        if self.queues or not isinstance(event, _QUIET):
            actions += self._decide(event.at, type(event).__name__)
        return actions

    def next_deadline(self, at: float) -> float | None:
        """Wake me then with `DeadlineReached`, if nothing else happens before."""
        times = (
            self.hold.next_change(at),
            self.waits.next(),
            self.ledger.next_departure(),
            self.ageing.next_change(at) if self.queues or self.claims.available else None,
            self._next_ramp_step(at),
        )
        return min([time for time in times if time is not None], default=None)

    def snapshot(self, at: float) -> Snapshot:
        """Everything that dashboards and metrics show, frozen."""
        return views.snapshot(self, at)

    def explain(self, id: RequestId, at: float) -> Story | None:
        """Why a request is where it is, and its story; `None` when it is not remembered."""
        return views.explain(self, id, at)

    # ------------------------------------------------------------------ facts

    def _take(self, event: Event) -> Iterable[Action]:
        match event:
            case Arrived():
                return self._arrived(event)
            case FirstToken():
                self._first_token(event)
            case Progressed(at=at, tokens=tokens):
                self.learning.progressed(at, tokens)
            case Left():
                self._left(event)
            case EngineDown():
                return self._engine_down(event)
            case DrainRequested():
                return self._drain(event)
            case _:
                self._told(event)
        return ()

    def _told(
        self, event: LeaseGranted | LeaseReleased | JobsAvailable | JobsClaimed | Observation
    ) -> None:
        match event:
            case LeaseGranted(at=at, id=id, expires_at=expires_at):
                self.hold.grant(id, max(at, expires_at))
            case LeaseReleased(at=at, id=id):
                self.hold.release(id, at)
            case JobsAvailable() | JobsClaimed():
                self._jobs(event)
            case _:
                self._observed(event)

    def _observed(self, event: Observation) -> None:
        box = self.box
        match event:
            case EngineSampled(at=at, sample=sample):
                box.engine, box.engine_sampled_at = sample, at
                self.ledger.confirm_departures(at, sample.running)
            case HostSampled(sample=host):
                box.host = host
            case CapacityChanged(capacity=capacity):
                box.capacity = capacity
                box.limits = clamp(box.limits, capacity)
            case LimitsChanged(limits=limits):
                box.limits = clamp(limits, box.capacity)
            case EngineUp(at=at):
                box.abort_grace_s = event.abort_grace_s
                if not box.is_engine_up:
                    box.is_engine_up, box.changed_at = True, at
            case DeadlineReached(at=at):
                self.hold.expire(at)
                self.ledger.confirm_departures(at, None)
            case _:
                assert_never(event)

    def _arrived(self, event: Arrived) -> Iterator[Action]:
        at, request = event.at, event.request
        load = self.predictor.estimate(request)
        self.stories.arrived(request, load, at)
        refusal = self._refusal(request) or self.admission.never_fits(request, load)
        if refusal is not None:
            yield self._reject(request, refusal, at, "Arrived")
            return
        self.queues.push(Waiting(request, load, at))
        self.ageing.want(request.priority, at)
        self.waits.start(request, at, self.box)
        if request.priority is Priority.P0:
            self.hold.enter(request.id)
            self.ledger.guest = None  # whoever was let in by age gives way now
        elif request.job_id is not None:
            self.claims.arrived()

    def _refusal(self, request: Request) -> Explanation | None:
        if self.box.is_draining:
            return Explanation(Reason.DRAINING)
        policy = self.policy
        queue_max = (policy.queue_max_p0, policy.queue_max_p1, policy.queue_max_p2)
        waiting, limit = self.queues.count(request.priority), queue_max[request.priority]
        if waiting >= limit:
            return Explanation(
                Reason.QUEUE_FULL, f"queue_max_{request.priority.label}", waiting, limit
            )
        return None

    def _left(self, event: Left) -> None:
        at, id = event.at, event.id
        waiting, running = self.queues.remove(id), self.ledger.remove(id)
        request = waiting.request if waiting else running.request if running else None
        if request is None:
            return  # it was rejected; leaving is the shell's own clean-up
        if request.priority is Priority.P0:
            self.hold.leave(id, at)
        self.waits.note_left(request.priority, at, is_served=event.outcome is Outcome.FINISHED)
        self.outcomes[request.priority, event.outcome.value] += 1
        self.stories.left(event)
        if running is not None:
            self.learning.left(running, event)
            if event.outcome not in (Outcome.FINISHED, Outcome.FAILED):
                self.ledger.depart(id, at, self.box.abort_grace_s)
        if not self.queues.count(request.priority) and request.priority is not Priority.P2:
            self.ageing.rest(request.priority)

    def _first_token(self, event: FirstToken) -> None:
        running = self.ledger.running.get(event.id)
        if running is not None:
            self.ledger.note_first_token(running, event.at)
            self.stories.tell(event.id, event.at, "first_token")

    def _engine_down(self, event: EngineDown) -> Iterator[Action]:
        """What ran is lost with the engine; those who wait learn how long they may still wait."""
        box = self.box
        box.down_cause = event.cause
        if not box.is_engine_up and box.changed_at > float("-inf"):
            return  # it was down already, and only the cause is news
        box.is_engine_up, box.changed_at = False, event.at
        box.engine_sampled_at = None
        self.waits.engine_down(self.queues, event.at)
        yield from self._send_back_waiting_jobs("EngineDown")
        for running in self.ledger.running.values():
            if not running.is_leaving:
                self.ledger.note_leaving(running)
                self.stories.tell(running.request.id, event.at, "aborted", cause=event.cause)
                yield Abort(running.request.id, event.cause, "EngineDown")

    def _drain(self, event: DrainRequested) -> Iterator[Action]:
        """Nobody new comes in; background work goes back to the store; the others may finish."""
        self.box.is_draining = True
        yield from self._send_back_waiting_jobs("DrainRequested")
        yield from self._shed(event.at, "DrainRequested", keep=0, pause_s=0.0)

    def _jobs(self, event: JobsAvailable | JobsClaimed) -> None:
        if isinstance(event, JobsAvailable):
            self.claims.note_available(event.count)
        else:
            self.claims.answered(event.asked, event.claimed)
        if self.claims.available > 0:
            self.ageing.want(Priority.P2, event.at)
        elif not self.queues.count(Priority.P2):
            self.ageing.rest(Priority.P2)

    # ------------------------------------------------------------------ decisions

    def _decide(self, at: float, cause: str) -> list[Action]:
        actions: list[Action] = list(self._give_up(at, cause))
        if self.hold.is_held(at) and self.box.is_engine_up:
            actions += self._make_way(at, cause)
        while (waiting := self._next(at)) is not None:
            actions.append(self._dispatch(waiting, at, cause))
        actions += self._claim(at, cause)
        return actions

    def _give_up(self, at: float, cause: str) -> Iterator[Action]:
        """Refuse those who have waited as long as they may."""
        for waiting, refusal in self.waits.due(self.queues, self.box, at):
            self.queues.remove(waiting.request.id)
            if waiting.request.priority is Priority.P0:
                self.hold.leave(waiting.request.id, at)
            yield self._reject(waiting.request, refusal, at, cause)

    def _make_way(self, at: float, cause: str) -> Iterator[Action]:
        """P0 has the box: jobs still waiting here go back to the store, running ones give way."""
        keep = self.admission.background_allowed(at) or 0
        if self.ledger.staying_p2 >= keep:
            yield from self._send_back_waiting_jobs(cause)
        head = self.queues.head(Priority.P0)
        if head is not None and head.seen is Reason.KV_PEAK and not self.ledger.leaving_p2:
            keep = min(keep, self.ledger.staying_p2 - 1)  # one at a time, until its prompt fits
        yield from self._shed(at, cause, keep=keep, pause_s=self.policy.shed_pause_s)

    def _send_back_waiting_jobs(self, cause: str) -> Iterator[Action]:
        for waiting in self.queues.of_class(Priority.P2):
            if waiting.request.job_id is not None and not waiting.is_leaving:
                waiting.is_leaving = True
                yield Preempt(waiting.request.id, cause)

    def _shed(self, at: float, cause: str, *, keep: int, pause_s: float) -> Iterator[Action]:
        slots_free = self.box.capacity.requests - len(self.ledger.running)
        for running in shedding.victims(
            self.ledger,
            keep=keep,
            slots_needed=self.queues.count(Priority.P0) - slots_free,
            preempted_at=self._preempted_at,
            at=at,
            pause_s=pause_s,
        ):
            self.ledger.note_leaving(running)
            self._note_preempted(running.request.id, at)
            self.stories.tell(
                running.request.id, at, "gives_way", cause=cause, tokens=running.tokens_seen
            )
            yield Preempt(running.request.id, cause)

    def _next(self, at: float) -> Waiting | None:
        """The next request to start, or `None`.

        A blocked class blocks those of lower priority, so that what it waits for is not taken
        from under it; only a ceiling of its own does not.
        """
        lowest = Priority.P2
        for priority in self.ageing.order(at):
            waiting = self.queues.head(priority)
            if waiting is None or waiting.is_leaving or priority > lowest:
                continue
            explanation = self.admission.check(waiting.request, waiting.load, at)
            if explanation.reason is Reason.ADMITTED:
                return waiting
            self._note_blocked(waiting, explanation, at)
            if explanation.knob != "limit_requests_p1":
                lowest = min(lowest, priority)
        return None

    def _dispatch(self, waiting: Waiting, at: float, cause: str) -> Dispatch:
        request = waiting.request
        self.queues.remove(request.id)
        wants_more = self.queues.count(request.priority) > 0 or (
            request.priority is Priority.P2 and self.claims.available > 0
        )
        self.ageing.serve(request.priority, at, wants_more=wants_more)
        self.ledger.add(Running(request, waiting.load, at))
        if request.priority is Priority.P2 and self.hold.is_held(at):
            self.ledger.guest = request.id
        self.admissions[request.priority, Reason.ADMITTED] += 1
        self.stories.tell(request.id, at, "dispatched", waited_s=round(at - waiting.since, 4))
        return Dispatch(request.id, cause)

    def _claim(self, at: float, cause: str) -> list[Action]:
        """Ask for jobs only when they could start: there is no second queue to keep in step."""
        if self.claims.available <= 0 or self.box.is_draining:
            return []
        is_starved = self.ageing.is_starved(Priority.P2, at)
        if self._higher_class_waits() and not is_starved:
            return []
        room = self.admission.background_room(at)
        count = self.claims.ask(room, self.queues.count(Priority.P2))
        return [ClaimJobs(count, cause)] if count else []

    def _higher_class_waits(self) -> bool:
        return bool(self.queues.count(Priority.P0) or self.queues.count(Priority.P1))

    # ------------------------------------------------------------------ small parts of the above

    def _reject(self, request: Request, refusal: Explanation, at: float, cause: str) -> Reject:
        self.admissions[request.priority, refusal.reason] += 1
        self.stories.tell(request.id, at, "rejected", reason=refusal.reason.value)
        retry_after_s = None
        if refusal.is_retryable:
            retry_after_s = self.waits.retry_after_s(
                request.priority, self.queues.count(request.priority)
            )
        return Reject(request.id, refusal, retry_after_s, cause)

    def _note_blocked(self, waiting: Waiting, explanation: Explanation, at: float) -> None:
        if waiting.seen is explanation.reason:
            return
        waiting.seen = explanation.reason
        self.admissions[waiting.request.priority, explanation.reason] += 1
        self.stories.waits(waiting.request.id, at, explanation)

    def _note_preempted(self, id: RequestId, at: float) -> None:
        self.preemptions += 1
        self._preempted_at[id] = at
        pause_s = self.policy.shed_pause_s
        if len(self._preempted_at) > 1024:
            self._preempted_at = {
                key: then for key, then in self._preempted_at.items() if at - then < pause_s
            }

    def _next_ramp_step(self, at: float) -> float | None:
        """While background work returns, look again a dozen times over the ramp."""
        released_at = self.hold.released_at(at)
        if released_at is None or not (self.claims.available or self.queues.count(Priority.P2)):
            return None
        end = max(released_at, self.box.changed_at) + self.policy.ramp_s
        step = self.policy.ramp_s / _RAMP_STEPS
        return min(end, at + step) if at < end and step > 0 else None
