"""Events as JSON lines in a file that cannot grow without end, and back. Writing them is just one
more subscriber.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import structlog

from stoker.ports import Clock
from stoker.runtime.recorder import EventLog, LoggedEvent, Subscription

log = structlog.get_logger("stoker.events")

_PAUSE_S = 0.25
_SIZE = 10_000
_CLOCK_EVERY_S = 300.0
CLOCK_READ = "ClockRead"


class EventFile:
    """Appends events to `path`; at `max_bytes` it becomes `path.1`, and the one before is gone.

    `EventsLost`, with their `count`, stands where some could not be written. With `kinds` it has
    those alone and counts them itself, so that its `seq` has no gaps either. With a `clock`, a
    `ClockRead` stands at the beginning, and every few minutes: what time of day the seconds are.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = 64 * 2**20,
        is_full: bool = False,
        kinds: Collection[str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.is_full = is_full
        """Whether it has the frequent events too: then the scheduler can be replayed from it."""
        self.path = path
        self._path = path
        self._clock = clock
        self._clock_read_at = float("-inf")
        self._max_bytes = max_bytes
        self._kinds = kinds
        self._chosen = 0
        # The last write may meet one that is still under way in its thread, or never began.
        self._lock = threading.Lock()
        self._waiting: deque[LoggedEvent] = deque()
        self._lost = self._dropped = 0

    async def follow(self, events: EventLog) -> None:
        """Write what is recorded, a few times a second, until cancelled; then the rest.

        What cannot be written is lost, and said in the log once: a full disk ends no service.
        """
        with events.subscribe(
            size=_SIZE, wants_frequent=self.is_full, kinds=self._kinds
        ) as subscription:
            try:
                while True:
                    await asyncio.sleep(_PAUSE_S)
                    self._collect(subscription)
                    await asyncio.to_thread(self._write_waiting)
            finally:
                # In the loop's own thread: at shutdown there is nobody left to make wait.
                self._collect(subscription)
                self._write_waiting()

    def write(self, events: Sequence[LoggedEvent]) -> None:
        """Append `events`, turning the file over first when it is full."""
        if not events:
            return
        encoded = b"".join(msgspec.json.encode(event, enc_hook=str) + b"\n" for event in events)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists() and self._path.stat().st_size + len(encoded) > self._max_bytes:
            self._path.replace(older_file(self._path))
            self._clock_read_at = float("-inf")
        with self._path.open("ab") as file:
            file.write(self._clock_read(events[0]) + encoded)

    def _clock_read(self, before: LoggedEvent) -> bytes:
        """A line with the time of day, if one is due."""
        if self._clock is None:
            return b""
        now = self._clock.monotonic()
        if now - self._clock_read_at < _CLOCK_EVERY_S:
            return b""
        self._clock_read_at = now
        line = LoggedEvent(before.seq, CLOCK_READ, now, {"wall": self._clock.wall()})
        return msgspec.json.encode(line) + b"\n"

    def _collect(self, subscription: Subscription) -> None:
        taken = subscription.take()
        dropped, self._dropped = subscription.dropped - self._dropped, subscription.dropped
        if dropped:
            self._waiting.append(_lost(dropped, taken[0]))
        self._waiting.extend(taken if self._kinds is None else self._counted(taken))

    def _counted(self, chosen: Sequence[LoggedEvent]) -> list[LoggedEvent]:
        before, self._chosen = self._chosen, self._chosen + len(chosen)
        return [replace(event, seq=before + index) for index, event in enumerate(chosen, start=1)]

    def _write_waiting(self) -> None:
        with self._lock:
            events = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if not events:
                return
            try:
                self.write([_lost(self._lost, events[0]), *events] if self._lost else events)
            except (OSError, TypeError, ValueError) as error:
                if not self._lost:
                    log.warning("events_not_written", file=str(self._path), error=str(error))
                self._lost += len(events)
            else:
                self._lost = 0


class FileRecorder:
    """`ports.Recorder` right into a file, without a loop: `close` writes what is left."""

    def __init__(self, file: EventFile) -> None:
        self._file = file
        self._events: list[LoggedEvent] = []
        self._seq = 0

    def record(
        self, kind: str, at: float, fields: Mapping[str, object], *, is_frequent: bool = False
    ) -> None:
        self._seq += not is_frequent
        self._events.append(LoggedEvent(self._seq, kind, at, fields))
        if len(self._events) >= _SIZE:
            self.close()

    def close(self) -> None:
        self._file.write(self._events)
        self._events.clear()


@dataclass(frozen=True, slots=True)
class BrokenLine:
    """A line that is no event."""

    where: str
    is_cut: bool
    """The file ends in it, without an end of line: it was being written."""


def read_events(path: Path) -> Iterator[LoggedEvent | BrokenLine]:
    """What was written to `path`, oldest first, with the file before it. Raises `OSError`."""
    decoder = msgspec.json.Decoder(LoggedEvent)
    older = older_file(path)
    for one in (older, path) if older.exists() else (path,):
        with one.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    yield decoder.decode(line)
                except ValueError:
                    is_cut = not line.endswith(b"\n")
                    yield BrokenLine(f"line {number} of {one.name}", is_cut)


def _lost(count: int, before: LoggedEvent) -> LoggedEvent:
    return LoggedEvent(before.seq, "EventsLost", before.at, {"count": count})


def older_file(path: Path) -> Path:
    """The file before it."""
    return path.with_name(path.name + ".1")
