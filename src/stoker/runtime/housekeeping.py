"""The job table's slow duties, one short loop each: wake what is due, rescue, expire, prune.

Each duty is a function that does one round; the loop only repeats it (River's maintenance
services). A failing round is logged and tried again: none of them may end the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from stoker.core.errors import StoreError
from stoker.core.jobs import JobState
from stoker.ports import Clock, JobStore
from stoker.runtime.job_runner import JobRunner
from stoker.runtime.waiters import Waiters

log = structlog.get_logger("stoker.housekeeping")

PROMOTE_EVERY_S = 1.0
RESCUE_EVERY_S = 5.0
PRUNE_EVERY_S = 60.0
PRUNE_BATCH = 1_000


class Housekeeping:
    def __init__(
        self,
        store: JobStore,
        runners: Sequence[JobRunner],
        waiters: Waiters,
        clock: Clock,
        *,
        retention_s: float,
    ) -> None:
        self._store = store
        self._runners = runners
        self._waiters = waiters
        self._clock = clock
        self._retention_s = retention_s
        self._before_prune: list[Callable[[], Awaitable[None]]] = []
        self.counts: Mapping[JobState, int] = dict.fromkeys(JobState, 0)
        """All jobs in the store per state, about a second old at most."""

    def before_prune(self, duty: Callable[[], Awaitable[None]]) -> None:
        """Do this before finished jobs are deleted: somebody has to take their results first."""
        self._before_prune.append(duty)

    async def run(self) -> None:
        """Do all duties at their times until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for duty, every_s in (
                (self.promote, PROMOTE_EVERY_S),
                (self.rescue, RESCUE_EVERY_S),
                (self.prune, PRUNE_EVERY_S),
            ):
                tasks.create_task(self._repeat(duty, every_s), name=duty.__name__)

    async def promote(self) -> None:
        """Scheduled and retryable jobs whose time has come; then say what can be claimed."""
        now = self._clock.wall()
        await self._store.promote(now=now)
        self._waiters.wake(await self._store.expire(now=now))
        counts = await self._store.counts_by_engine()
        of_all = counts.values()
        self.counts = {state: sum(one[state] for one in of_all) for state in JobState}
        for runner in self._runners:
            await runner.ping(counts)

    async def rescue(self) -> None:
        """Jobs whose worker died: its lease has lapsed."""
        rescued = await self._store.rescue(now=self._clock.wall())
        if rescued:
            log.warning("jobs_rescued", count=rescued)

    async def prune(self) -> None:
        """Finished jobs past their retention, in bounded bites."""
        before = self._clock.wall() - self._retention_s
        for duty in self._before_prune:
            await duty()
        pruned = PRUNE_BATCH
        while pruned == PRUNE_BATCH:
            pruned = await self._store.prune(finished_before=before, limit=PRUNE_BATCH)

    async def _repeat(self, duty: Callable[[], Awaitable[None]], every_s: float) -> None:
        while True:
            try:
                await duty()
            except StoreError as error:
                log.error("housekeeping_failed", duty=duty.__name__, error=str(error))
            await asyncio.sleep(every_s)
