"""P0 leases: bounded in time and number, ended by time, by their holder, or by `async with`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import TracebackType

from stoker.core.errors import Conflict, InvalidRequest, NotFound
from stoker.core.events import LeaseGranted, LeaseReleased
from stoker.core.policy import Policy
from stoker.core.work import LeaseId
from stoker.ports import Clock
from stoker.runtime.dispatcher import Dispatcher
from stoker.runtime.ids import Ids


class Lease:
    """The box is kept for interactive work until this ends."""

    def __init__(
        self, leases: Leases, id: LeaseId, expires_at: float, clock: Clock, tenant: str
    ) -> None:
        self.id = id
        self.tenant = tenant
        """Who took it."""
        self.expires_at = expires_at
        """Monotonic seconds."""
        self._leases = leases
        self._clock = clock

    @property
    def expires_in_s(self) -> float:
        return max(0.0, self.expires_at - self._clock.monotonic())

    async def extend(self, seconds: float) -> None:
        """Let it end `seconds` from now. Raises `NotFound` when it has ended already."""
        self._leases.extend(self.id, seconds)

    async def release(self) -> None:
        """End it now; ending it twice is harmless."""
        self._leases.release(self.id)

    async def __aenter__(self) -> Lease:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.release()


class Leases:
    """All leases of one fabric. They hold the box, so every engine's scheduler is told, and decides
    what they mean; this keeps their handles."""

    def __init__(
        self, dispatchers: Sequence[Dispatcher], policy: Policy, clock: Clock, ids: Ids
    ) -> None:
        self._dispatchers = dispatchers
        self._policy = policy
        self._clock = clock
        self._ids = ids
        self._leases: dict[LeaseId, Lease] = {}

    def grant(self, seconds: float, tenant: str = "") -> Lease:
        """Raises `InvalidRequest` for a time out of bounds, `Conflict` for too many leases."""
        expires_at = self._expiry(seconds)
        if len(self.active()) >= self._policy.lease_count_max:
            raise Conflict(
                f"{self._policy.lease_count_max} P0 leases are active already "
                "(policy.lease_count_max); release one, or extend one that you hold",
                code="too_many_leases",
            )
        lease = Lease(self, self._ids.lease(), expires_at, self._clock, tenant)
        self._leases[lease.id] = lease
        self._tell(lease)
        return lease

    def extend(self, id: LeaseId, seconds: float) -> Lease:
        expires_at = self._expiry(seconds)
        lease = self._active(id)
        lease.expires_at = expires_at
        self._tell(lease)
        return lease

    def release(self, id: LeaseId) -> bool:
        """Whether it was active until now."""
        lease = self._leases.pop(id, None)
        if lease is None or lease.expires_in_s <= 0:
            return False
        lease.expires_at = self._clock.monotonic()
        for dispatcher in self._dispatchers:
            dispatcher.tell(LeaseReleased(lease.expires_at, id))
        return True

    def active(self) -> list[Lease]:
        """Those that have not ended, oldest first."""
        self._leases = {id: lease for id, lease in self._leases.items() if lease.expires_in_s > 0}
        return list(self._leases.values())

    def _active(self, id: LeaseId) -> Lease:
        lease = self._leases.get(id)
        if lease is None or lease.expires_in_s <= 0:
            raise NotFound(f"no active P0 lease {id}; it has ended, or never was")
        return lease

    def _expiry(self, seconds: float) -> float:
        limit = self._policy.lease_max_s
        if not math.isfinite(seconds) or not 0 < seconds <= limit:
            raise InvalidRequest(
                f"seconds must be above 0 and at most {limit:g} (policy.lease_max_s), "
                f"not {seconds:g}",
                param="seconds",
            )
        return self._clock.monotonic() + seconds

    def _tell(self, lease: Lease) -> None:
        at = self._clock.monotonic()
        for dispatcher in self._dispatchers:
            dispatcher.tell(LeaseGranted(at, lease.id, lease.expires_at))
