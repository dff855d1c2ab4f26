"""How long each class has gone without being served while it wanted to be.

P1 and P2 must not starve for ever, so a class that has waited past its age goes before the class
above it, once; being served starts its clock anew. P0 has no age: it is always first.
"""

from __future__ import annotations

import math

from stoker.core.policy import Policy
from stoker.core.work import P0, P1, P2, Priority

_NEVER = math.inf


class Ageing:
    def __init__(self, policy: Policy) -> None:
        self._ages = [_NEVER, policy.age_p1_s, policy.age_p2_s]
        self._wanting_since = [_NEVER, _NEVER, _NEVER]
        self._newcomer_started_at = [-_NEVER, -_NEVER, -_NEVER]

    def want(self, priority: Priority, at: float) -> None:
        """The class has work to start (waiting here, or claimable in the store)."""
        if self._wanting_since[priority] == _NEVER:
            self._wanting_since[priority] = at

    def serve(self, priority: Priority, at: float, *, wants_more: bool) -> None:
        """One of its requests has just started."""
        self._wanting_since[priority] = at if wants_more else _NEVER

    def rest(self, priority: Priority) -> None:
        """It has nothing left to start."""
        self._wanting_since[priority] = _NEVER

    def is_starved(self, priority: Priority, at: float) -> bool:
        return at - self._wanting_since[priority] >= self._ages[priority]

    def start_newcomer(self, priority: Priority, at: float) -> None:
        """A request started that was not the turn of a session with a place."""
        self._newcomer_started_at[priority] = at

    def newcomer_due_at(self, priority: Priority, since: float) -> float:
        """When one that has waited `since` then goes before the turns of sessions, once."""
        return max(since, self._newcomer_started_at[priority]) + self._ages[priority]

    def order(self, at: float) -> tuple[Priority, ...]:
        """The classes in the order in which their heads are tried."""
        if self.is_starved(P1, at):
            return (P1, P0, P2)
        if self.is_starved(P2, at):
            return (P0, P2, P1)
        return (P0, P1, P2)

    def next_change(self, at: float) -> float:
        """When the next class becomes starved; infinity for never."""
        p1_at = self._wanting_since[P1] + self._ages[P1]
        p2_at = self._wanting_since[P2] + self._ages[P2]
        return min(p1_at if p1_at > at else _NEVER, p2_at if p2_at > at else _NEVER)
