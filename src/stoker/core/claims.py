"""How many jobs the store is thought to hold, and how many are on their way from it.

The counts of available jobs are a hint from pings; the answer to a claim corrects them. Where
several tenants want background work, the room is divided between them as `fair_share.py` says.
"""

from __future__ import annotations

from collections.abc import Mapping

from stoker.core.fair_share import FairShare
from stoker.core.queues import ClassQueues
from stoker.core.work import P2

CLAIM_BATCH_MAX = 16
"""Rows claimed at a time: enough to keep any engine fed, few enough to give back at once."""


class Claims:
    def __init__(self, fair: FairShare) -> None:
        self._fair = fair
        self.available = 0
        self.tenants: dict[str, int] = {}
        """Available jobs of each tenant that has any; empty where the store does not say."""
        self.coming = 0
        """Asked for and not arrived as requests yet."""
        self._coming_of: dict[str, int] = {}
        """The same of those tenants that were asked for by name."""

    def note_available(self, count: int, tenants: Mapping[str, int]) -> None:
        self.available = count
        for tenant in [*self.tenants]:
            if tenants.get(tenant, 0) <= 0:
                self._set(tenant, 0)
        for tenant, of_tenant in tenants.items():
            self._set(tenant, of_tenant)

    def with_more(self, more: Mapping[str, int]) -> Mapping[str, int]:
        """The tenants' jobs when so many more of some have come."""
        return self.tenants | {
            tenant: self.tenants.get(tenant, 0) + count for tenant, count in more.items()
        }

    def answered(self, asked: int, claimed: int, tenant: str | None) -> None:
        """What was claimed counts as coming until each of it arrives."""
        missing = asked - claimed
        self.coming = max(0, self.coming - missing)
        self.available -= claimed
        if tenant is None:
            if missing > 0:
                self.note_available(0, {})
            elif len(self.tenants) == 1:
                (only,) = self.tenants
                self._set(only, self.tenants[only] - claimed)
            return
        left = self.tenants.get(tenant, 0) - claimed
        self._set(tenant, 0 if missing > 0 else left)
        if missing > 0:
            self.available = max(0, self.available - max(0, left))
        self._note_came(tenant, missing)

    def arrived(self, tenant: str) -> None:
        self.coming = max(0, self.coming - 1)
        self._note_came(tenant, 1)

    def ask(self, room: int, queues: ClassQueues) -> dict[str | None, int]:
        """How many to claim now of whom, given the room and the jobs that wait here already;
        `None` stands for whoever is the oldest.
        """
        pending = queues.count(P2) + self.coming
        count = max(0, min(room - pending, self.available, CLAIM_BATCH_MAX - pending))
        if not (self.tenants and self._fair.has_rivals):
            self.coming += count
            return {None: count} if count else {}
        asked: dict[str | None, int] = {}
        left = dict(self.tenants)
        ahead = {tenant: self._cost_ahead(tenant, queues) for tenant in left}
        for _ in range(count):
            if not left:
                break
            tenant = self._fair.first(left, ahead)
            ahead[tenant] += self._fair.usual_cost(tenant)
            asked[tenant] = asked.get(tenant, 0) + 1
            self._note_asked(tenant)
            left[tenant] -= 1
            if not left[tenant]:
                del left[tenant]
        return asked

    def kept_out(self, queues: ClassQueues) -> str | None:
        """The tenant whose turn it is, if all it has are jobs in the store, while requests of
        others wait here: they would take every slot before there is room to claim.
        """
        if not (self.tenants and self._fair.has_rivals and queues.count(P2)):
            return None
        first = self._fair.first(self._fair.tenants)
        is_here = queues.count_of(P2, first) or first in self._coming_of
        return first if first in self.tenants and not is_here else None

    def ask_ahead(self, tenant: str) -> None:
        """One of its jobs is claimed before there is room, to be here when its turn comes."""
        self._note_asked(tenant)

    def _cost_ahead(self, tenant: str, queues: ClassQueues) -> float:
        """What it will be charged for jobs that are on their way, or wait here."""
        count = queues.count_of(P2, tenant) + self._coming_of.get(tenant, 0)
        return count * self._fair.usual_cost(tenant)

    def _note_asked(self, tenant: str) -> None:
        self.coming += 1
        self._coming_of[tenant] = self._coming_of.get(tenant, 0) + 1

    def _note_came(self, tenant: str, count: int) -> None:
        left = self._coming_of.pop(tenant, 0) - count
        if left > 0:
            self._coming_of[tenant] = left

    def _set(self, tenant: str, count: int) -> None:
        had = tenant in self.tenants
        if count > 0:
            self.tenants[tenant] = count
            if not had:
                self._fair.want(tenant)
        elif had:
            del self.tenants[tenant]
            self._fair.unwant(tenant)
