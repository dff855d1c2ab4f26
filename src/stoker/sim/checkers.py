"""Safety and liveness of a run, looked at every second: what must never be, and what must go on.

A violation is one line with its time. The seed of such a run is a test in the making.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from stoker.core.limits import clamp
from stoker.core.work import Priority
from stoker.sim.arms.stoker import StokerArm
from stoker.sim.work import Ended, SimRequest
from stoker.sim.world import Arm, World

IDLE_MAX_S: Final = 5.0
"""How long an engine may stand idle while somebody could use it."""
P0_WAIT_MAX_S: Final = 120.0
"""How long an interactive request may go without its first token, through Stoker: twice the time
after which it is refused while it waits here."""
FLAWS_MAX: Final = 20


class Checkers:
    def __init__(self, world: World, arm: Arm) -> None:
        self._world = world
        self._arm = arm
        self._idle_since: float | None = None
        self.violations: list[str] = []

    def check(self) -> None:
        """Look now."""
        self._note(self._engine())
        self._note(self._idleness())
        if isinstance(self._arm, StokerArm):
            self._note(self._core(self._arm))

    def ended(self, request: SimRequest, notice: Ended) -> None:
        """A request must have had exactly the tokens that were left of it."""
        if notice.usage.output_tokens != request.output_tokens:
            made = notice.usage.output_tokens
            self._note([f"{request.id} ended after {made} of {request.output_tokens} tokens"])

    def close(self) -> None:
        """Look once more, at what must hold when all is counted."""
        self.check()
        self._note(self._nobody_lost())
        if isinstance(self._arm, StokerArm) and self._world.freezes:
            self._note([f"the host froze {self._world.freezes} times"])

    # ------------------------------------------------------------------ what is looked at

    def _engine(self) -> Iterator[str]:
        world = self._world
        capacity = world.capacity
        for id in world.doubled:
            yield f"{id} was sent to the engine twice"
        world.doubled.clear()
        running = world.sample().running or 0
        if running > capacity.requests:
            yield f"the engine runs {running} of at most {capacity.requests}"

    def _idleness(self) -> Iterator[str]:
        """An idle engine leaves nobody waiting, except for a reason that somebody may name."""
        world, now = self._world, self._world.kernel.now
        look = self._arm.look()
        has_demand = world.meter.p0_oldest_s > 0 or look.waiting > 0 or world.backlog is not None
        is_excused = look.is_p0_held or look.excuse is not None
        if world.running or not world.is_engine_up or not has_demand or is_excused:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since > IDLE_MAX_S:
            yield f"the engine is idle since {self._idle_since:.1f} s and somebody waits"
            self._idle_since = None

    def _core(self, arm: StokerArm) -> Iterator[str]:
        world, scheduler = self._world, arm.scheduler
        box, ledger = scheduler.state.box, scheduler.state.ledger
        if set(ledger.running) != set(world.running):
            yield "the ledger and the engine disagree about who runs"
        if len(ledger.running) > box.capacity.requests:
            yield f"{len(ledger.running)} run, {box.capacity.requests} fit"
        if clamp(box.limits, box.capacity) != box.limits:
            yield f"limits {box.limits} lie outside of {box.capacity}"
        if world.meter.p0_oldest_s > P0_WAIT_MAX_S and world.is_engine_up:
            yield f"a P0 request waits for {world.meter.p0_oldest_s:.0f} s"

    def _nobody_lost(self) -> Iterator[str]:
        world = self._world
        meter, counts = world.meter, world.meter.counts
        left = len(meter.served) + counts.p0_refused + counts.p0_gone
        if counts.p0_arrived != left + meter.p0_present:
            yield f"{counts.p0_arrived} P0 requests came, {left} left, {meter.p0_present} are here"
        if world.backlog is None:
            return
        inside = sum(
            1 for one in world.running.values() if one.priority is Priority.P2 and not one.session
        )
        known = world.totals().finished_jobs + inside + self._arm.jobs_outside()
        if world.backlog.taken != known:
            yield f"{world.backlog.taken} jobs were taken, {known} are accounted for"

    def _note(self, flaws: Iterator[str] | list[str]) -> None:
        for flaw in flaws:
            if len(self.violations) < FLAWS_MAX:
                self.violations.append(f"{self._world.kernel.now:.1f} s: {flaw}")
