"""One look a second for all who watch: the snapshot is taken and encoded once, whoever reads it.

While nobody watches it looks every few seconds, so that a page that is opened has an hour to show.
A viewer that reads too slowly misses frames; it never makes anybody wait, and nothing piles up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any

from stoker.api.state import state_document
from stoker.api.wire import encode
from stoker.core.errors import NotFound, Rejected
from stoker.core.reasons import Explanation, Reason
from stoker.dashboard.feed import Feed
from stoker.fabric import Fabric, FabricSnapshot
from stoker.trends import COLUMNS, EVERY_S, Row, Trends

LOOK_EVERY_S = 1.0
VIEWERS_MAX = 100
_REPEATED_S = 12.0
"""A frame repeats what is new in so many seconds: whoever misses some frames misses nothing."""


_STATE = ("default_engine", "engines", "jobs", "jobs_held", "batches", "uptime_s")


class Live:
    """What the viewers of one fabric are shown. `run()` is its loop."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self.trends = Trends()
        self._feed = Feed(fabric.log, fabric.engine_names[0])
        self._viewers = 0
        self._wake = asyncio.Event()
        self._next = asyncio.Event()
        self._frame = b""
        self._rows_at = float("-inf")

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            self._wake.clear()
            try:
                async with asyncio.timeout(LOOK_EVERY_S if self._viewers else EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def look(self) -> None:
        """Take a snapshot, note what is due, and pass the next frame to the viewers."""
        clock, snapshot = self._fabric.clock, self._fabric.snapshot()
        now, wall = clock.monotonic(), clock.wall()
        self._feed.look(snapshot, monotonic=now, wall=wall)
        if now - self._rows_at >= EVERY_S - LOOK_EVERY_S / 2:
            self._rows_at = now
            self.trends.note(snapshot, wall)
        if not self._viewers:
            return
        items, moves = self._feed.since(wall - _REPEATED_S)
        document = {
            "at": wall,
            "state": _state(snapshot),
            "rows": _rows(self.trends.latest(3)),
            "feed": items,
            "moves": moves,
        }
        self._frame = _event("snapshot", document)
        waiting, self._next = self._next, asyncio.Event()
        waiting.set()

    async def frames(self) -> AsyncIterator[bytes]:
        """Server-sent events: the last hour first, then a snapshot each second."""
        yield self._history()
        while True:
            await self._next.wait()
            yield self._frame

    @contextmanager
    def watching(self) -> Generator[None]:
        """Be counted as a viewer while the block lasts. Raises `Rejected` if there are too many."""
        if self._viewers >= VIEWERS_MAX:
            why = Explanation(
                Reason.QUEUE_FULL, measured=self._viewers, limit=VIEWERS_MAX, note="dashboard pages"
            )
            raise Rejected(why, retry_after_s=10.0)
        self._viewers += 1
        self._wake.set()
        try:
            yield
        finally:
            self._viewers -= 1

    def _history(self) -> bytes:
        document = {
            "at": self._fabric.clock.wall(),
            "columns": COLUMNS,
            "every_s": EVERY_S,
            "rows": _rows(self.trends.rows()),
            "feed": list(self._feed.items),
            "moves": list(self._feed.moves),
            "has_memories": self._has_memories(),
        }
        return _event("history", document)

    def _has_memories(self) -> bool:
        try:
            return bool(self._fabric.memories)
        except NotFound:
            return False


def _state(snapshot: FabricSnapshot) -> dict[str, Any]:
    """As `/v1/fabric/state`, without what it repeats of the default engine."""
    document = state_document(snapshot)
    return {name: document[name] for name in _STATE}


def _rows(rows: Mapping[str, Iterable[Row]]) -> dict[str, list[tuple[float | None, ...]]]:
    """Each row as one list, its time first."""
    return {name: [(round(row.at, 1), *row.values) for row in of] for name, of in rows.items()}


def _event(name: str, document: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: ".encode() + encode(document) + b"\n\n"
