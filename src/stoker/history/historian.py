"""Keeps the history of a running service: looks now and then, and writes what it saw.

Nothing here is on anybody's way: requests are noted as they end, everything else is read from the
event log and the snapshot every two seconds. What goes wrong is said once, and serving goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial

import structlog

from stoker.assembly import Assembly
from stoker.config import Config
from stoker.core.errors import StoreError
from stoker.core.snapshot import Story
from stoker.history.background import BackgroundWatch
from stoker.history.file import HISTORY_FILE, HistoryFile
from stoker.history.happenings import Happening, Happenings
from stoker.history.sampling import Sampling
from stoker.history.slow import Slowest
from stoker.memories.service import Memories
from stoker.overview import FabricSnapshot, Overview
from stoker.ports import Clock
from stoker.runtime.recorder import EventLog
from stoker.store.faults import StoreDamaged

log = structlog.get_logger("stoker.history")

LOOK_EVERY_S = 2.0
_PENDING_MAX = 5_000
"""Happenings that could not be written yet; of more, the oldest are lost."""


class Historian:
    """`run()` is its life; what it has not written at the end is written by `finish`."""

    def __init__(
        self,
        file: HistoryFile,
        parts: Assembly,
        overview: Overview,
        log: EventLog,
        clock: Clock,
        memories: Memories | None,
    ) -> None:
        self.file = file
        self._parts = parts
        self._snapshot: Callable[[], FabricSnapshot] = overview.snapshot
        self._clock = clock
        self._sampling = Sampling()
        self._happenings = Happenings(log, parts.default.name)
        self._slowest = Slowest()
        self._background = BackgroundWatch(parts.batches, memories, self._happenings)
        self._step_s = file.kept[0].step_s
        self._period = self._period_of(clock.wall())
        self._rolled_at = float("-inf")
        self._pending: list[Happening] = []
        self._is_failing = False
        for name, one in parts.engines.items():
            one.meter.listen(partial(self._sampling.finished, name))
            one.meter.listen(partial(self._slowest.note, name))

    async def run(self) -> None:
        """Look and write until cancelled."""
        self._happenings.tell(self._clock.wall(), "started", "the service started")
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - the task's boundary: a bug here ends nobody
                self._failed(error, [])
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """One look; where a period has ended, it is written."""
        has_more = True
        while has_more:
            has_more = self._happenings.read_some(self._offset_s())
            await asyncio.sleep(0)  # a busy service has thousands: callers come in between
        self._look()
        wall = self._clock.wall()
        states = await self._background.look(wall)
        self._sampling.work(states, LOOK_EVERY_S)
        period = self._period_of(wall)
        if period != self._period:
            self._period, ended = period, self._period
            await self._write(ended, wall)

    async def finish(self) -> None:
        """The last look of this life."""
        while self._happenings.read_some(self._offset_s()):
            pass
        self._look()
        wall = self._clock.wall()
        self._happenings.tell(wall, "stopped", "the service stopped")
        await self._write(self._period, wall)

    def _look(self) -> None:
        snapshot, wall = self._snapshot(), self._clock.wall()
        self._sampling.look(snapshot)
        self._happenings.look(snapshot, wall)

    async def _write(self, period: int, wall: float) -> None:
        """What cannot be written is lost, but for happenings: those are few, and wait."""
        samples = self._sampling.take()
        happenings = [*self._pending, *self._happenings.take()]
        is_minute = wall - self._rolled_at >= 60.0
        slowest = self._slowest.take(self._story, self._offset_s()) if is_minute else []
        try:
            await self.file.write(period, samples, happenings, slowest)
            self._pending = []
            if is_minute:
                self._rolled_at = wall
                await self.file.roll(wall)
            self._is_failing = False
        except StoreDamaged as error:
            await self._begin_anew(error)
        except StoreError as error:
            self._failed(error, happenings)

    async def _begin_anew(self, error: StoreDamaged) -> None:
        try:
            await self.file.begin_anew(error)
        except (StoreError, OSError) as fault:
            self._failed(fault, [])

    def _failed(self, error: Exception, happenings: list[Happening]) -> None:
        self._pending = happenings[-_PENDING_MAX:]
        if not self._is_failing:
            log.warning("history_not_written", file=str(self.file.path), exc_info=error)
        self._is_failing = True

    def _story(self, engine: str, id: str) -> Story | None:
        return self._parts.engines[engine].story(id)

    def _offset_s(self) -> float:
        return self._clock.wall() - self._clock.monotonic()

    def _period_of(self, wall: float) -> int:
        return int(wall) // self._step_s * self._step_s


def build_history(config: Config) -> HistoryFile | None:
    """The file in the data folder, if a history is wanted."""
    wanted = config.history
    if not wanted.enabled:
        return None
    return HistoryFile(
        config.data / HISTORY_FILE, max_bytes=wanted.max_bytes, retention_s=wanted.retention_s
    )


@asynccontextmanager
async def keeping(
    file: HistoryFile | None,
    parts: Assembly,
    overview: Overview,
    events: EventLog,
    clock: Clock,
    memories: Memories | None,
) -> AsyncGenerator[HistoryFile | None]:
    """Keep the history while the block lasts; `None` where there is none, or it does not open."""
    if file is None:
        yield None
        return
    try:
        await file.open()
    except (StoreError, OSError) as error:
        log.warning("no_history", file=str(file.path), error=str(error))
        yield None
        return
    historian = Historian(file, parts, overview, events, clock, memories)
    error_inside: Exception | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            loop = tasks.create_task(historian.run(), name="history")
            try:
                yield file
            except Exception as caught:  # noqa: BLE001 - the caller's own; raised again below
                error_inside = caught
            finally:
                loop.cancel()
        await historian.finish()
    finally:
        await file.close()
    if error_inside is not None:  # as it was, not wrapped in the group's
        raise error_inside
