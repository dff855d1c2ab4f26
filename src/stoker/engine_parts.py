"""The parts that one engine needs: its scheduler, and everything that feeds, watches and steers it.

What engines share (the store, the leases, the slow duties) is `assembly.py`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from stoker.config import Config, optimizer_policy
from stoker.core.jobs import RetryPolicy
from stoker.core.limits import Capacity
from stoker.core.policy import Policy
from stoker.core.reasons import Explanation
from stoker.core.scheduler import Scheduler
from stoker.core.snapshot import Story
from stoker.core.story import Entry
from stoker.core.views import why_background_waits
from stoker.core.work import Priority, RequestId
from stoker.engine_config import EngineConfig
from stoker.memories.ports import TENANT
from stoker.ports import Clock, Engine, JobStore
from stoker.runtime.calls import Calls, Sender
from stoker.runtime.control_loop import ControlLoop
from stoker.runtime.dispatcher import Dispatcher
from stoker.runtime.engine_monitor import EngineMonitor
from stoker.runtime.event_codec import beginning
from stoker.runtime.event_file import EventFile
from stoker.runtime.job_runner import JobRunner
from stoker.runtime.meter import Meter
from stoker.runtime.past import past_entries
from stoker.runtime.recorder import EventLog
from stoker.runtime.served_models import ServedModels
from stoker.runtime.waiters import Waiters
from stoker.runtime.warm_start import WarmStart


def scheduling_policy(config: Config) -> Policy:
    """The policy, with the memory server's own share of background work."""
    shares = {TENANT: config.memories.share, **config.policy.tenant_shares}
    return replace(config.policy, tenant_shares=shares)


@dataclass(frozen=True, slots=True)
class EngineSetup:
    """One engine as it is brought in: what it is, what was set about it, where its events go."""

    engine: Engine
    settings: EngineConfig = field(default_factory=EngineConfig)
    event_files: Sequence[EventFile] = ()
    events_path: Path | None = None
    """Where this and earlier lives have written their events, if anywhere."""
    calls: Sender | None = None
    """Through what it is called, if not straight."""


class EngineParts:
    """One engine and its parts, introduced to each other. Nothing here knows of other engines."""

    def __init__(
        self,
        config: Config,
        setup: EngineSetup,
        *,
        name: str,
        store: JobStore,
        waiters: Waiters,
        clock: Clock,
        log: EventLog,
        warm_start: WarmStart | None,
    ) -> None:
        engine = setup.engine
        self._config = config
        self._clock = clock
        self._event_files = setup.event_files
        self._events_path = setup.events_path
        self._models_learned: Callable[[], None] | None = None
        self.name = name
        self.engine = engine
        self.aliases = setup.settings.models
        self.log = log
        """Its scheduler's facts and orders, and nothing of other engines: so it can be replayed."""
        self.meter = Meter()
        self.served = ServedModels(engine, preferred=setup.settings.model)
        self.scheduler = Scheduler(scheduling_policy(config))
        self.dispatcher = Dispatcher(self.scheduler, clock, log)
        self.monitor = EngineMonitor(
            engine, self.dispatcher, clock, hang_timeout_s=setup.settings.hang_timeout_s
        )
        self.monitor.on_coming_up(self._coming_up)
        self.control = ControlLoop(
            self.dispatcher,
            clock,
            log,
            engine=engine,
            policy=optimizer_policy(config),
            is_enabled=config.optimizer.enabled,
            warm_start=warm_start,
        )
        called = setup.calls or engine
        self.calls = Calls(
            called, self.dispatcher, self.monitor, self.meter, clock, served=self.served
        )
        self.runner = self._job_runner(store, waiters)

    def on_models(self, learned: Callable[[], None]) -> None:
        """Who is told when its list of models has been read again."""
        self._models_learned = learned

    async def start_loops(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Begin to record, watch, feed and steer it; whoever ends `tasks` cancels these first."""
        loops = [
            tasks.create_task(file.follow(self.log), name="event file")
            for file in self._event_files
        ]
        await asyncio.sleep(0)  # they follow from here on: a replay needs the very first event
        if any(file.is_full for file in self._event_files):
            began = beginning(scheduling_policy(self._config), self.scheduler.state.box.capacity)
            self.log.record("SchedulerBegan", self._clock.monotonic(), began)
        return [
            *loops,
            tasks.create_task(self.monitor.run(), name="engine monitor"),
            tasks.create_task(self.runner.run(), name="job runner"),
            tasks.create_task(self.control.run(), name="control loop"),
        ]

    def story(self, id: str) -> Story | None:
        """What is remembered of a request, with why it waits if it does."""
        story = self.scheduler.explain(RequestId(id), self._clock.monotonic())
        if story is None:
            return None
        story = replace(story, engine=self.name)
        if story.explanation is None or story.request is None:
            return story
        why = self.control.explained(story.explanation, story.request.priority)
        return replace(story, explanation=why)

    async def past(self, id: str) -> list[Entry]:
        """What the event log in the data folder still has of a request, oldest first, with the
        times of this process's clock; earlier ones are below zero, maybe.
        """
        if self._events_path is None:
            return []
        offset_s = self._clock.wall() - self._clock.monotonic()
        found = await asyncio.to_thread(past_entries, self._events_path, id)
        return [entry._replace(at=entry.at - offset_s) for entry in found]

    def why_background_waits(self) -> Explanation:
        """Why the next job in the store is not claimed for this engine now."""
        why = why_background_waits(self.scheduler.state, self._clock.monotonic())
        return self.control.explained(why, Priority.P2)

    async def _coming_up(self, capacity: Capacity) -> None:
        await self.served.learn()
        if self._models_learned is not None:
            self._models_learned()
        await self.control.engine_coming_up(capacity)

    def _job_runner(self, store: JobStore, waiters: Waiters) -> JobRunner:
        settings = self._config.jobs
        return JobRunner(
            store,
            self.engine,
            self.dispatcher,
            self.calls,
            waiters,
            self._clock,
            lease_s=settings.lease_s,
            retry=RetryPolicy(
                settings.max_attempts,
                settings.first_delay_s,
                settings.factor,
                settings.max_delay_s,
            ),
        )
