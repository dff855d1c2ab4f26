"""The waiting requests: two first-come queues per class, with removal from the middle.

Sessions whose turn it is wait apart from newcomers. Owns order only: who of the two goes first is
`order.py`, who may start is `admission.py`, when a class goes before another is the scheduler's. A
dict keeps insertion order, so ties break on arrival and nothing depends on a set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stoker.core.load import Load
from stoker.core.reasons import Reason
from stoker.core.work import Priority, Request, RequestId


@dataclass(slots=True)
class Waiting:
    """A request in its queue. `seen` is the last reason told to its story."""

    request: Request
    load: Load
    since: float
    seen: Reason | None = None
    is_leaving: bool = False
    """Sent back to the store and not gone yet."""


class ClassQueues:
    """Turns and newcomers of three classes. Every operation but `position` is O(1)."""

    def __init__(self) -> None:
        self._turns: dict[Priority, dict[RequestId, Waiting]] = {p: {} for p in Priority}
        self._newcomers: dict[Priority, dict[RequestId, Waiting]] = {p: {} for p in Priority}
        self._class_of: dict[RequestId, Priority] = {}

    def __len__(self) -> int:
        return len(self._class_of)

    def __contains__(self, id: RequestId) -> bool:
        return id in self._class_of

    def __iter__(self) -> Iterator[Waiting]:
        for priority in Priority:
            yield from self.of_class(priority)

    def push(self, waiting: Waiting, *, is_turn: bool = False) -> None:
        request = waiting.request
        assert request.id not in self._class_of, f"{request.id} is waiting already"
        self._class_of[request.id] = request.priority
        queues = self._turns if is_turn else self._newcomers
        queues[request.priority][request.id] = waiting

    def move(self, id: RequestId, *, is_turn: bool) -> None:
        """To the end of the turns, or of the newcomers."""
        waiting = self.remove(id)
        assert waiting is not None, f"{id} does not wait"
        self.push(waiting, is_turn=is_turn)

    def remove(self, id: RequestId) -> Waiting | None:
        priority = self._class_of.pop(id, None)
        if priority is None:
            return None
        turn = self._turns[priority].pop(id, None)
        return turn or self._newcomers[priority].pop(id)

    def get(self, id: RequestId) -> Waiting | None:
        priority = self._class_of.get(id)
        if priority is None:
            return None
        return self._turns[priority].get(id) or self._newcomers[priority][id]

    def first_turn(self, priority: Priority) -> Waiting | None:
        return next(iter(self._turns[priority].values()), None)

    def first_newcomer(self, priority: Priority) -> Waiting | None:
        return next(iter(self._newcomers[priority].values()), None)

    def count(self, priority: Priority) -> int:
        return len(self._turns[priority]) + len(self._newcomers[priority])

    def of_class(self, priority: Priority) -> list[Waiting]:
        return [*self._turns[priority].values(), *self._newcomers[priority].values()]

    def position(self, id: RequestId) -> int:
        """How many of its own class are before it. O(n): for people, not for decisions."""
        queue = self.of_class(self._class_of[id])
        return next(index for index, waiting in enumerate(queue) if waiting.request.id == id)
