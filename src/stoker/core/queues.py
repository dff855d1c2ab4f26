"""The waiting requests: per class and tenant two first-come queues, with removal from the middle.

Sessions whose turn it is wait apart from newcomers. Owns order only: which tenant goes first is
`fair_share.py`, who of the two goes first is `order.py`, who may start is `admission.py`, when a
class goes before another is the scheduler's. A dict keeps insertion order, so ties break on arrival
and nothing depends on a set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stoker.core.fair_share import FairShares
from stoker.core.load import Load
from stoker.core.reasons import Explanation, Reason
from stoker.core.work import Priority, Request, RequestId


@dataclass(slots=True)
class Waiting:
    """A request in its queue."""

    request: Request
    load: Load
    since: float
    told: Explanation | None = None
    """Why it waits, as last told to its story; the numbers are those of then."""
    is_leaving: bool = False
    """Sent back to the store and not gone yet."""

    @property
    def seen(self) -> Reason | None:
        """The reason that was last told."""
        return None if self.told is None else self.told.reason


_Line = dict[str, dict[RequestId, Waiting]]
"""Those who wait of each tenant; a tenant of whom nobody waits is not in it."""


class ClassQueues:
    """Turns and newcomers of three classes. Every operation but `position` is O(1), and with
    several tenants in a class, finding the first of them is linear in their number.
    """

    def __init__(self, fair: FairShares | None = None) -> None:
        self._fair = fair or FairShares({})
        self._turns: list[_Line] = [{} for _ in Priority]
        self._newcomers: list[_Line] = [{} for _ in Priority]
        self._request_of: dict[RequestId, Request] = {}
        self._counts = [0, 0, 0]

    def __len__(self) -> int:
        return len(self._request_of)

    def __contains__(self, id: RequestId) -> bool:
        return id in self._request_of

    def __iter__(self) -> Iterator[Waiting]:
        for priority in Priority:
            yield from self.of_class(priority)

    def push(self, waiting: Waiting, *, is_turn: bool = False) -> None:
        request = waiting.request
        assert request.id not in self._request_of, f"{request.id} is waiting already"
        self._request_of[request.id] = request
        self._counts[request.priority] += 1
        line = (self._turns if is_turn else self._newcomers)[request.priority]
        queue = line.get(request.tenant)
        if queue is None:
            queue = line[request.tenant] = {}
        queue[request.id] = waiting
        self._fair.of(request.priority).want(request.tenant)

    def move(self, id: RequestId, *, is_turn: bool) -> None:
        """To the end of the turns, or of the newcomers, of its tenant."""
        request = self._request_of[id]
        fair = self._fair.of(request.priority)
        fair.want(request.tenant)  # or a tenant with one request would lose its place in the ring
        waiting = self.remove(id)
        assert waiting is not None
        self.push(waiting, is_turn=is_turn)
        fair.unwant(request.tenant)

    def remove(self, id: RequestId) -> Waiting | None:
        request = self._request_of.pop(id, None)
        if request is None:
            return None
        priority, tenant = request.priority, request.tenant
        self._counts[priority] -= 1
        self._fair.of(priority).unwant(tenant)
        line = self._turns[priority]
        if id not in line.get(tenant, ()):
            line = self._newcomers[priority]
        waiting = line[tenant].pop(id)
        if not line[tenant]:
            del line[tenant]
        return waiting

    def get(self, id: RequestId) -> Waiting | None:
        request = self._request_of.get(id)
        if request is None:
            return None
        turns = self._turns[request.priority].get(request.tenant, {})
        return turns.get(id) or self._newcomers[request.priority][request.tenant][id]

    def first_turn(self, priority: Priority) -> Waiting | None:
        line = self._turns[priority]
        return self._first(line, priority) if line else None

    def first_newcomer(self, priority: Priority) -> Waiting | None:
        line = self._newcomers[priority]
        return self._first(line, priority) if line else None

    def _first(self, line: _Line, priority: Priority) -> Waiting:
        tenant = next(iter(line)) if len(line) == 1 else self._fair.of(priority).first(line)
        return next(iter(line[tenant].values()))

    def count(self, priority: Priority) -> int:
        return self._counts[priority]

    def count_of(self, priority: Priority, tenant: str) -> int:
        """How many of one tenant wait."""
        lines = (self._turns[priority], self._newcomers[priority])
        return sum(len(line.get(tenant, ())) for line in lines)

    def counts_of(self, priority: Priority) -> dict[str, int]:
        """The same of each tenant of whom any wait."""
        tenants = {**self._turns[priority], **self._newcomers[priority]}
        return {tenant: self.count_of(priority, tenant) for tenant in tenants}

    def of_class(self, priority: Priority) -> list[Waiting]:
        lines = (self._turns[priority], self._newcomers[priority])
        return [one for line in lines for queue in line.values() for one in queue.values()]

    def position(self, id: RequestId) -> int:
        """How many of its own class and tenant are before it. O(n): for people, not for decisions;
        what other tenants have before it changes with every turn.
        """
        request = self._request_of[id]
        lines = (self._turns[request.priority], self._newcomers[request.priority])
        ids = [other for line in lines for other in line.get(request.tenant, ())]
        return ids.index(id)
