"""Events as JSON lines in a file that cannot grow without end. Just one more subscriber."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec

from stoker.runtime.recorder import EventLog, LoggedEvent, Subscription

_PAUSE_S = 0.25


class EventFile:
    """Appends events to `path`; at `max_bytes` it becomes `path.1`, and the one before is gone."""

    def __init__(self, path: Path, *, max_bytes: int = 64 * 2**20) -> None:
        self._path = path
        self._max_bytes = max_bytes
        # The last write may meet one that is still under way in its thread.
        self._lock = threading.Lock()

    async def follow(self, log: EventLog) -> None:
        """Write what `log` records, a few times a second, until cancelled; then the rest."""
        with log.subscribe(size=10_000) as subscription:
            try:
                while True:
                    await asyncio.sleep(_PAUSE_S)
                    await asyncio.to_thread(self.write, subscription.take())
            finally:
                self._write_rest(subscription)

    def write(self, events: Sequence[LoggedEvent]) -> None:
        """Append `events`, turning the file over first when it is full."""
        if not events:
            return
        encoded = b"".join(msgspec.json.encode(event, enc_hook=str) + b"\n" for event in events)
        with self._lock:
            self._append(encoded)

    def _append(self, encoded: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists() and self._path.stat().st_size + len(encoded) > self._max_bytes:
            self._path.replace(self._path.with_name(self._path.name + ".1"))
        with self._path.open("ab") as file:
            file.write(encoded)

    def _write_rest(self, subscription: Subscription) -> None:
        # In the loop's own thread: at shutdown there is nobody left to make wait.
        self.write(subscription.take())
