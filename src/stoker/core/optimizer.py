"""Learned ceilings, one step per window: a climber per class and shape of work, and what the
service curve says about latency.

Owns which window may teach which climber, and puts the ceilings together; how a ceiling moves is
`climber.py`'s. Pure: the same windows give the same steps, live, simulated and replayed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from stoker.core.climb import ClimbPolicy, ClimbStep, ClimbView
from stoker.core.climber import Climber
from stoker.core.limits import Limits, clamp
from stoker.core.reasons import Reason
from stoker.core.service_snapshot import ServiceSnapshot
from stoker.core.window import ClassWindow, Window
from stoker.core.work import Priority


class Shape(Enum):
    """What a class spends the engine's time on; each shape has an operating point of its own."""

    PROMPT_HEAVY = "prompt_heavy"
    DECODE_HEAVY = "decode_heavy"


@dataclass(frozen=True, slots=True)
class OptimizerPolicy:
    """The optimizer's numbers; those that people may set come from `Policy`."""

    climb: ClimbPolicy = field(default_factory=ClimbPolicy)
    p0_itl_target_s: float = 0.05
    p1_itl_target_s: float = 0.25
    is_climbing: bool = True
    """Off, only the guards bind: nothing is learned about concurrency."""


@dataclass(frozen=True, slots=True)
class Learned:
    """Where a climber stood, to start from it again."""

    priority: Priority
    shape: Shape
    position: float
    curvature: float
    tokens: float
    """KV tokens per request at the forecast peak."""
    is_current: bool = True
    """Whether the class's work had this shape last."""


@dataclass(frozen=True, slots=True)
class Step:
    """One move of the controller: the new ceilings, and each climber's reason and numbers."""

    at: float
    limits: Limits
    climbs: Mapping[Priority, ClimbStep]
    shapes: Mapping[Priority, Shape]


STEP_EVERY_S = 3.0
"""The cadence: `Optimizer.step` is called so often, each time with the window since the last."""
_BULK = (Priority.P1, Priority.P2)
_CEILINGS = frozenset({Reason.LIMIT.value})
_GUARDS = frozenset(
    reason.value
    for reason in (Reason.KV_PEAK, Reason.SLOTS_FULL, Reason.SLOT_RESERVE, Reason.THRASH)
)
_PACES = frozenset({Reason.PREFILL_DEBT.value, Reason.RAMP.value})
_EVERY_SLOT = 1 << 20
_SHAPE_GAIN = 0.1
_TOKENS_GAIN = 0.1
_TOKENS_SLACK = 1.25
_OTHERS_MAX = 0.1
"""Share of the running requests that may be of another class in a window that still teaches."""
_PROMPT_WEIGHT = 0.05
"""What a prompt token costs beside an output token where the service curve is unknown."""
_CROWDED = 2.0
"""P0's ceiling: where a step takes this many times its target, one more would help nobody."""


class Optimizer:
    """Call `step` once per window (every three seconds)."""

    def __init__(
        self, policy: OptimizerPolicy | None = None, *, known: tuple[Learned, ...] = ()
    ) -> None:
        self._policy = policy or OptimizerPolicy()
        # No experiments on agents: only background work is dithered, and only it begins small. P1's
        # ceiling begins at the slots and comes down by evidence.
        steady = replace(self._policy.climb, has_dither=False, start=_EVERY_SLOT)
        self._classes = {
            Priority.P1: _Class(steady),
            Priority.P2: _Class(self._policy.climb),
        }
        for learned in known:
            self._classes[learned.priority].restore(learned)

    def step(self, window: Window) -> Step:
        """Take one window and return the ceilings for the next."""
        climbs: dict[Priority, ClimbStep] = {}
        for priority in _BULK:
            taint = _taint(window, priority)
            climbs[priority] = self._classes[priority].step(window, priority, taint)
        limits = self._limits(window, climbs)
        return Step(
            at=window.at,
            limits=clamp(limits, window.capacity),
            climbs=climbs,
            shapes={priority: one.shape for priority, one in self._classes.items()},
        )

    def learned(self) -> tuple[Learned, ...]:
        """What is worth keeping across a restart."""
        return tuple(
            learned for priority, one in self._classes.items() for learned in one.learned(priority)
        )

    def _limits(self, window: Window, climbs: Mapping[Priority, ClimbStep]) -> Limits:
        service, policy = window.service, self._policy
        p0 = p1 = None
        if service is not None:
            p0 = batch_max(service, _CROWDED * policy.p0_itl_target_s)
            p1 = batch_max(service, policy.p1_itl_target_s)
        if not policy.is_climbing:
            return Limits(requests_p0=p0, requests_p1=p1)
        slots = window.capacity.requests
        ceilings = [_below(climbs[priority].ceiling, slots) for priority in _BULK]
        return Limits(
            requests_p0=p0,
            requests_p1=min([one for one in (ceilings[0], p1) if one is not None], default=None),
            requests_p2=ceilings[1],
            tokens=self._tokens(climbs),
        )

    def _tokens(self, climbs: Mapping[Priority, ClimbStep]) -> int | None:
        """The ceilings in predicted tokens: work of another shape must not slip in under a count
        that was learned with small requests.
        """
        total = 0.0
        for priority, one in self._classes.items():
            if one.tokens > 0.0:
                total += climbs[priority].ceiling * one.tokens
        return math.ceil(_TOKENS_SLACK * total) if total > 0.0 else None


class _Class:
    """One class's climbers by shape, and what is known about its work."""

    def __init__(self, policy: ClimbPolicy) -> None:
        self._policy = policy
        self._climbers = {Shape.DECODE_HEAVY: Climber(policy)}
        self._prompt_share = 0.0
        self._prompt_weight: float | None = None
        self.shape = Shape.DECODE_HEAVY
        self.tokens = 0.0

    def step(self, window: Window, priority: Priority, taint: str | None) -> ClimbStep:
        seen = window.of(priority)
        if taint is None and seen.running > 0.0:
            self._see(window, seen)
        climber = self._climbers[self.shape]
        return climber.step(self._view(window, seen, taint))

    def learned(self, priority: Priority) -> list[Learned]:
        return [
            Learned(
                priority,
                shape,
                climber.position,
                climber.curvature,
                self.tokens,
                is_current=shape is self.shape,
            )
            for shape, climber in self._climbers.items()
            if not climber.is_cold
        ]

    def restore(self, learned: Learned) -> None:
        climber = Climber(self._policy, position=learned.position)
        climber.curvature = learned.curvature
        self._climbers[learned.shape] = climber
        self.tokens = learned.tokens
        if learned.is_current:
            self.shape = learned.shape

    def _see(self, window: Window, seen: ClassWindow) -> None:
        """Learn the shape of the work: what its prompts cost beside its output."""
        weight = _prompt_weight(window.service, seen.running)
        if self._prompt_weight is None or abs(math.log(weight / self._prompt_weight)) > 1.0:
            # Other units: what was sampled before cannot be compared with what comes.
            self._prompt_weight = weight
            self._climbers[self.shape].forget()
        # Slowly: a weight that followed the dither would be taken for a slope.
        self._prompt_weight += 0.01 * (weight - self._prompt_weight)
        prompts = self._prompt_weight * seen.prompt_tokens
        if prompts + seen.output_tokens > 0.0:
            share = prompts / (prompts + seen.output_tokens)
            self._prompt_share += _SHAPE_GAIN * (share - self._prompt_share)
        if self.tokens == 0.0:
            self.tokens = window.tokens_per_request
        self.tokens += _TOKENS_GAIN * (window.tokens_per_request - self.tokens)
        self._choose_shape()

    def _choose_shape(self) -> None:
        before = self.shape
        if self._prompt_share > 0.6:
            self.shape = Shape.PROMPT_HEAVY
        elif self._prompt_share < 0.4:
            self.shape = Shape.DECODE_HEAVY
        if self.shape not in self._climbers:
            # A shape never met starts from where the other one stood: the engine is the same.
            # It is cold all the same, and may grow from there.
            climber = Climber(self._policy)
            climber.position = self._climbers[before].position
            self._climbers[self.shape] = climber

    def _view(self, window: Window, seen: ClassWindow, taint: str | None) -> ClimbView:
        weight = self._prompt_weight or _PROMPT_WEIGHT
        useful = seen.output_tokens + weight * seen.prompt_tokens
        return ClimbView(
            at=window.at,
            places=seen.places,
            rate=useful / window.seconds if window.seconds > 0.0 else 0.0,
            limit_share=_share(seen, _CEILINGS),
            guard_share=_share(seen, _GUARDS),
            pace_share=_share(seen, _PACES),
            capacity=window.capacity.requests,
            expected_slope=_expected_slope(window.service, seen.running, self._prompt_share),
            has_guard=window.capacity.kv_tokens is not None,
            taint=taint,
            may_grow=window.is_steady and not window.is_host_short,
            preemptions=window.engine_preemptions,
            exposures=seen.exposures,
        )


def _below(ceiling: int, slots: int) -> int | None:
    """A ceiling that is no tighter than the slots is none: places may be parked beyond them."""
    return ceiling if ceiling < slots else None


def _taint(window: Window, priority: Priority) -> str | None:
    """Why this window may teach nothing about a class; `None` when it may."""
    if not window.is_steady:
        return "the engine changed"
    if window.is_host_short:
        return "the host is short of RAM"
    if window.p0_share > 0.0 or window.p0.running > 0.0:
        return "P0 was here"
    other = window.p2 if priority is Priority.P1 else window.p1
    mine = window.of(priority).running
    if other.running > _OTHERS_MAX * (mine + other.running):
        return f"{'P2' if priority is Priority.P1 else 'P1'} was here"
    return None


def _share(seen: ClassWindow, reasons: frozenset[str]) -> float:
    return sum(share for reason, share in seen.bound.items() if reason in reasons)


def step_s(service: ServiceSnapshot, batch: float) -> float | None:
    """Seconds per decode step at `batch`, `None` while unknown."""
    if not service.is_known or service.base_s is None:
        return None
    assert service.per_batch_s is not None
    assert service.gamma is not None
    grown: float = max(batch, 1.0) ** service.gamma
    return service.base_s + service.per_batch_s * grown


def batch_max(service: ServiceSnapshot, itl_s: float) -> int | None:
    """Largest batch whose step takes at most `itl_s`; at least 1. `None` while unknown."""
    if not service.is_known or service.base_s is None:
        return None
    assert service.per_batch_s is not None
    assert service.gamma is not None
    if itl_s <= service.base_s:
        return 1
    if service.per_batch_s <= 0.0 or service.gamma <= 0.0:
        return None
    return max(1, int(((itl_s - service.base_s) / service.per_batch_s) ** (1.0 / service.gamma)))


def _prompt_weight(service: ServiceSnapshot | None, running: float) -> float:
    """What one prompt token costs the engine beside one output token at this concurrency."""
    step = None if service is None else step_s(service, running)
    if service is None or step is None or not service.prefill_s_per_token:
        return _PROMPT_WEIGHT
    return min(1.0, max(1e-3, service.prefill_s_per_token * max(1.0, running) / step))


def _expected_slope(
    service: ServiceSnapshot | None, running: float, prompt_share: float
) -> float | None:
    """d ln X / d ln N by the service curve alone: X = 1 / (c p + d t(N) / N).

    What the curve does not know (a prefix cache that thrashes, preemption) the samples must say.
    """
    if service is None or not service.is_known or running < 1.0:
        return None
    step = step_s(service, running)
    seen = service.batch_seen_max
    if step is None or seen is None or running > 2.0 * seen:
        return None
    assert service.gamma is not None
    assert service.base_s is not None
    growth = service.gamma * (step - service.base_s) / step
    return (1.0 - prompt_share) * (1.0 - growth)
