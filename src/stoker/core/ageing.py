"""How long each class has gone without being served while it wanted to be.

P1 and P2 must not starve for ever, so a class that has waited past its age goes before the class
above it, once; being served starts its clock anew. P0 has no age: it is always first.
"""

from __future__ import annotations

from stoker.core.policy import Policy
from stoker.core.work import P0, P1, P2, Priority


class Ageing:
    def __init__(self, policy: Policy) -> None:
        self._ages = {P1: policy.age_p1_s, P2: policy.age_p2_s}
        self._wanting_since: dict[Priority, float] = {}
        self._newcomer_started_at: dict[Priority, float] = {}

    def want(self, priority: Priority, at: float) -> None:
        """The class has work to start (waiting here, or claimable in the store)."""
        self._wanting_since.setdefault(priority, at)

    def serve(self, priority: Priority, at: float, *, wants_more: bool) -> None:
        """One of its requests has just started."""
        self._wanting_since.pop(priority, None)
        if wants_more:
            self._wanting_since[priority] = at

    def rest(self, priority: Priority) -> None:
        """It has nothing left to start."""
        self._wanting_since.pop(priority, None)

    def is_starved(self, priority: Priority, at: float) -> bool:
        age = self._ages.get(priority)
        since = self._wanting_since.get(priority)
        return age is not None and since is not None and at - since >= age

    def start_newcomer(self, priority: Priority, at: float) -> None:
        """A request started that was not the turn of a session with a place."""
        self._newcomer_started_at[priority] = at

    def newcomer_due_at(self, priority: Priority, since: float) -> float | None:
        """When one that has waited `since` then goes before the turns of sessions, once."""
        age = self._ages.get(priority)
        if age is None:
            return None
        return max(since, self._newcomer_started_at.get(priority, since)) + age

    def order(self, at: float) -> tuple[Priority, ...]:
        """The classes in the order in which their heads are tried."""
        p1, p2 = self.is_starved(P1, at), self.is_starved(P2, at)
        if p1:
            return (P1, P0, P2)
        if p2:
            return (P0, P2, P1)
        return (P0, P1, P2)

    def next_change(self, at: float) -> float | None:
        """When the next class becomes starved."""
        starved_at = [
            since + self._ages[priority]
            for priority, since in self._wanting_since.items()
            if priority in self._ages
        ]
        return min([time for time in starved_at if time > at], default=None)
