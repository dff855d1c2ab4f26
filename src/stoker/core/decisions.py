"""What follows from the state: who is refused, gives way or starts, how many jobs to fetch."""

from __future__ import annotations

import math
from collections.abc import Iterator

from stoker.core import order
from stoker.core.actions import Action, ClaimJobs, Dispatch
from stoker.core.giving_way import GivingWay
from stoker.core.ledger import Running
from stoker.core.load import Load
from stoker.core.queues import Waiting
from stoker.core.reasons import ADMITTED, Explanation, Reason
from stoker.core.refusing import reject
from stoker.core.state import State
from stoker.core.work import P0, P1, P2, Priority

_RAMP_STEPS = 12
_OWN_AFFAIR = ("limit_requests_p1", "cached_share")
"""What holds up the newcomers of a class, and takes nothing from the classes below it."""


class Decisions:
    def __init__(self, state: State, giving_way: GivingWay) -> None:
        self._state = state
        self._giving_way = giving_way

    def decide(self, at: float, cause: str) -> list[Action]:
        state = self._state
        actions: list[Action] = []
        if state.waits.is_due(at):
            actions += self._give_up(at, cause)
        if not state.hold.is_held(at):
            self._giving_way.is_over()
        elif state.box.is_engine_up:
            actions += self._giving_way.make_way(at, cause)
        while (waiting := self._next(at)) is not None:
            actions.append(self._dispatch(waiting, at, cause))
        if state.claims.available > 0:
            actions += self._claim(at, cause)
        self._note_bounds(at)
        return actions

    def _give_up(self, at: float, cause: str) -> Iterator[Action]:
        """Refuse those who have waited as long as they may."""
        state = self._state
        for waiting, refusal in state.waits.due(state.queues, state.box, at):
            order.take_out(state, waiting.request.id, at)
            if waiting.request.priority is P0:
                state.hold.leave(waiting.request.id, at)
            yield reject(state, waiting.request, refusal, at, cause)

    def _next(self, at: float) -> Waiting | None:
        """The next request to start, or `None`.

        A blocked class blocks those of lower priority, so that what it waits for is not taken
        from under it; only a ceiling of its own does not.
        """
        state = self._state
        if not state.queues:
            return None
        lowest = P2
        for priority in state.ageing.order(at):
            if priority > lowest:
                continue
            waiting = order.head(state, priority, at)
            if waiting is None or waiting.is_leaving:
                continue
            standing = order.standing(state, waiting, at)
            explanation = state.admission.check(
                waiting.request, waiting.load, at, standing, before=waiting.told
            )
            if explanation is ADMITTED:
                return waiting
            self._note_blocked(waiting, explanation, at)
            if explanation.knob not in _OWN_AFFAIR:
                lowest = min(lowest, priority)
        return None

    def _dispatch(self, waiting: Waiting, at: float, cause: str) -> Dispatch:
        state = self._state
        request = waiting.request
        state.stories.dispatched(
            request.id, at, waited_s=at - waiting.since, inputs=self._inputs(waiting.load)
        )
        order.start(state, waiting, at)
        wants_more = state.queues.count(request.priority) > 0 or (
            request.priority is P2 and state.claims.available > 0
        )
        is_guest = state.hold.is_held(at) and state.ageing.is_starved(request.priority, at)
        state.ageing.serve(request.priority, at, wants_more=wants_more)
        state.ledger.add(Running(request, waiting.load, at))
        state.p2_order.start(request, waiting.load)
        if is_guest and request.priority is P2:
            state.ledger.guest = request.id
        state.admissions[request.priority, Reason.ADMITTED] += 1
        return Dispatch(request.id, cause)

    def _inputs(self, load: Load) -> dict[str, object]:
        """What the decision to start rests on, as it was; what costs nothing to know."""
        state = self._state
        ledger, box = state.ledger, state.box
        final = ledger.final_tokens + load.total_tokens
        inputs: dict[str, object] = {
            "running": len(ledger.running),
            "departing": ledger.departing,
            "slots": box.capacity.requests,
            "held_tokens": ledger.held_tokens,
            "kv_forecast_tokens": round(
                final + state.forecast.margin(ledger.variance + load.output_variance)
            ),
        }
        if box.capacity.kv_tokens is not None:
            inputs["kv_tokens"] = box.capacity.kv_tokens
        if box.host.ram_available_bytes is not None:
            inputs["ram_available_bytes"] = box.host.ram_available_bytes
        return inputs

    def _claim(self, at: float, cause: str) -> list[Action]:
        """Ask for jobs only when they could start: there is no second queue to keep in step."""
        state = self._state
        if state.box.is_draining:
            return []
        does_higher_wait = state.queues.count(P1) > 0 or state.queues.count(P0) > 0
        if does_higher_wait and not state.ageing.is_starved(P2, at):
            return []
        room = state.admission.background_room(at)
        asked = state.claims.ask(room, state.queues)
        if not asked:
            asked = self._claim_ahead(at)
        if not asked:
            return []
        is_short = state.admission.is_cache_short()
        return [
            ClaimJobs(
                count, cause, state.p2_order.family(at, tenant, is_cache_short=is_short), tenant
            )
            for tenant, count in asked.items()
        ]

    def _claim_ahead(self, at: float) -> dict[str | None, int]:
        state = self._state
        tenant = state.claims.kept_out(state.queues)
        if tenant is None or state.admission.background(at) is not None:
            return {}
        state.claims.ask_ahead(tenant)
        return {tenant: 1}

    def _note_bounds(self, at: float) -> None:
        """Remember, for the optimizer, what keeps the next one of each bulk class out."""
        state = self._state
        bound = state.meter.bound
        bound[P1], bound[P2] = self._bound(P1), self._bound(P2)
        if bound[P2] is None and state.claims.available > 0:
            bound[P2] = state.admission.background_bound(at)

    def _bound(self, priority: Priority) -> Reason | None:
        queues = self._state.queues
        if not queues.count(priority):
            return None
        head = queues.first_newcomer(priority) or queues.first_turn(priority)
        told = None if head is None else head.told
        return Reason.QUEUED if told is None else told.reason

    def _note_blocked(self, waiting: Waiting, explanation: Explanation, at: float) -> None:
        state = self._state
        told = waiting.told
        if told is not None and told.reason is explanation.reason:
            return
        waiting.told = explanation
        state.admissions[waiting.request.priority, explanation.reason] += 1
        state.stories.waits(waiting.request.id, at, explanation)

    def next_ramp_step(self, at: float) -> float:
        """While background work returns, look again a dozen times over the ramp; infinity for
        never."""
        state = self._state
        ramp_s = state.policy.ramp_s
        end = max(state.hold.released_at, state.box.changed_at) + ramp_s
        if at >= end or state.hold.is_held(at):
            return math.inf
        if not (state.claims.available or state.queues.count(P2)):
            return math.inf
        return min(end, at + ramp_s / _RAMP_STEPS)
