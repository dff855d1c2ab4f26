"""The scheduler seen from outside: a frozen snapshot, and the story of one request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stoker.core import order
from stoker.core.reasons import Explanation, Reason
from stoker.core.snapshot import ClassView, Prediction, Snapshot, Story
from stoker.core.work import P1, P2, Priority, RequestId

if TYPE_CHECKING:
    from stoker.core.queues import Waiting
    from stoker.core.state import State


_NOT_CHEAP = "there is room, but no job is known to join without P0 feeling it"


def snapshot(state: State, at: float) -> Snapshot:
    box, ledger, forecast = state.box, state.ledger, state.forecast
    age = box.telemetry_age_s(at)
    return Snapshot(
        at=at,
        classes={priority: _class_view(state, priority, at) for priority in Priority},
        tenants=state.tenants.views(state.queues, ledger.running.values(), state.claims.tenants),
        leases={id: max(0.0, end - at) for id, end in state.hold.leases.items()},
        is_p0_held=state.hold.is_held(at),
        is_p0_elsewhere=state.hold.is_elsewhere,
        p0_linger_s=state.hold.linger_s,
        p2_beside_p0=state.beside_p0.allowed(),
        resumed_cached_share=state.resuming.cached_share,
        is_engine_up=box.is_engine_up,
        engine_cause=None if box.is_engine_up else box.down_cause,
        is_draining=box.is_draining,
        capacity=box.capacity,
        limits=box.limits,
        engine=box.engine,
        telemetry_age_s=age,
        is_telemetry_stale=age is not None and age > state.policy.telemetry_stale_s,
        host=box.host,
        guard=state.guard.view(),
        departing=ledger.departing,
        parked_tokens=state.places.parked_tokens,
        cached_share=box.thrash.share,
        is_thrashing=box.thrash.is_on,
        kv_per_token=box.kv_per_token,
        unread_p2_tokens=ledger.unread_p2_tokens,
        held_tokens=ledger.held_tokens,
        predicted_final_tokens=ledger.final_tokens,
        kv_peak_forecast_tokens=forecast.forecast(ledger.in_flight()),
        forecast_z=forecast.z,
        forecast_coverage=forecast.coverage if forecast.count else None,
        forecast_over_estimate=forecast.mean_over_estimate if forecast.count else None,
        jobs_claiming=state.claims.coming,
        admissions=dict(state.admissions),
        preemptions=state.preemptions,
        outcomes=dict(state.outcomes),
        predictor=state.predictor.snapshot(),
        service=state.service.snapshot(),
    )


def explain(state: State, id: RequestId, at: float) -> Story | None:
    """The whole story of a request, with the reason why it waits if it does; `None` if unknown."""
    entries = state.stories.of(id)
    waiting, running = state.queues.get(id), state.ledger.running.get(id)
    if waiting is not None:
        position = state.queues.position(id)
        load = waiting.load
        return Story(
            id=id,
            state="waiting",
            request=waiting.request,
            explanation=_why_waiting(state, waiting, position, at),
            position=position,
            prediction=Prediction(load.prompt_tokens, load.output_tokens, 0),
            entries=entries,
        )
    if running is not None:
        load = running.load
        return Story(
            id=id,
            state="running",
            request=running.request,
            explanation=None,
            position=None,
            prediction=Prediction(load.prompt_tokens, load.output_tokens, running.tokens_seen),
            entries=entries,
        )
    if not entries:
        return None
    return Story(id, "gone", None, None, None, None, entries)


def why_background_waits(state: State, at: float) -> Explanation:
    """Why the next job in the store is not claimed now."""
    explanation = state.admission.background(at)
    if explanation is not None:
        return explanation
    head = order.head(state, P2, at)
    if head is not None:
        return _check(state, head, at)
    if state.admission.background_room(at) <= 0:
        if state.hold.is_held(at):
            return Explanation(Reason.P0_LEASE, "p0_itl_target_s", note=_NOT_CHEAP)
        running = state.ledger.resident
        return Explanation(Reason.SLOT_RESERVE, "p1_reserved_slots", measured=running)
    return Explanation(Reason.QUEUED)


def waits_for_ram(state: State, at: float) -> bool:
    """Whether P1, P2 or a job in the store could start here but for the host's RAM."""
    for priority in (P1, P2):
        head = order.head(state, priority, at)
        if head is not None and _check(state, head, at).reason is Reason.HOST_RAM_FLOOR:
            return True
    why = state.admission.background(at) if state.claims.available > 0 else None
    return why is not None and why.reason is Reason.HOST_RAM_FLOOR


def _class_view(state: State, priority: Priority, at: float) -> ClassView:
    head = order.head(state, priority, at)
    return ClassView(
        waiting=state.queues.count(priority),
        running=state.ledger.count(priority),
        oldest_wait_s=None if head is None else at - head.since,
        blocked_by=None if head is None else _why_waiting(state, head, 0, at),
        places=state.places.view(priority),
        prompt_tokens_total=state.meter.prompt_tokens_total[priority],
        output_tokens_total=state.meter.output_tokens_total[priority],
    )


def _why_waiting(state: State, waiting: Waiting, position: int, at: float) -> Explanation:
    """Its own check when it is first in its class; else its place, and why the first waits."""
    head = order.head(state, waiting.request.priority, at)
    assert head is not None
    explanation = _check(state, head, at)
    if waiting is head:
        if explanation.reason is Reason.ADMITTED:
            return Explanation(Reason.QUEUED, note="a higher class is before it")
        return explanation
    return Explanation(
        Reason.QUEUED,
        "position",
        measured=max(1, position),
        note=f"the first waits because {explanation.message}",
    )


def _check(state: State, waiting: Waiting, at: float) -> Explanation:
    standing = order.standing(state, waiting, at)
    return state.admission.check(waiting.request, waiting.load, at, standing)
