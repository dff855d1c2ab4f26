"""When P0 holds the box: explicit leases, P0 requests in flight, and a short linger after them;
and what holds it on another engine that shares the box.

Owns that question alone; what follows from the answer (stop admission, shed, ramp) is decided in
`admission.py` and `shedding.py`.
"""

from __future__ import annotations

import math

from stoker.core.gaps import Gaps
from stoker.core.work import LeaseId, RequestId


class P0Hold:
    """The union of all reasons to keep the box for P0."""

    def __init__(self, linger_s: float | None) -> None:
        self._linger_s = linger_s
        self._gaps = Gaps()
        self._left_at: float | None = None
        """When the last P0 request left; `None` while one is here."""
        self._leases: dict[LeaseId, float] = {}
        self._requests: dict[RequestId, None] = {}
        self.is_elsewhere = False
        """Whether P0 holds the box on another engine."""
        self.arrivals = 0
        """P0 requests that have come, since the start."""
        self._until = float("-inf")
        """The latest instant that a lease or a linger reaches, among those that have ended."""

    def grant(self, id: LeaseId, expires_at: float) -> None:
        self._leases[id] = expires_at

    def release(self, id: LeaseId, at: float) -> None:
        expires_at = self._leases.pop(id, None)
        if expires_at is not None:
            self._until = max(self._until, min(at, expires_at))

    @property
    def linger_s(self) -> float:
        """The one that was set, or the one learned."""
        return self._gaps.linger_s if self._linger_s is None else self._linger_s

    def enter(self, id: RequestId, at: float) -> None:
        """A P0 request is here, waiting or running."""
        if self._left_at is not None:
            self._gaps.note(at - self._left_at)
            self._left_at = None
        self.arrivals += 1
        self._requests[id] = None

    def leave(self, id: RequestId, at: float) -> None:
        self._requests.pop(id, None)
        if not self._requests:
            self._left_at = at
        self._until = max(self._until, at + self.linger_s)

    def expire(self, at: float) -> list[LeaseId]:
        """Drop the leases that are over and say which."""
        over = [id for id, expires_at in self._leases.items() if expires_at <= at]
        for id in over:
            self._until = max(self._until, self._leases.pop(id))
        return over

    def enter_elsewhere(self) -> None:
        """P0 is at another engine."""
        self.is_elsewhere = True

    def leave_elsewhere(self, at: float) -> None:
        """It holds no other engine any more."""
        if self.is_elsewhere:
            self.is_elsewhere = False
            self._until = max(self._until, at)

    def is_held(self, at: float) -> bool:
        # Asked several times an event.
        return at < self._until or bool(self._requests) or bool(self._leases) or self.is_elsewhere

    def is_held_here(self, at: float) -> bool:
        """Whether it would be held if this were the only engine."""
        return at < self._until or bool(self._requests) or bool(self._leases)

    @property
    def requests(self) -> int:
        """P0 requests that are here."""
        return len(self._requests)

    @property
    def has_lease(self) -> bool:
        return bool(self._leases)

    @property
    def leases(self) -> dict[LeaseId, float]:
        return dict(self._leases)

    @property
    def released_at(self) -> float:
        """Since when the box has been free of P0, while it is not held."""
        return self._until

    def next_change(self, at: float) -> float:
        """When this may change by time alone; infinity for never."""
        first = min(self._leases.values()) if self._leases else math.inf
        return self._until if at < self._until < first else first
