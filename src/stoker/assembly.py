"""Every part of one running service: built from the configuration, introduced to each other, and
kept running. What callers do with them is `fabric.py`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import structlog

from stoker.batches.service import Batches
from stoker.config import Config
from stoker.core.errors import EngineInterrupted
from stoker.core.events import DrainRequested
from stoker.core.work import JobId
from stoker.engine_parts import EngineParts, EngineSetup
from stoker.ports import Clock, HostReader, Job, JobStore
from stoker.runtime.engine_log import LogOfEngine
from stoker.runtime.host import Host
from stoker.runtime.housekeeping import Housekeeping
from stoker.runtime.ids import Ids
from stoker.runtime.leases import Leases
from stoker.runtime.loop_lag import LoopLag
from stoker.runtime.model_router import Destination, ModelRouter
from stoker.runtime.one_box import OneBox
from stoker.runtime.recorder import EventLog
from stoker.runtime.response_events import ResponseEvents
from stoker.runtime.submitting import Submitter
from stoker.runtime.waiters import Waiters
from stoker.runtime.warm_start import WarmStart

log = structlog.get_logger("stoker.engine")


class Assembly:
    """The parts of one service, and their loops while `running`."""

    def __init__(
        self,
        config: Config,
        setups: Mapping[str, EngineSetup],
        *,
        store: JobStore,
        clock: Clock,
        log: EventLog,
        host: HostReader | None = None,
        warm_start: WarmStart | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._store = store
        self._host = host or Host(*(setup.engine for setup in setups.values()))
        self.ids = Ids(clock)
        self.loop_lag = LoopLag()
        self.waiters = Waiters(store, clock)
        self.response_events = ResponseEvents()
        self.waiters.on_change(self.response_events.wake)
        self.engines = {
            name: EngineParts(
                config,
                setup,
                name=name,
                store=store,
                waiters=self.waiters,
                clock=clock,
                log=log if len(setups) == 1 else LogOfEngine(name, log),
                warm_start=warm_start,
            )
            for name, setup in setups.items()
        }
        """By name; the default one first."""
        parts = list(self.engines.values())
        self.default = parts[0]
        self.router = self._router()
        dispatchers = [one.dispatcher for one in parts]
        self._box = OneBox(dispatchers, clock, is_p0_shared=config.policy.p0_across_engines)
        self.leases = Leases(dispatchers, config.policy, clock, self.ids)
        runners = {name: one.runner for name, one in self.engines.items()}
        for runner in runners.values():
            runner.tell(self.response_events)
        settings = config.jobs
        self.submitter = Submitter(
            store,
            runners,
            self.router,
            clock,
            self.ids,
            max_attempts=settings.max_attempts,
            default_deadline_s=settings.default_deadline_s,
        )
        self.housekeeping = Housekeeping(
            store, [*runners.values()], self.waiters, clock, retention_s=settings.retention_s
        )
        self.batches = Batches(
            config,
            store,
            self.submitter,
            self.waiters,
            clock=clock,
            ids=self.ids,
            cancel_job=self.cancel,
        )

    def _router(self) -> ModelRouter:
        router = ModelRouter(
            {name: Destination(one.served, one.aliases) for name, one in self.engines.items()},
            self._clock,
        )
        for name, one in self.engines.items():
            one.on_models(router.refresh)
            # What was enqueued for no engine by name is the default one's.
            names = ("", name) if one is self.default else (name,)
            one.runner.claim_for(names, partial(router.renamed, name))
        return router

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Run every loop while the block lasts; then drain and end them."""
        error: Exception | None = None
        await self._report_jobs_without_engine()
        async with asyncio.TaskGroup() as tasks:
            loops = [loop for one in self.engines.values() for loop in await one.start_loops(tasks)]
            loops += [
                tasks.create_task(
                    self._box.watch_host(self._host, self.loop_lag), name="watch host"
                ),
                tasks.create_task(self.housekeeping.run(), name="housekeeping"),
                tasks.create_task(self.batches.run(), name="batches"),
            ]
            try:
                yield
            except Exception as caught:  # noqa: BLE001 - the caller's own; raised again below
                error = caught
            finally:
                await self.drain()
                for loop in loops:
                    loop.cancel()
                for one in self.engines.values():
                    one.dispatcher.close()
        if error is not None:  # as it was, not wrapped in the group's
            raise error

    async def drain(self, timeout_s: float | None = None) -> None:
        """Take nobody new, give background work back to the store, let the others finish.

        Those that have not finished after `timeout_s` (server.drain_timeout_s) are broken off.
        """
        dispatchers = [one.dispatcher for one in self.engines.values()]
        for dispatcher in dispatchers:
            dispatcher.tell(DrainRequested(self._clock.monotonic()))
        limit_s = self._config.server.drain_timeout_s if timeout_s is None else timeout_s
        await asyncio.gather(*(dispatcher.wait_empty(limit_s) for dispatcher in dispatchers))
        for dispatcher in dispatchers:
            dispatcher.interrupt_all(EngineInterrupted("the service is shutting down"))

    def engine_of(self, job: Job) -> EngineParts | None:
        """The parts of the engine that a job is for; `None` where it is not configured any more."""
        return self.engines.get(job.engine) if job.engine else self.default

    async def cancel(self, job_id: JobId) -> Job:
        """Cancel a job, wherever it is. Raises `NotFound`, or `Conflict` when it is over."""
        runners = [one.runner for one in self.engines.values()]
        holder = next((one for one in runners if one.holds(job_id)), runners[0])
        return await holder.cancel(job_id)

    async def _report_jobs_without_engine(self) -> None:
        """Nothing claims them until their engine is back in the configuration: say so."""
        for name, counts in (await self._store.counts_by_engine()).items():
            waiting = sum(count for state, count in counts.items() if not state.is_final)
            if waiting and name and name not in self.engines:
                log.warning("jobs_without_engine", engine=name, jobs=waiting)


@asynccontextmanager
async def started(setups: Mapping[str, EngineSetup]) -> AsyncGenerator[None]:
    """Every engine, started one after the other and stopped in the end, whatever happens."""
    async with AsyncExitStack() as stack:
        for setup in setups.values():
            await setup.engine.start()
            stack.push_async_callback(setup.engine.stop)
        yield
