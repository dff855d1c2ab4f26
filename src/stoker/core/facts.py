"""What each fact changes. It may answer at once with a refusal or an abort; all other orders are
drawn from the new state by `decisions.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import assert_never

from stoker.core import order
from stoker.core.actions import Abort, Action
from stoker.core.events import (
    Arrived,
    CapacityChanged,
    DeadlineReached,
    DrainRequested,
    EngineDown,
    EngineSample,
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
    P0Elsewhere,
    Progressed,
    RunningElsewhere,
)
from stoker.core.giving_way import GivingWay
from stoker.core.host_guard import Level
from stoker.core.ledger import Running
from stoker.core.limits import clamp
from stoker.core.queues import Waiting
from stoker.core.reasons import Explanation, Reason
from stoker.core.refusing import reject
from stoker.core.state import State
from stoker.core.work import P0, P2, Outcome, Request


class Facts:
    def __init__(self, state: State, giving_way: GivingWay) -> None:
        self._state = state
        self._giving_way = giving_way

    def take(self, event: Event) -> Iterable[Action]:
        state = self._state
        match event:
            case Arrived():
                return self._arrived(event)
            case FirstToken():
                self._first_token(event)
            case Progressed(at=at, tokens=tokens):
                state.learning.progressed(at, tokens)
            case Left():
                self._left(event)
            case EngineDown():
                return self._engine_down(event)
            case DrainRequested():
                return self._drain(event)
            case HostSampled():
                return self._host_sampled(event)
            case _:
                self._told(event)
        return ()

    def _told(
        self,
        event: LeaseGranted
        | LeaseReleased
        | JobsAvailable
        | JobsClaimed
        | P0Elsewhere
        | RunningElsewhere
        | Observation,
    ) -> None:
        state = self._state
        match event:
            case P0Elsewhere():
                self._p0_elsewhere(event)
            case RunningElsewhere():
                state.box.requests_elsewhere = event.requests
                state.box.is_other_next = event.is_other_next
            case LeaseGranted(at=at, id=id, expires_at=expires_at):
                if id not in state.hold.leases:
                    self._giving_way.owe(is_strict=True)
                state.hold.grant(id, max(at, expires_at))
            case LeaseReleased(at=at, id=id):
                state.hold.release(id, at)
            case JobsAvailable() | JobsClaimed():
                self._jobs(event)
            case _:
                self._observed(event)

    def _observed(self, event: Observation) -> None:
        state = self._state
        box = state.box
        match event:
            case EngineSampled(at=at, sample=sample):
                box.engine, box.engine_sampled_at = sample, at
                state.ledger.confirm_departures(at, sample.running)
                self._judge_cache(at, sample)
                state.meter.note_preemptions(sample.preemptions_total)
            case CapacityChanged(capacity=capacity):
                box.capacity = capacity
                state.meter.note_unsteady()
                box.limits = clamp(box.limits, capacity)
            case LimitsChanged(limits=limits):
                box.limits = clamp(limits, box.capacity)
            case EngineUp(at=at):
                box.abort_grace_s = event.abort_grace_s
                if not box.is_engine_up:
                    box.is_engine_up, box.changed_at = True, at
                    state.meter.note_unsteady()
            case DeadlineReached(at=at):
                state.hold.expire(at)
                state.ledger.confirm_departures(at, None)
            case _:
                assert_never(event)

    def _p0_elsewhere(self, event: P0Elsewhere) -> None:
        """Work here slows P0 there, as if it were here: they share the box."""
        state = self._state
        if not event.is_held:
            state.hold.leave_elsewhere(event.at)
            return
        self._giving_way.owe(is_strict=not state.hold.is_held(event.at))
        state.hold.enter_elsewhere()
        state.ledger.guest = None

    def _judge_cache(self, at: float, sample: EngineSample) -> None:
        state = self._state
        kv_tokens = state.box.capacity.kv_tokens
        state.sharing.note(sample, state.ledger.running.values(), kv_tokens)
        state.box.kv_per_token = state.sharing.factor
        read_all_s = None if kv_tokens is None else state.service.prefill_s(kv_tokens)
        state.places.worth_s = math.inf if read_all_s is None else read_all_s
        counted = state.ledger.held_tokens + state.places.parked_tokens
        state.box.thrash.judge(
            at,
            sample,
            working_set=state.sharing.factor * counted,
            limit=None if kv_tokens is None else state.policy.kv_share_p1 * kv_tokens,
        )

    def _arrived(self, event: Arrived) -> Iterator[Action]:
        state = self._state
        at, request = event.at, event.request
        load = state.predictor.estimate(request)
        cached = state.resuming.cached_tokens(request, load.prompt_tokens, at)
        load = replace(load, cached_tokens=cached) if cached else load
        state.resuming.arrived(request, load.prompt_tokens)
        state.stories.arrived(request, load, at)
        if request.job_id is not None:
            state.claims.arrived(request.tenant)  # refused or not, it is not on its way any more
        refusal = self._refusal(request) or state.admission.never_fits(request, load)
        if refusal is not None:
            yield reject(state, request, refusal, at, "Arrived")
            return
        order.put_in(state, Waiting(request, load, at), at)
        state.tenants.meet((request.tenant,))
        state.ageing.want(request.priority, at)
        state.waits.start(request, at, state.box)
        if request.priority is P0:
            self._giving_way.owe(is_strict=not state.hold.is_held(at))
            state.hold.enter(request.id, at)
            state.ledger.guest = None  # whoever was let in by age gives way now
        elif request.job_id is not None:
            state.p2_order.arrive(request)

    def _refusal(self, request: Request) -> Explanation | None:
        state = self._state
        if state.box.is_draining:
            return Explanation(Reason.DRAINING)
        policy = state.policy
        queue_max = (policy.queue_max_p0, policy.queue_max_p1, policy.queue_max_p2)
        waiting, limit = state.queues.count(request.priority), queue_max[request.priority]
        if waiting >= limit:
            return Explanation(
                Reason.QUEUE_FULL, f"queue_max_{request.priority.label}", waiting, limit
            )
        return None

    def _left(self, event: Left) -> None:
        state = self._state
        at, id = event.at, event.id
        waiting, running = order.take_out(state, id, at), state.ledger.remove(id)
        request = waiting.request if waiting else running.request if running else None
        if request is None:
            return  # it was rejected; leaving is the shell's own clean-up
        if request.priority is P0:
            state.hold.leave(id, at)
        state.waits.note_left(request.priority, at, is_served=event.outcome is Outcome.FINISHED)
        state.outcomes[request.priority, event.outcome.value] += 1
        state.stories.left(event)
        if running is not None:
            priority, tenant = request.priority, request.tenant
            taken = state.fair.settle(id, priority, tenant, *_taken(running, event))
            state.tenants.note(priority, tenant, taken)
            order.give_turn(state, state.places.end(request, _tokens_left(running, event), at))
            state.p2_order.end(id)
            state.learning.left(running, event)
            if request.priority is P0 and event.usage is not None:
                cached = event.usage.cached_tokens or 0
                state.beside_p0.note_question(event.usage.prompt_tokens - cached)
            if event.outcome not in (Outcome.FINISHED, Outcome.FAILED):
                state.ledger.depart(id, at, state.box.abort_grace_s)
        if not state.queues.count(request.priority) and request.priority is not P2:
            state.ageing.rest(request.priority)

    def _first_token(self, event: FirstToken) -> None:
        state = self._state
        running = state.ledger.running.get(event.id)
        if running is not None:
            state.ledger.note_first_token(running, event.at)
            state.meter.note_prompt(running)
            state.stories.tell(event.id, event.at, "first_token")

    def _engine_down(self, event: EngineDown) -> Iterator[Action]:
        """What ran is lost with the engine; those who wait learn how long they may still wait."""
        state = self._state
        box = state.box
        box.down_cause = event.cause
        if not box.is_engine_up and box.changed_at > float("-inf"):
            return  # it was down already, and only the cause is news
        box.is_engine_up, box.changed_at = False, event.at
        state.meter.note_unsteady()
        box.engine_sampled_at = None
        state.places.engine_lost()
        box.thrash.reset()
        state.sharing.reset()
        box.kv_per_token = state.sharing.factor
        state.waits.engine_down(state.queues, event.at)
        yield from self._giving_way.send_back_waiting_jobs("EngineDown")
        for running in state.ledger.running.values():
            if not running.is_leaving:
                state.ledger.note_leaving(running)
                state.stories.tell(running.request.id, event.at, "aborted", cause=event.cause)
                yield Abort(running.request.id, event.cause, "EngineDown")

    def _drain(self, event: DrainRequested) -> Iterator[Action]:
        """Nobody new comes in; background work goes back to the store; the others may finish."""
        state = self._state
        state.box.is_draining = True
        yield from self._giving_way.send_back_waiting_jobs("DrainRequested")
        yield from self._giving_way.shed_to(0, event.at, "DrainRequested")

    def _host_sampled(self, event: HostSampled) -> Iterator[Action]:
        """While the host runs out of RAM, background work goes back, its text on the disk first."""
        state = self._state
        at = event.at
        state.box.host = event.sample
        in_flight = event.in_flight
        state.guard.note(
            at, event.sample, state.admission.below_p0 if in_flight is None else in_flight
        )
        if state.guard.level is not Level.SHED:
            return
        yield from self._giving_way.send_back_waiting_jobs("HostSampled")
        staying = state.ledger.staying_p2
        keep = staying - state.guard.jobs_to_shed(at, staying)
        if keep < staying:
            yield from self._giving_way.shed_to(keep, at, "HostSampled")

    def _jobs(self, event: JobsAvailable | JobsClaimed) -> None:
        state = self._state
        if isinstance(event, JobsAvailable):
            state.claims.note_available(event.count, event.tenants)
            state.tenants.meet(event.tenants)
        else:
            state.claims.answered(event.asked, event.claimed, event.tenant)
        if state.claims.available > 0:
            state.ageing.want(P2, event.at)
        elif not state.queues.count(P2):
            state.ageing.rest(P2)


def _taken(running: Running, event: Left) -> tuple[int, int]:
    """The prompt and the answer that it held in the engine."""
    usage = event.usage
    if usage is None:
        return running.load.prompt_tokens, running.tokens_seen
    return usage.prompt_tokens, usage.output_tokens


def _tokens_left(running: Running, event: Left) -> int:
    """What it leaves in the prefix cache."""
    usage = event.usage
    return running.held_tokens if usage is None else usage.prompt_tokens + usage.output_tokens
