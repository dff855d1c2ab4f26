"""The words of a climb: its numbers, one window as it reads it, and one step with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from stoker.core.window import Exposure


@dataclass(frozen=True, slots=True)
class ClimbPolicy:
    """The climber's numbers. Times are seconds, steps are in ln N."""

    start: int = 8
    growth: float = math.log(1.3)
    """Growth per tick while nothing is known."""
    elasticity: float = 0.12
    """Gain in throughput per gain in concurrency that is worth it (.NET's thread pool asks .15)."""
    settle_s: float = 21.0
    """After a flip the counters still show the prompts of those who joined: not sampled."""
    half_period_s: float = 42.0
    """Twice the settling time: dither slow against the delay (arXiv 2604.04754)."""
    dither_min: float = 0.06
    dither_max: float = 0.2
    trust_start: float = 0.15
    trust_min: float = 0.05
    trust_max: float = 0.25
    half_life_s: float = 240.0
    """Age at which a sample counts half."""
    samples_min: int = 10
    step_every: int = 2
    cooldown_s: float = 30.0
    curvature: float = -0.2
    has_dither: bool = True
    has_settle: bool = True


class ClimbReason(Enum):
    """Why the ceiling is where it is after a step."""

    GROWING = "growing"
    """Nothing is known yet: it grows until the guard, the slots, or the gain say stop."""
    IMPROVED = "improved"
    """The slope was worth a step up, or a step down raised throughput."""
    PROBING = "probing"
    """Dithering; not sure enough to step."""
    SETTLED = "settled"
    """Neither more nor less would pay; it rests and looks again later."""
    GUARDED = "guarded"
    """The forecast of the KV cache, or the slots, bind below the ceiling."""
    PACED = "paced"
    """Prompts are still being read: the ceiling is not what holds the next one back."""
    BACKED_OFF = "backed_off"
    """The engine preempted: a step back, then a pause."""
    COOLING = "cooling"
    """In the pause after a step back."""
    ROLLED_BACK = "rolled_back"
    """Finished work had been faster elsewhere, beyond noise: back to there."""
    DRIFTED = "drifted"
    """The work has changed: what was sampled before says nothing any more."""
    APP_LIMITED = "app_limited"
    """Too little work waits: this says nothing about the engine."""
    TAINTED = "tainted"
    """P0 was here, the engine changed, or the host was short: this says nothing either."""


@dataclass(frozen=True, slots=True)
class ClimbView:
    """One window as a climber reads it."""

    at: float
    places: float
    """Concurrency, averaged over the window."""
    rate: float
    """Useful work per second, prompts weighted by what they cost beside output."""
    limit_share: float
    """Share of the window in which the ceiling itself kept the next one out."""
    guard_share: float
    """The same for the KV forecast and the engine's slots."""
    pace_share: float
    """The same for prompts that are still being read."""
    capacity: int
    expected_slope: float | None
    """What the learned service curve says the slope should be here."""
    has_guard: bool = False
    """Whether the engine says how much KV cache it has, so that the forecast can bind."""
    taint: str | None = None
    """Why the window may teach nothing, if so."""
    may_grow: bool = False
    """Whether a ceiling that was never learned may grow even in a tainted window."""
    preemptions: float = 0.0
    exposures: tuple[Exposure, ...] = ()


@dataclass(frozen=True, slots=True)
class ClimbStep:
    """One move, with everything it rests on."""

    reason: ClimbReason
    ceiling: int
    position: float
    slope: float | None = None
    slope_sd: float | None = None
    curvature: float | None = None
    noise: float | None = None
    trust: float | None = None
    dither: float = 0.0
    samples: int = 0
    finished_rate: float | None = None
    note: str | None = None
