"""The event log: a bounded ring in RAM, live subscribers, and one file if wanted.

Recording never waits: a subscriber that is slow loses the oldest events and is told how many.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

DEFAULT_EVENTS = 10_000


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One thing that happened. `seq` has no gaps, so a reader can tell what it missed.

    A frequent event has that of the event before it: those who do not get it miss nothing.
    """

    seq: int
    kind: str
    at: float
    fields: Mapping[str, object]


class Subscription:
    """Events from now on, for one reader in the log's own event loop."""

    __slots__ = ("_events", "_kinds", "_wake", "dropped", "wants_frequent")

    def __init__(
        self, size: int, *, wants_frequent: bool = False, kinds: Collection[str] | None = None
    ) -> None:
        self.wants_frequent = wants_frequent
        self._kinds = kinds
        self._events: deque[LoggedEvent] = deque(maxlen=size)
        self._wake = asyncio.Event()
        self.dropped = 0

    def __aiter__(self) -> AsyncIterator[LoggedEvent]:
        return self

    async def __anext__(self) -> LoggedEvent:
        while not self._events:
            self._wake.clear()
            await self._wake.wait()
        return self._events.popleft()

    def take(self) -> list[LoggedEvent]:
        """Everything that has come and was not read yet, without waiting."""
        taken = list(self._events)
        self._events.clear()
        return taken

    def put(self, event: LoggedEvent) -> None:
        if self._kinds is not None and event.kind not in self._kinds:
            return
        if len(self._events) == self._events.maxlen:
            self.dropped += 1
        self._events.append(event)
        self._wake.set()


class EventLog:
    """`ports.Recorder` that remembers the last events and passes each to its subscribers."""

    def __init__(self, size: int = DEFAULT_EVENTS) -> None:
        self._events: deque[LoggedEvent] = deque(maxlen=size)
        self._subscriptions: list[Subscription] = []
        self._seq = 0

    def record(
        self, kind: str, at: float, fields: Mapping[str, object], *, is_frequent: bool = False
    ) -> None:
        """Remember and pass on; what is frequent only goes to the subscribers that want it."""
        if is_frequent:
            self._pass_on_frequent(kind, at, fields)
            return
        self._seq += 1
        event = LoggedEvent(self._seq, kind, at, fields)
        self._events.append(event)
        for subscription in self._subscriptions:
            subscription.put(event)

    @property
    def recorded(self) -> int:
        """How many events there have been, forgotten ones included."""
        return self._seq

    def recent(self, limit: int = DEFAULT_EVENTS, most: int | None = None) -> list[LoggedEvent]:
        """The last `limit` events that are still remembered, oldest first; the `most` oldest of
        them.
        """
        first = max(0, len(self._events) - limit)
        return list(islice(self._events, first, None if most is None else first + most))

    def about(self, *ids: str) -> list[LoggedEvent]:
        """The remembered events that name one of `ids` as their `id` or `job_id`."""
        wanted = frozenset(ids)
        return [
            event
            for event in self._events
            if event.fields.get("id") in wanted or event.fields.get("job_id") in wanted
        ]

    @contextmanager
    def subscribe(
        self,
        size: int = 1000,
        *,
        wants_frequent: bool = False,
        kinds: Collection[str] | None = None,
    ) -> Iterator[Subscription]:
        """Follow what is recorded, or what of it is of these `kinds`, while the block runs."""
        subscription = Subscription(size, wants_frequent=wants_frequent, kinds=kinds)
        self._subscriptions.append(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.remove(subscription)

    def _pass_on_frequent(self, kind: str, at: float, fields: Mapping[str, object]) -> None:
        for subscription in self._subscriptions:
            if subscription.wants_frequent:
                subscription.put(LoggedEvent(self._seq, kind, at, fields))
