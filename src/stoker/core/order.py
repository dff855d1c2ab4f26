"""Who is first in its class, and how requests come into the queues and out of them.

The turn of a session that has a place goes before newcomers: what it said before may still be in
the prefix cache. A newcomer that has waited its class's age goes before turns, once; so does one
whose tenant has fewer places than others.
"""

from __future__ import annotations

import math

from stoker.core.places import DUE, NEWCOMER, TURN, Standing
from stoker.core.queues import Waiting
from stoker.core.state import State
from stoker.core.work import P0, P1, P2, Priority, RequestId


def head(state: State, priority: Priority, at: float) -> Waiting | None:
    """The one of its class that is tried next."""
    queues = state.queues
    if not queues.count(priority):
        return None
    turn, newcomer = queues.first_turn(priority), queues.first_newcomer(priority)
    if turn is None or (newcomer is not None and _is_due(state, newcomer, at)):
        return newcomer
    return turn


def standing(state: State, waiting: Waiting, at: float) -> Standing:
    """How it stands towards places, now."""
    found = state.places.standing(waiting.request)
    if found is NEWCOMER and not (state.places.has_sessions or state.box.thrash.is_on):
        return found
    is_due = found is not TURN and _is_due(state, waiting, at)
    return DUE if is_due else found


def next_due(state: State, at: float) -> float:
    """When the next newcomer will have waited its age; infinity for never."""
    if not (state.places.has_sessions or state.box.thrash.is_on):
        return math.inf  # then nothing hangs on it
    first = math.inf
    for priority in (P1, P2):
        newcomer = state.queues.first_newcomer(priority)
        due_at = math.inf if newcomer is None else _due_at(state, newcomer)
        if at < due_at < first:
            first = due_at
    return first


def put_in(state: State, waiting: Waiting, at: float) -> None:
    """It waits from now on."""
    request = waiting.request
    limit = state.box.limits.requests(request.priority)
    is_turn = state.places.arrive(request, at, limit)
    state.queues.push(waiting, is_turn=is_turn)


def take_out(state: State, id: RequestId, at: float) -> Waiting | None:
    """It gives up waiting; whoever of its session is next may have the turn."""
    waiting = state.queues.remove(id)
    if waiting is not None:
        give_turn(state, state.places.leave_queue(waiting.request, at))
    return waiting


def start(state: State, waiting: Waiting, at: float) -> None:
    """It runs from now on, and takes a place if it has none."""
    request = waiting.request
    if state.places.standing(request) is not TURN:
        state.ageing.start_newcomer(request.priority, at)
    # Before it leaves the queue: its tenant is still in the ring, and keeps its place there.
    state.fair.charge(request.id, request.priority, request.tenant, waiting.load)
    state.queues.remove(request.id)
    limit = state.box.limits.requests(request.priority)
    demoted = state.places.start(request, waiting.load.prompt_tokens, limit)
    if demoted is not None:
        state.queues.move(demoted, is_turn=False)


def give_turn(state: State, id: RequestId | None) -> None:
    if id is not None:
        state.queues.move(id, is_turn=True)


def _is_due(state: State, waiting: Waiting, at: float) -> bool:
    if waiting.request.priority is P0:
        return False  # it has no age
    return at >= _due_at(state, waiting) or state.places.is_short(waiting.request)


def _due_at(state: State, waiting: Waiting) -> float:
    return state.ageing.newcomer_due_at(waiting.request.priority, waiting.since)
