"""The events of streamed background Responses, as long as they are kept in RAM.

A run of a job writes what its engine says as it comes; whoever follows reads from any number on.
Each event has a number above all before it, also those of earlier lives of the service. A `Turn`
says where the job stands from there on: how that is put is the reader's affair.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from itertools import takewhile
from typing import NamedTuple

import msgspec

from stoker.core.work import JobId

KEPT_MAX, KEPT_MAX_BYTES = 1000, 64 * 2**20
"""Of all streams that nobody uses."""
STREAM_MAX_BYTES = 4 * 2**20
"""Of one: some 20,000 tokens. Who is further behind gets the rest at the end."""


class Turn(Enum):
    """Where the job stands from here on."""

    CREATED = "created"
    QUEUED = "queued"
    """It waits, for the first time or again: what a run before said is void."""
    BEGUN = "in_progress"
    ENDED = "ended"


class ResponseEvent(NamedTuple):
    number: int
    what: bytes | Turn
    """An event of the engine's as JSON, or a turn."""


class EventStream:
    """The events of one Response, its newest run at least."""

    def __init__(self, first: int) -> None:
        self._events: deque[ResponseEvent] = deque()
        self._next = first
        self._bytes = 0
        self._waiting = asyncio.Event()
        self.changes = 0
        """Grows with every event and wake-up."""
        self.users = 0
        self.lost = -1
        """The last number that is not kept any more."""
        self.tell(Turn.CREATED)
        self.tell(Turn.QUEUED)

    @property
    def size_bytes(self) -> int:
        """What is kept of it."""
        return self._bytes

    @property
    def is_ended(self) -> bool:
        return self._events[-1].what is Turn.ENDED

    def tell(self, what: bytes | Turn) -> None:
        """The next event."""
        self._events.append(ResponseEvent(self._next, what))
        self._next += 1
        self._bytes += _size(what)
        while self._bytes > STREAM_MAX_BYTES and len(self._events) > 1:
            gone = self._events.popleft()
            self._bytes -= _size(gone.what)
            self.lost = gone.number
        self.wake()

    def tell_frames(self, frames: bytes) -> None:
        """Whole frames from the engine. Those about the whole Response are left to the reader."""
        for line in frames.splitlines():
            data = line[5:].strip() if line.startswith(b"data:") else b""
            if data.startswith(b"{") and _TYPE.decode(data).type not in _OF_THE_WHOLE:
                self.tell(data)

    def after(self, number: int) -> list[ResponseEvent]:
        """The kept events beyond that number, oldest first."""
        # From the newest back: a reader who keeps up wants few of very many.
        found = [*takewhile(lambda event: event.number > number, reversed(self._events))]
        return found[::-1]

    def begin(self) -> None:
        """A run begins; what one before it said is void."""
        self.reopen()
        if self._events[-1].what is not Turn.QUEUED:
            self.tell(Turn.QUEUED)
        self.tell(Turn.BEGUN)

    def reopen(self) -> None:
        """It has a new life, if it was over."""
        if self.is_ended:
            self._events.clear()
            self._bytes = 0
            self.tell(Turn.CREATED)
            self.tell(Turn.QUEUED)

    def end(self) -> None:
        """It is over, which its row says as well."""
        if not self.is_ended:
            self.tell(Turn.ENDED)

    def wake(self) -> None:
        """Let everybody who waits look again."""
        self.changes += 1
        self._waiting.set()
        self._waiting = asyncio.Event()

    async def changed(self, since: int, timeout_s: float) -> None:
        """Return once `changes` is not `since`, or after `timeout_s`."""
        if self.changes != since:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._waiting.wait()
        except TimeoutError:
            return


class ResponseEvents:
    """The streams of one service, by job."""

    def __init__(self) -> None:
        self._streams: OrderedDict[JobId, EventStream] = OrderedDict()

    def open(self, id: JobId, *, age_s: float) -> EventStream:
        """The job's stream; a new one where there is none.

        `age_s`, since the job was stored, is what the numbers of a new one begin with: an earlier
        life, which told less than an event a millisecond, has not come so far.
        """
        stream = self._streams.get(id)
        if stream is None:
            stream = self._streams[id] = EventStream(first=int(1000 * max(0.0, age_s)))
        self._streams.move_to_end(id)
        return stream

    @contextmanager
    def using(self, id: JobId, *, age_s: float) -> Iterator[EventStream]:
        """The same, kept while the block runs."""
        stream = self.open(id, age_s=age_s)
        stream.users += 1
        try:
            yield stream
        finally:
            stream.users -= 1
            self._forget_some()

    @contextmanager
    def run(self, id: JobId, *, age_s: float) -> Iterator[EventStream]:
        """The stream for a run of the job that begins now."""
        with self.using(id, age_s=age_s) as stream:
            stream.begin()
            yield stream

    def wake(self, ids: Iterable[JobId]) -> None:
        """Something has become of these jobs."""
        for id in ids:
            stream = self._streams.get(id)
            if stream is not None:
                stream.wake()

    def _forget_some(self) -> None:
        unused = [(id, stream) for id, stream in self._streams.items() if not stream.users]
        kept = sum(stream.size_bytes for _, stream in unused)
        for index, (id, stream) in enumerate(unused):
            if kept <= KEPT_MAX_BYTES and len(unused) - index <= KEPT_MAX:
                return
            kept -= stream.size_bytes
            del self._streams[id]


_TURN_BYTES = 256


def _size(what: bytes | Turn) -> int:
    return _TURN_BYTES if isinstance(what, Turn) else _TURN_BYTES + len(what)


class _Typed(msgspec.Struct):
    type: str = ""


_TYPE = msgspec.json.Decoder(_Typed)
_OF_THE_WHOLE = frozenset(
    f"response.{word}"
    for word in ("created", "queued", "in_progress", "completed", "incomplete", "failed")
)
