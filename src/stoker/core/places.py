"""Who has a place in the box: what runs, and the sessions that are away for a moment.

An agent calls, works with a tool, and calls again with all it said before. Between the calls its
session is *parked*: it keeps its place, and its tokens are counted, for as long as tool time
usually takes. Owns places and that time; what a place is good for is decided in `admission.py`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from stoker.core.tool_time import ToolTime
from stoker.core.work import P0, P1, P2, Priority, Request, RequestId

REMEMBERED_MAX = 4096
"""Sessions without a place whose last turn is remembered, so that long tool times are learned."""

_MEAN_GAIN = 1 / 64

SessionKey = tuple[Priority, str, str]


class Standing(Enum):
    """How a request stands towards places."""

    TURN = "turn"
    """The next call of a session that has a place and nothing running: it goes first."""
    SHARING = "sharing"
    """One more call of a session that runs already; it needs no place of its own."""
    NEWCOMER = "newcomer"
    """It needs a free place."""
    DUE = "due"
    """A newcomer that has waited its age: it may take the place of a session that is away."""


TURN: Final = Standing.TURN
SHARING: Final = Standing.SHARING
NEWCOMER: Final = Standing.NEWCOMER
DUE: Final = Standing.DUE


@dataclass(slots=True)
class _Place:
    running: int = 0
    turn: RequestId | None = None
    """The waiting call that goes first."""
    tokens: int = 0
    """What its last calls left in the prefix cache."""
    running_tokens: int = 0
    """The prompts of its calls that run."""
    until: float = float("inf")
    """When it loses the place unless its next turn has come."""
    is_counted: bool = False
    """Whether its tokens are in `parked_tokens`."""


@dataclass(frozen=True, slots=True)
class PlacesView:
    """The places of one class."""

    running: int
    """Sessions with a running request, and running requests without a session."""
    parked: int
    """Sessions between two turns."""
    ttl_s: float
    """How long a parked session keeps its place."""


@dataclass(slots=True)
class _Class:
    sessions: dict[SessionKey, _Place] = field(default_factory=dict)
    """In the order in which they got their places."""
    running: int = 0
    parked_tokens: int = 0
    """What its sessions without a running request have left in the prefix cache."""
    running_tokens: int = 0
    """The prompts of its sessions' running calls."""
    mean_tokens: float = 0.0
    """What a turn leaves in the cache, over all turns of a session's life."""
    alone: int = 0
    """Running requests without a session: each is its own place."""
    tool_time: ToolTime = field(default_factory=ToolTime)
    tenants: dict[str, int] = field(default_factory=dict)
    """Places of each tenant that has any."""

    def gain(self, tenant: str) -> None:
        self.tenants[tenant] = self.tenants.get(tenant, 0) + 1

    def lose(self, tenant: str) -> None:
        self.tenants[tenant] -= 1
        if not self.tenants[tenant]:
            del self.tenants[tenant]


class Places:
    """Every session that has a place, and the requests that wait for their session's turn."""

    def __init__(self, ttl_max_s: float) -> None:
        self._ttl_max_s = ttl_max_s
        self._classes = {priority: _Class() for priority in Priority}
        self._waiting: dict[SessionKey, dict[RequestId, None]] = {}
        self._ended_at: dict[SessionKey, float] = {}
        self._expiries: list[tuple[float, SessionKey]] = []
        self.worth_s = float("inf")
        """How long a parked token is worth its room: as long as the engine takes to read its whole
        cache of K tokens. Kept for t seconds, a token takes t / K of the engine, where room is
        short; read again, it takes 1 / K of that time.
        """

    @property
    def has_sessions(self) -> bool:
        """Whether any session has a place; if not, every request is a newcomer like another."""
        # Asked several times an event, and P0 never has one.
        return bool(self._classes[P1].sessions or self._classes[P2].sessions)

    @property
    def counts(self) -> Sequence[int]:
        """Places taken in each class."""
        return [len(of.sessions) + of.alone for of in self._classes.values()]

    def count(self, priority: Priority) -> int:
        """Places taken."""
        of = self._classes[priority]
        return len(of.sessions) + of.alone

    def view(self, priority: Priority) -> PlacesView:
        of = self._classes[priority]
        return PlacesView(of.running + of.alone, len(of.sessions) - of.running, self._ttl_s(of))

    def has_place(self, request: Request) -> bool:
        return self._of(request) is not None

    def standing(self, request: Request) -> Standing:
        """How it stands if it has not waited too long."""
        place = self._of(request)
        if place is None:
            return NEWCOMER
        return TURN if place.turn == request.id else SHARING

    def is_any_away(self, priority: Priority) -> bool:
        """Whether a session has a place of this class and runs nothing."""
        of = self._classes[priority]
        return len(of.sessions) > of.running

    def is_short(self, request: Request) -> bool:
        """Whether its tenant has no place, or two fewer than another, while a session is away whose
        place it could have: else who came first would keep all of them.
        """
        of = self._classes[request.priority]
        own = of.tenants.get(request.tenant, 0)
        if len(of.tenants) <= (own > 0) or request.job_id is not None:
            return False
        return (own == 0 or own + 1 < max(of.tenants.values())) and (
            self.is_any_away(request.priority)
        )

    # ------------------------------------------------------------------ what happens to requests

    def arrive(self, request: Request, at: float, limit: int | None) -> bool:
        """It waits now; say whether it is its session's turn.

        When the ceiling has fallen below the places taken, the youngest sessions lose theirs here.
        """
        key = _key(request)
        if key is None:
            return False
        self._learn(key, at)
        self._waiting.setdefault(key, {})[request.id] = None
        place = self._of(request)
        if place is None or place.running or place.turn is not None:
            return False
        if limit is not None and self._is_surplus(key, limit):
            self._close(key)
            return False
        place.turn = request.id
        place.until = float("inf")
        return True

    def leave_queue(self, request: Request, at: float) -> RequestId | None:
        """It waits no longer and does not run; whose turn it is now, if that changes."""
        key = _key(request)
        if key is None:
            return None
        self._forget_waiting(key, request.id)
        place = self._of(request)
        if place is None or place.turn != request.id:
            return None
        place.turn = None
        return self._park_or_pass(key, place, at)

    def start(self, request: Request, tokens: int, limit: int | None) -> RequestId | None:
        """It runs now, with a prompt of `tokens`. At the ceiling a newcomer takes the place of the
        youngest session that is away; if a call of that session waits, it is no turn any more: its
        id is the answer.
        """
        of = self._classes[request.priority]
        key = _key(request)
        place = self._of(request)
        demoted = None
        if place is None and limit is not None and self.count(request.priority) >= limit:
            demoted = self._take_over(of)
        if key is None:
            of.alone += 1
            of.gain(request.tenant)
            return demoted
        self._forget_waiting(key, request.id)
        if place is None:
            place = of.sessions[key] = _Place()
            of.gain(request.tenant)
        if place.turn == request.id:
            place.turn = None
        of.running += place.running == 0
        place.running += 1
        self._discount(of, place)
        if place.running == 1:
            place.tokens = 0
        place.running_tokens += tokens
        of.running_tokens += tokens
        place.until = float("inf")
        return demoted

    def end(self, request: Request, tokens: int, at: float) -> RequestId | None:
        """It ran and is over, with `tokens` left in the cache; whose turn it is now."""
        of = self._classes[request.priority]
        key = _key(request)
        if key is None:
            of.alone -= 1
            of.lose(request.tenant)
            return None
        place = of.sessions[key]
        place.running -= 1
        place.tokens = max(place.tokens, tokens)
        of.mean_tokens += _MEAN_GAIN * (tokens - of.mean_tokens) if of.mean_tokens else tokens
        if place.running:
            return None
        of.running_tokens -= place.running_tokens
        place.running_tokens = 0
        of.running -= 1
        self._ended_at.pop(key, None)
        self._ended_at[key] = at
        if len(self._ended_at) > REMEMBERED_MAX:
            del self._ended_at[next(iter(self._ended_at))]
        return self._park_or_pass(key, place, at)

    @property
    def parked_tokens(self) -> float:
        """The room that is kept for parked sessions: all of what they hold, or the less of it the
        longer their tools take beyond what it is worth.
        """
        return sum(self._worth(of) * of.parked_tokens for of in self._classes.values())

    def growth_tokens(self, newcomer: Request, tokens: int) -> float:
        """What the sessions that have places will still grow by, with `newcomer` among them.

        Young contexts are small. A box that counts what is there fills up with them, and when they
        have grown they push each other out; so each session counts as the mean over its life.
        """
        growth, joins = 0.0, _key(newcomer) is not None
        for priority, of in self._classes.items():
            own = joins and newcomer.priority is priority
            if not (of.sessions or own) or not of.mean_tokens:
                continue
            worth = self._worth(of)
            parked = len(of.sessions) - of.running
            grown = of.mean_tokens * (of.running + worth * parked + own)
            there = of.running_tokens + worth * of.parked_tokens + own * tokens
            growth += max(0.0, grown - there)
        return growth

    def _worth(self, of: _Class) -> float:
        return min(1.0, self.worth_s / max(of.tool_time.usual_s, 1e-3))

    def engine_lost(self) -> None:
        """The cache is gone with the engine; the sessions will come back all the same."""
        for of in self._classes.values():
            of.parked_tokens = 0
            for place in of.sessions.values():
                place.tokens, place.is_counted = 0, False

    # ------------------------------------------------------------------ time

    def expire(self, at: float) -> None:
        """Close the places of sessions that have not come back in time."""
        while self._expiries and self.next_expiry() <= at:
            self._close(heapq.heappop(self._expiries)[1])

    def next_expiry(self) -> float:
        """When the next place is closed; infinity for never."""
        while self._expiries:
            until, key = self._expiries[0]
            place = self._classes[key[0]].sessions.get(key)
            if place is not None and place.until == until:
                return until
            heapq.heappop(self._expiries)
        return math.inf

    # ------------------------------------------------------------------ helpers

    def _of(self, request: Request) -> _Place | None:
        key = _key(request)
        return None if key is None else self._classes[key[0]].sessions.get(key)

    def _ttl_s(self, of: _Class) -> float:
        return min(self._ttl_max_s, of.tool_time.patience_s)

    def _park_or_pass(self, key: SessionKey, place: _Place, at: float) -> RequestId | None:
        """Nothing of it runs: the call that waits longest is its turn; without one it is parked."""
        if not place.is_counted:
            place.is_counted = True
            self._classes[key[0]].parked_tokens += place.tokens
        waiting = self._waiting.get(key)
        if waiting:
            place.turn = next(iter(waiting))
            return place.turn
        place.until = at + self._ttl_s(self._classes[key[0]])
        heapq.heappush(self._expiries, (place.until, key))
        return None

    def _is_surplus(self, key: SessionKey, limit: int) -> bool:
        """Whether it is among the youngest, as many as there are above the ceiling."""
        surplus = self.count(key[0]) - limit
        youngest = reversed(self._classes[key[0]].sessions)
        return any(key == other for other, _ in zip(youngest, range(surplus), strict=False))

    def _take_over(self, of: _Class) -> RequestId | None:
        """Close the youngest that is away, of the tenant that has most."""
        found = None
        for key in reversed(of.sessions):
            if of.sessions[key].running:
                continue
            if found is None or of.tenants[key[1]] > of.tenants[found[1]]:
                found = key
            if len(of.tenants) == 1:
                break
        return None if found is None else self._close(found)

    def _close(self, key: SessionKey) -> RequestId | None:
        of = self._classes[key[0]]
        place = of.sessions.pop(key)
        of.lose(key[1])
        assert not place.running, f"{key} runs and keeps its place"
        self._discount(of, place)
        return place.turn

    def _discount(self, of: _Class, place: _Place) -> None:
        if place.is_counted:
            place.is_counted = False
            of.parked_tokens -= place.tokens

    def _forget_waiting(self, key: SessionKey, id: RequestId) -> None:
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.pop(id, None)
            if not waiting:
                del self._waiting[key]

    def _learn(self, key: SessionKey, at: float) -> None:
        ended_at = self._ended_at.pop(key, None)
        if ended_at is not None:
            self._classes[key[0]].tool_time.note(at - ended_at)


def _key(request: Request) -> SessionKey | None:
    """P0 needs no place, and a job's turns wait in the store."""
    if not request.session or request.priority is P0 or request.job_id is not None:
        return None
    return request.priority, request.tenant, request.session
