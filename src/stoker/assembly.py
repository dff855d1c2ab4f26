"""Every part of one running service: built from the configuration, introduced to each other, and
kept running. What callers do with them is `fabric.py`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from stoker.batches.service import Batches
from stoker.config import Config
from stoker.core.errors import EngineInterrupted
from stoker.core.events import DrainRequested
from stoker.engine_parts import EngineParts
from stoker.ports import Clock, Engine, HostReader, JobStore
from stoker.runtime.event_codec import beginning
from stoker.runtime.event_file import EventFile
from stoker.runtime.housekeeping import Housekeeping
from stoker.runtime.ids import Ids
from stoker.runtime.leases import Leases
from stoker.runtime.recorder import EventLog
from stoker.runtime.submitting import Submitter
from stoker.runtime.waiters import Waiters
from stoker.runtime.warm_start import WarmStart


class Assembly:
    """The parts of one service, and their loops while `running`."""

    def __init__(
        self,
        config: Config,
        *,
        engine: Engine,
        store: JobStore,
        clock: Clock,
        log: EventLog,
        host: HostReader | None = None,
        warm_start: WarmStart | None = None,
        event_files: Sequence[EventFile] = (),
    ) -> None:
        self._config = config
        self._clock = clock
        self._log = log
        self._event_files = event_files
        self.ids = Ids(clock)
        self.waiters = Waiters(store, clock)
        self.engine = EngineParts(
            config,
            engine,
            store=store,
            waiters=self.waiters,
            clock=clock,
            recorder=log,
            host=host,
            warm_start=warm_start,
        )
        self.leases = Leases(self.engine.dispatcher, config.policy, clock, self.ids)
        settings = config.jobs
        self.submitter = Submitter(
            store,
            self.engine.runner,
            clock,
            self.ids,
            max_attempts=settings.max_attempts,
            default_deadline_s=settings.default_deadline_s,
        )
        self.housekeeping = Housekeeping(
            store, self.engine.runner, self.waiters, clock, retention_s=settings.retention_s
        )
        self.batches = Batches(
            config,
            store,
            self.submitter,
            self.waiters,
            clock=clock,
            ids=self.ids,
            cancel_job=self.engine.runner.cancel,
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Run every loop while the block lasts; then drain and end them."""
        error: Exception | None = None
        async with asyncio.TaskGroup() as tasks:
            loops = await self._begin_recording(tasks)
            loops += self.engine.start_loops(tasks)
            loops.append(tasks.create_task(self.housekeeping.run(), name="housekeeping"))
            loops.append(tasks.create_task(self.batches.run(), name="batches"))
            try:
                yield
            except Exception as caught:  # noqa: BLE001 - the caller's own; raised again below
                error = caught
            finally:
                await self.drain()
                for loop in loops:
                    loop.cancel()
                self.engine.dispatcher.close()
        if error is not None:  # as it was, not wrapped in the group's
            raise error

    async def _begin_recording(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        writing = [
            tasks.create_task(file.follow(self._log), name="event file")
            for file in self._event_files
        ]
        await asyncio.sleep(0)  # they follow from here on: a replay needs the very first event
        if any(file.is_full for file in self._event_files):
            began = beginning(self._config.policy, self.engine.scheduler.state.box.capacity)
            self._log.record("SchedulerBegan", self._clock.monotonic(), began)
        return writing

    async def drain(self, timeout_s: float | None = None) -> None:
        """Take nobody new, give background work back to the store, let the others finish.

        Those that have not finished after `timeout_s` (server.drain_timeout_s) are broken off.
        """
        dispatcher = self.engine.dispatcher
        dispatcher.tell(DrainRequested(self._clock.monotonic()))
        limit_s = self._config.server.drain_timeout_s if timeout_s is None else timeout_s
        await dispatcher.wait_empty(limit_s)
        dispatcher.interrupt_all(EngineInterrupted("the service is shutting down"))
