"""The waiting requests: one first-come queue per class, with removal from the middle.

Owns order only. Who may start is `admission.py`; when a class goes before another is the
scheduler's. A dict keeps insertion order, so ties break on arrival and nothing depends on a set.
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
    """Three first-come queues. Every operation but `position` is O(1)."""

    def __init__(self) -> None:
        self._queues: dict[Priority, dict[RequestId, Waiting]] = {p: {} for p in Priority}
        self._class_of: dict[RequestId, Priority] = {}

    def __len__(self) -> int:
        return len(self._class_of)

    def __contains__(self, id: RequestId) -> bool:
        return id in self._class_of

    def __iter__(self) -> Iterator[Waiting]:
        for queue in self._queues.values():
            yield from queue.values()

    def push(self, waiting: Waiting) -> None:
        request = waiting.request
        assert request.id not in self._class_of, f"{request.id} is waiting already"
        self._class_of[request.id] = request.priority
        self._queues[request.priority][request.id] = waiting

    def remove(self, id: RequestId) -> Waiting | None:
        priority = self._class_of.pop(id, None)
        return None if priority is None else self._queues[priority].pop(id)

    def get(self, id: RequestId) -> Waiting | None:
        priority = self._class_of.get(id)
        return None if priority is None else self._queues[priority][id]

    def head(self, priority: Priority) -> Waiting | None:
        return next(iter(self._queues[priority].values()), None)

    def count(self, priority: Priority) -> int:
        return len(self._queues[priority])

    def of_class(self, priority: Priority) -> list[Waiting]:
        return list(self._queues[priority].values())

    def position(self, id: RequestId) -> int:
        """How many of its own class are before it. O(n): for people, not for decisions."""
        queue = self._queues[self._class_of[id]]
        return next(index for index, key in enumerate(queue) if key == id)
