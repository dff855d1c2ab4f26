"""Watches one engine: gauges, readiness, death and hanging; tells the core what it sees.

Readiness is a *measured small completion*, cached: a health endpoint proves only that a socket
answers. Real completions count as evidence too, so a busy engine is not probed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum

import structlog

from stoker.core.errors import EngineError
from stoker.core.events import (
    CapacityChanged,
    EngineDown,
    EngineSampled,
    EngineUp,
)
from stoker.core.limits import Capacity
from stoker.ports import Clock, Engine, Restartable
from stoker.runtime.dispatcher import Dispatcher

log = structlog.get_logger("stoker.engine")

SAMPLE_EVERY_S = 0.5
PROGRESS_EVERY_S = 0.25
READY_TTL_S = 15.0
"""How long one completion, probed or real, proves that the engine works."""
READY_TTL_BLIND_S = 300.0
"""The same for an engine without gauges."""
PROBE_TIMEOUT_S = 20.0
RETRY_S = 0.5
SAMPLE_TIMEOUT_S = 3.0
MOVING_S = 2.0
"""Streams that moved within this time prove that the engine lives, whatever its gauges say."""
FAILURES_TO_DOWN = 3
"""Failed samples in a row before a probe decides; a scrape may be late on a busy engine."""


class Doubt(Enum):
    """Why a small completion must now decide whether the engine is up."""

    SILENT = "it does not answer"
    HANGS = "nothing moves in it"
    UNPROVED = "its small completion fails"


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """What `/readyz` and the dashboard say about the engine."""

    name: str
    is_ready: bool
    cause: str | None
    """Why it is not ready."""
    capacity: Capacity | None
    probe_s: float | None
    """Seconds that the last small completion took."""
    proved_at: float | None
    """Monotonic time of the last completion, probed or real."""
    restarts: int


class EngineMonitor:
    """One engine's watch. `run()` is its life."""

    def __init__(
        self,
        engine: Engine,
        dispatcher: Dispatcher,
        clock: Clock,
        *,
        hang_timeout_s: float,
    ) -> None:
        self._engine = engine
        self._dispatcher = dispatcher
        self._clock = clock
        self._hang_timeout_s = hang_timeout_s
        self._is_up = False
        self._cause: str | None = "starting"
        self._capacity: Capacity | None = None
        self._probe_s: float | None = None
        self._proved_at: float | None = None
        self._progress: object = None
        self._counters: object = None
        self._progress_at = 0.0
        self._failures = 0
        self._ups = 0
        self._doubted = asyncio.Event()
        self._came_up = asyncio.Event()
        self._coming_up: Callable[[Capacity], Awaitable[None]] | None = None

    def on_coming_up(self, coming_up: Callable[[Capacity], Awaitable[None]]) -> None:
        """Who gets ready while the engine has been proved to work and nothing is sent to it yet."""
        self._coming_up = coming_up

    def status(self) -> EngineStatus:
        return EngineStatus(
            name=self._engine.traits.name,
            is_ready=self._is_up,
            cause=self._cause,
            capacity=self._capacity,
            probe_s=self._probe_s,
            proved_at=self._proved_at,
            restarts=max(0, self._ups - 1),
        )

    async def wait_ready(self) -> None:
        """Return when the engine is up."""
        await self._came_up.wait()

    def note_completed(self) -> None:
        """A real request has finished: the best proof there is."""
        self._proved_at = self._clock.monotonic()

    def doubt(self) -> None:
        """A request could not reach the engine: look now rather than at the next round."""
        self._doubted.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(), name="watch engine")
            tasks.create_task(self._report_progress(), name="report progress")

    # ------------------------------------------------------------------ the loops

    async def _watch(self) -> None:
        while True:
            if self._is_up:
                await self._round_up()
                await self._pause(SAMPLE_EVERY_S)
            else:
                await self._round_down()
                await self._pause(0.0 if self._is_up else RETRY_S)

    async def _report_progress(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_EVERY_S)
            self._dispatcher.report_progress()

    async def _pause(self, seconds: float) -> None:
        """Sleep, unless somebody doubts the engine."""
        try:
            async with asyncio.timeout(seconds):
                await self._doubted.wait()
        except TimeoutError:
            return
        self._doubted.clear()
        self._failures = FAILURES_TO_DOWN

    # ------------------------------------------------------------------ one round

    async def _round_up(self) -> None:
        """Sample it; where there is doubt, let a small completion decide."""
        if self._engine.traits.has_telemetry and not await self._sample():
            self._failures += 1
        elif self._failures < FAILURES_TO_DOWN:  # a doubt is answered by a completion only
            self._failures = 0
        doubt = self._why_doubt()
        if doubt is None:
            return
        # A busy engine may take long to reach a newcomer; only an idle one has no excuse.
        timeout_s = PROBE_TIMEOUT_S
        if not self._dispatcher.scheduler.state.ledger.is_idle:
            timeout_s = max(timeout_s, self._hang_timeout_s)
        if await self._probe(timeout_s):
            self._failures = 0
            self._progress_at = self._clock.monotonic()
            return
        await self._go_down(f"{doubt.value} ({self._cause})")
        if doubt is Doubt.HANGS and isinstance(self._engine, Restartable):
            await self._engine.restart()

    def _why_doubt(self) -> Doubt | None:
        now = self._clock.monotonic()
        is_idle = self._dispatcher.scheduler.state.ledger.is_idle
        stuck_s = self._stuck_s(now, is_idle=is_idle)
        if self._failures >= FAILURES_TO_DOWN and (is_idle or stuck_s > MOVING_S):
            return Doubt.SILENT
        if stuck_s > self._hang_timeout_s:
            return Doubt.HANGS
        # An engine without gauges may be somebody's paid API: it is not asked often for nothing.
        ttl_s = READY_TTL_S if self._engine.traits.has_telemetry else READY_TTL_BLIND_S
        if is_idle and now - (self._proved_at or float("-inf")) > ttl_s:
            return Doubt.UNPROVED
        return None

    def _stuck_s(self, now: float, *, is_idle: bool) -> float:
        """For how long requests run and neither they nor the engine's counters have moved."""
        progress = (self._dispatcher.progress_mark(), self._counters)
        if progress != self._progress or is_idle:
            self._progress, self._progress_at = progress, now
        return now - self._progress_at

    async def _round_down(self) -> None:
        """Try to bring it up: a completion, then its limits."""
        before = self._cause
        if not await self._probe(PROBE_TIMEOUT_S):
            if self._cause != before:  # those who wait are told the newest cause
                cause = self._cause or "its small completion fails"
                self._dispatcher.tell(EngineDown(self._clock.monotonic(), cause))
            return
        try:
            self._capacity = await self._engine.capacity()
        except EngineError as error:
            self._cause = str(error)
            return
        self._dispatcher.tell(CapacityChanged(self._clock.monotonic(), self._capacity))
        if self._coming_up is not None:
            await self._coming_up(self._capacity)
        self._is_up, self._cause, self._failures = True, None, 0
        self._ups += 1
        now = self._progress_at = self._clock.monotonic()
        self._dispatcher.tell(EngineUp(now, self._engine.traits.abort_grace_s))
        self._came_up.set()
        log.info("engine_up", engine=self._engine.traits.name, capacity=self._capacity)

    async def _go_down(self, cause: str) -> None:
        self._is_up, self._cause, self._proved_at = False, cause, None
        self._came_up.clear()
        log.error("engine_down", engine=self._engine.traits.name, cause=cause)
        self._dispatcher.tell(EngineDown(self._clock.monotonic(), cause))

    async def _sample(self) -> bool:
        try:
            async with asyncio.timeout(SAMPLE_TIMEOUT_S):
                sample = await self._engine.sample()
        except (EngineError, TimeoutError) as error:
            self._cause = str(error) or f"no gauges within {SAMPLE_TIMEOUT_S:g} s"
            return False
        self._counters = (sample.prompt_tokens_total, sample.output_tokens_total)
        self._dispatcher.tell(EngineSampled(self._clock.monotonic(), sample))
        return True

    async def _probe(self, timeout_s: float) -> bool:
        try:
            self._probe_s = await self._engine.probe(timeout_s)
        except EngineError as error:
            self._cause = str(error)
            return False
        self._proved_at = self._clock.monotonic()
        if self._is_up:
            self._cause = None
        return True
