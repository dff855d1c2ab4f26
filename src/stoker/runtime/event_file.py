"""Events as JSON lines in a file that cannot grow without end, and back. Writing them is just one
more subscriber.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from stoker.runtime.recorder import EventLog, LoggedEvent

log = structlog.get_logger("stoker.events")

_PAUSE_S = 0.25


class EventFile:
    """Appends events to `path`; at `max_bytes` it becomes `path.1`, and the one before is gone."""

    def __init__(self, path: Path, *, max_bytes: int = 64 * 2**20) -> None:
        self._path = path
        self._max_bytes = max_bytes
        # The last write may meet one that is still under way in its thread, or never began.
        self._lock = threading.Lock()
        self._waiting: deque[LoggedEvent] = deque()
        self._is_failing = False

    async def follow(self, events: EventLog) -> None:
        """Write what is recorded, a few times a second, until cancelled; then the rest.

        What cannot be written is lost, and said in the log once: a full disk ends no service.
        """
        with events.subscribe(size=10_000) as subscription:
            try:
                while True:
                    await asyncio.sleep(_PAUSE_S)
                    self._waiting.extend(subscription.take())
                    await asyncio.to_thread(self._write_waiting)
            finally:
                # In the loop's own thread: at shutdown there is nobody left to make wait.
                self._waiting.extend(subscription.take())
                self._write_waiting()

    def write(self, events: Sequence[LoggedEvent]) -> None:
        """Append `events`, turning the file over first when it is full."""
        if not events:
            return
        encoded = b"".join(msgspec.json.encode(event, enc_hook=str) + b"\n" for event in events)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists() and self._path.stat().st_size + len(encoded) > self._max_bytes:
            self._path.replace(_older(self._path))
        with self._path.open("ab") as file:
            file.write(encoded)

    def _write_waiting(self) -> None:
        with self._lock:
            events = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if not events:
                return
            try:
                self.write(events)
            except (OSError, TypeError, ValueError) as error:
                if not self._is_failing:
                    log.warning("events_not_written", file=str(self._path), error=str(error))
                self._is_failing = True
            else:
                self._is_failing = False


@dataclass(frozen=True, slots=True)
class BrokenLine:
    """A line that is no event."""

    where: str
    is_cut: bool
    """The file ends in it, without an end of line: it was being written."""


def read_events(path: Path) -> Iterator[LoggedEvent | BrokenLine]:
    """What was written to `path`, oldest first, with the file before it. Raises `OSError`."""
    decoder = msgspec.json.Decoder(LoggedEvent)
    older = _older(path)
    for one in (older, path) if older.exists() else (path,):
        with one.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    yield decoder.decode(line)
                except ValueError:
                    is_cut = not line.endswith(b"\n")
                    yield BrokenLine(f"line {number} of {one.name}", is_cut)


def _older(path: Path) -> Path:
    return path.with_name(path.name + ".1")
