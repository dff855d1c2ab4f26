"""The control loop: every three seconds it closes a window, steps the optimizer on it, and tells
the scheduler the new ceilings.

Owns when the optimizer is stepped, what is recorded of it and when it is saved; how a ceiling moves
is the core's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import structlog

from stoker.core.climb import ClimbReason
from stoker.core.events import LimitsChanged
from stoker.core.limits import Capacity, Limits
from stoker.core.optimizer import STEP_EVERY_S, Learned, Optimizer, OptimizerPolicy, Step
from stoker.core.reasons import Explanation, Reason
from stoker.core.window import Window
from stoker.core.work import Priority
from stoker.ports import Clock, Engine, Recorder
from stoker.runtime.dispatcher import Dispatcher
from stoker.runtime.optimizer_record import plain, step_document
from stoker.runtime.warm_start import EngineIdentity, Known, WarmStart, identify

log = structlog.get_logger("stoker.optimizer")

SAVE_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class OptimizerView:
    """What the dashboard and the metrics show of the optimizer."""

    is_enabled: bool
    step: Step | None
    """The last one; `None` before the first, and while it is switched off."""
    steps: Mapping[tuple[Priority, ClimbReason], int]
    """How many steps there have been, by class and reason."""
    is_warm: bool
    """Whether it began with what an earlier life had learned about this engine."""
    failures: int
    """Steps that ended in an error of ours; each starts the learning anew."""


class ControlLoop:
    """One optimizer's life beside one dispatcher. `run()` is its loop."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        clock: Clock,
        recorder: Recorder,
        *,
        engine: Engine,
        policy: OptimizerPolicy,
        is_enabled: bool,
        warm_start: WarmStart | None = None,
    ) -> None:
        self._dispatcher = dispatcher
        self._engine = engine
        self._warm_start = warm_start
        self._identity: EngineIdentity | None = None
        self._known: Known | None = None
        self._clock = clock
        self._recorder = recorder
        self._policy = policy
        self._is_enabled = is_enabled
        self._optimizer: Optimizer | None = None
        """None until the engine has said what it holds: a ceiling is clamped to that."""
        self._last: Step | None = None
        self._steps: Counter[tuple[Priority, ClimbReason]] = Counter()
        self._failures = 0

    async def run(self) -> None:
        """Step until cancelled, and save what was learned now and then, and at last."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_stepping(), name="step the optimizer")
                tasks.create_task(self._keep_saving(), name="save what was learned")
        finally:
            self._save(self._learned())

    async def engine_coming_up(self, capacity: Capacity) -> None:
        """The engine works and has said what it holds; nothing runs in it yet.

        After an outage it is mostly the same one. What was learned about another one says nothing.
        """
        identity = await identify(self._engine, capacity)
        if self._identity is not None and self._identity.is_like(identity):
            return
        state = self._dispatcher.scheduler.state
        if self._identity is not None:
            self._save(self._learned())
            state.service.forget()
            state.predictor.forget()
            self._recorder.record("ServiceForgotten", self._clock.monotonic(), {})
        self._identity = identity
        self._known = None if self._warm_start is None else self._warm_start.find(identity)
        if self._known is not None:
            now, known = self._clock.monotonic(), self._known
            state.service.restore(known.service, now)
            state.predictor.restore(known.lengths)
            fields = {"service": known.service, "lengths": known.lengths}
            self._recorder.record("ServiceRestored", now, fields)
            log.info("warm_start", engine=identity.kind, model=identity.model)
        if self._is_enabled:
            # At once: nobody is to flood it in the time before the first tick.
            self._step(self._begin(() if self._known is None else self._known.climbers))

    async def _keep_stepping(self) -> None:
        while True:
            await asyncio.sleep(STEP_EVERY_S)
            if self._optimizer is not None:
                self._step(self._optimizer)
            else:  # nobody asks, and what a window gathers would grow for as long as we live
                self._dispatcher.scheduler.close_window(self._clock.monotonic())

    async def _keep_saving(self) -> None:
        while True:
            await asyncio.sleep(SAVE_EVERY_S)
            await asyncio.to_thread(self._save, self._learned())

    def _save(self, known: Known | None) -> None:
        if known is not None and self._warm_start is not None:
            self._warm_start.save(known)

    def _learned(self) -> Known | None:
        """Everything worth keeping; `None` before the engine was up."""
        if self._identity is None:
            return None
        if self._optimizer is not None:
            climbers = self._optimizer.learned()
        else:  # switched off: what an earlier life had learned stays
            climbers = () if self._known is None else self._known.climbers
        state = self._dispatcher.scheduler.state
        service = {name: tuple(values) for name, values in state.service.state().items()}
        lengths = tuple((key, tuple(numbers)) for key, numbers in state.predictor.state())
        return Known(self._identity, climbers, service, lengths)

    def _step(self, optimizer: Optimizer) -> None:
        """One tick: what has happened since the last one becomes new ceilings.

        An optimizer that fails is a bug, and must not end the service: its ceilings are lifted, so
        that the guards alone bind, and the next tick begins to learn anew.
        """
        window = self._dispatcher.scheduler.close_window(self._clock.monotonic())
        try:
            step = optimizer.step(window)
        except Exception as error:
            log.error("optimizer_failed", exc_info=error)
            self._fail(window, error)
            return
        self._last = step
        for priority, climb in step.climbs.items():
            self._steps[priority, climb.reason] += 1
        # Before it is told: a replay closes its own window where this one was closed.
        fields = {"window": plain(window), "step": step_document(step)}
        self._recorder.record("OptimizerStepped", step.at, fields)
        self._dispatcher.tell(LimitsChanged(step.at, step.limits))

    def view(self) -> OptimizerView:
        return OptimizerView(
            self._is_enabled,
            self._last,
            dict(self._steps),
            is_warm=self._known is not None,
            failures=self._failures,
        )

    def explained(self, why: Explanation, priority: Priority) -> Explanation:
        """Whoever waits for a learned ceiling is told too why that is where it is."""
        climb = None if self._last is None else self._last.climbs.get(priority)
        if why.reason is not Reason.LIMIT or climb is None:
            return why
        return replace(why, note=f"its last step said {climb.reason.value}")

    def _begin(self, known: tuple[Learned, ...]) -> Optimizer:
        """A new optimizer; a replay must know what it begins with."""
        self._optimizer = Optimizer(self._policy, known=known)
        fields = {"policy": plain(self._policy), "known": plain(known)}
        self._recorder.record("OptimizerBegan", self._clock.monotonic(), fields)
        return self._optimizer

    def _fail(self, window: Window, error: Exception) -> None:
        self._failures += 1
        self._last = None
        fields = {"window": plain(window), "error": repr(error)}
        self._recorder.record("OptimizerFailed", window.at, fields)
        self._dispatcher.tell(LimitsChanged(window.at, Limits()))
        self._begin(())
