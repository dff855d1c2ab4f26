"""The parts that one engine needs: its scheduler, and everything that feeds, watches and steers it.

What engines share (the store, the leases, the slow duties) is `assembly.py`'s.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from stoker.config import Config, optimizer_policy
from stoker.core.jobs import RetryPolicy
from stoker.core.reasons import Explanation
from stoker.core.scheduler import Scheduler
from stoker.core.snapshot import Story
from stoker.core.views import why_background_waits
from stoker.core.work import Priority, RequestId
from stoker.ports import Clock, Engine, HostReader, JobStore, Recorder
from stoker.runtime.calls import Calls
from stoker.runtime.control_loop import ControlLoop
from stoker.runtime.dispatcher import Dispatcher
from stoker.runtime.engine_monitor import EngineMonitor
from stoker.runtime.job_runner import JobRunner
from stoker.runtime.meter import Meter
from stoker.runtime.waiters import Waiters
from stoker.runtime.warm_start import WarmStart


class EngineParts:
    """One engine and its parts, introduced to each other."""

    def __init__(
        self,
        config: Config,
        engine: Engine,
        *,
        store: JobStore,
        waiters: Waiters,
        clock: Clock,
        recorder: Recorder,
        host: HostReader | None,
        warm_start: WarmStart | None,
    ) -> None:
        self._clock = clock
        self.engine = engine
        self.meter = Meter()
        self.scheduler = Scheduler(config.policy)
        self.dispatcher = Dispatcher(self.scheduler, clock, recorder)
        self.monitor = EngineMonitor(
            engine, self.dispatcher, clock, hang_timeout_s=config.engine.hang_timeout_s, host=host
        )
        self.control = ControlLoop(
            self.dispatcher,
            clock,
            recorder,
            engine=engine,
            policy=optimizer_policy(config),
            is_enabled=config.optimizer.enabled,
            warm_start=warm_start,
        )
        self.monitor.on_coming_up(self.control.engine_coming_up)
        self.calls = Calls(engine, self.dispatcher, self.monitor, self.meter, clock)
        settings = config.jobs
        self.runner = JobRunner(
            store,
            engine,
            self.dispatcher,
            self.calls,
            waiters,
            clock,
            lease_s=settings.lease_s,
            retry=RetryPolicy(
                settings.max_attempts,
                settings.first_delay_s,
                settings.factor,
                settings.max_delay_s,
            ),
        )

    def start_loops(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Begin to watch, feed and steer it; whoever ends `tasks` cancels these first."""
        return [
            tasks.create_task(self.monitor.run(), name="engine monitor"),
            tasks.create_task(self.runner.run(), name="job runner"),
            tasks.create_task(self.control.run(), name="control loop"),
        ]

    def story(self, id: str) -> Story | None:
        """What is remembered of a request, with why it waits if it does."""
        story = self.scheduler.explain(RequestId(id), self._clock.monotonic())
        if story is None or story.explanation is None or story.request is None:
            return story
        why = self.control.explained(story.explanation, story.request.priority)
        return replace(story, explanation=why)

    def why_background_waits(self) -> Explanation:
        """Why the next job in the store is not claimed for this engine now."""
        why = why_background_waits(self.scheduler.state, self._clock.monotonic())
        return self.control.explained(why, Priority.P2)
