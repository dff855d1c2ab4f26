"""A plant for climbers: throughput as a function of concurrency, with a lag and seeded noise."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

from stoker.core.climb import ClimbStep, ClimbView
from stoker.core.climber import Climber

TICK_S = 3.0


def climb(
    climber: Climber,
    curve: Callable[[float], float],
    *,
    minutes: float,
    noise: float = 0.05,
    lag_s: float = 9.0,
    capacity: int = 256,
    guard: int | None = None,
    seed: int = 0,
    since: float = 0.0,
) -> Iterator[tuple[float, ClimbStep]]:
    """Let `climber` drive the plant; yields (concurrency, step) for each tick.

    The concurrency follows the ceiling at once when that falls by little, and through a lag of
    `lag_s` otherwise; a `guard` keeps it below the ceiling.
    """
    rng = random.Random(seed)
    places, ceiling = 1.0, climber.step(_idle(since)).ceiling
    for tick in range(1, int(minutes * 60.0 / TICK_S) + 1):
        wanted = min(ceiling, guard or ceiling)
        places += (wanted - places) * (1.0 - math.exp(-TICK_S / lag_s))
        is_guarded = guard is not None and ceiling > guard
        step = climber.step(
            ClimbView(
                at=since + tick * TICK_S,
                places=places,
                rate=curve(places) * math.exp(rng.gauss(0.0, noise)),
                limit_share=0.0 if is_guarded else 1.0,
                guard_share=1.0 if is_guarded else 0.0,
                pace_share=0.0,
                capacity=capacity,
                expected_slope=None,
            )
        )
        ceiling = step.ceiling
        yield places, step


def _idle(at: float) -> ClimbView:
    return ClimbView(
        at=at,
        places=0.0,
        rate=0.0,
        limit_share=0.0,
        guard_share=0.0,
        pace_share=0.0,
        capacity=256,
        expected_slope=None,
    )
