"""What each tenant has had, and has here: counts for people, so many tenants by name.

Anybody may make up tenants, so only the first that come are told apart; nothing decides by this.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from stoker.core.ledger import Running
from stoker.core.queues import ClassQueues
from stoker.core.work import P2, Priority

SHOWN_MAX: Final = 32
OTHERS: Final = "(others)"
"""Those beyond, together."""

Place = tuple[Priority, str]


@dataclass(frozen=True, slots=True)
class TenantView:
    """One tenant in one class."""

    waiting: int
    running: int
    jobs: int
    """Its jobs in the store that could run; of P2 only."""
    served: int
    """Requests that have run and left."""
    token_iterations: float
    """What those took."""


class Tenants:
    def __init__(self) -> None:
        self._names: dict[str, None] = {}
        self._served: Counter[Place] = Counter()
        self._taken: dict[Place, float] = {}

    def meet(self, tenants: Iterable[str]) -> None:
        """They are here; the first of all get names."""
        for tenant in tenants:
            if tenant not in self._names and len(self._names) < SHOWN_MAX:
                self._names[tenant] = None

    def note(self, priority: Priority, tenant: str, token_iterations: float) -> None:
        """One of its requests has left."""
        place = priority, self._name(tenant)
        self._served[place] += 1
        self._taken[place] = self._taken.get(place, 0.0) + token_iterations

    def views(
        self, queues: ClassQueues, running: Iterable[Running], jobs: Mapping[str, int]
    ) -> dict[Place, TenantView]:
        """All that were ever served, or are here, by class and name."""
        waiting: Counter[Place] = Counter()
        for priority in Priority:
            for tenant, count in queues.counts_of(priority).items():
                waiting[priority, self._name(tenant)] += count
        runs = Counter((one.request.priority, self._name(one.request.tenant)) for one in running)
        stored: Counter[Place] = Counter()
        for tenant, count in jobs.items():
            stored[P2, self._name(tenant)] += count
        return {
            place: TenantView(
                waiting[place],
                runs[place],
                stored[place],
                self._served[place],
                self._taken.get(place, 0.0),
            )
            for place in sorted({*self._served, *waiting, *runs, *stored})
        }

    def _name(self, tenant: str) -> str:
        return tenant if tenant in self._names else OTHERS
