"""Rules that set one number: how many background jobs, or agent sessions, may be in the engine.

The baselines. Each is the published rule with its published constants; where a source leaves one
open, the choice stands beside it. None of them sees more than a proxy could.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

TICK_S = 3.0
START = 8.0
GROWN_SHARE = 0.9
"""Share of its limit that must be in use before a rule that watches the box may raise it."""


@dataclass(frozen=True, slots=True)
class Tick:
    """What a rule is shown every three seconds."""

    at: float
    in_flight: int
    preemptions: int
    """Of the engine, since the tick before."""
    waiting: int
    """Requests that the engine holds back, this instant."""
    kv_cache_usage: float
    cached_share: float | None
    """Of the prompt tokens since the tick before; `None` when none were read."""


@dataclass(frozen=True, slots=True)
class Finished:
    """One request that has ended."""

    at: float
    duration_s: float
    in_flight: int
    tokens: int


class Rule(Protocol):
    @property
    def limit(self) -> int: ...

    def ticked(self, tick: Tick) -> None: ...

    def finished(self, finished: Finished) -> None: ...


@dataclass(slots=True)
class Fixed:
    """A number that somebody set; the best one for a workload, found by a sweep, is the oracle."""

    limit: int

    def ticked(self, tick: Tick) -> None:
        return

    def finished(self, finished: Finished) -> None:
        return


@dataclass(slots=True)
class Aimd:
    """One more while nothing goes wrong and the limit is used; a tenth less on a preemption, or
    when the engine lets requests wait for two ticks in a row.
    """

    most: int
    level: float = START
    _has_waited: bool = False

    @property
    def limit(self) -> int:
        return max(1, min(self.most, int(self.level)))

    def ticked(self, tick: Tick) -> None:
        is_waiting = tick.waiting > 0
        if tick.preemptions or (is_waiting and self._has_waited):
            self.level = max(1.0, 0.9 * self.level)
        elif tick.in_flight >= GROWN_SHARE * self.limit:
            self.level = min(float(self.most), self.level + 1.0)
        self._has_waited = is_waiting

    def finished(self, finished: Finished) -> None:
        return


@dataclass(slots=True)
class Gradient2:
    """Netflix concurrency-limits, `Gradient2Limit` at 78a74b9, its defaults. The round trip of a
    language model is mostly the length of its answer, which is what fools it.
    """

    most: int
    level: float = 20.0
    _least: float = 20.0
    _long_s: float = 0.0
    _samples: int = 0

    TOLERANCE = 1.5
    QUEUE = 4.0
    SMOOTHING = 0.2
    LONG_WINDOW = 600
    WARM_UP = 10

    @property
    def limit(self) -> int:
        return max(1, min(self.most, int(self.level)))

    def ticked(self, tick: Tick) -> None:
        return

    def finished(self, finished: Finished) -> None:
        short_s = finished.duration_s
        self._note(short_s)
        if self._long_s / short_s > 2.0:
            self._long_s *= 0.95
        if finished.in_flight < self.level / 2.0:
            return
        gradient = max(0.5, min(1.0, self.TOLERANCE * self._long_s / short_s))
        aim = self.level * gradient + self.QUEUE
        level = self.level * (1.0 - self.SMOOTHING) + aim * self.SMOOTHING
        self.level = max(min(self._least, self.most), min(float(self.most), level))

    def _note(self, sample_s: float) -> None:
        """A plain mean at first, then an exponential one."""
        self._samples += 1
        gain = (
            1.0 / self._samples if self._samples <= self.WARM_UP else 2.0 / (self.LONG_WINDOW + 1)
        )
        self._long_s += gain * (sample_s - self._long_s)


@dataclass(slots=True)
class Vegas:
    """Netflix concurrency-limits, `VegasLimit`, its defaults, without the jitter of its probes."""

    most: int
    level: float = 20.0
    _least_s: float = math.inf
    _since_probe: int = 0

    PROBE_EVERY = 30.0

    @property
    def limit(self) -> int:
        return max(1, min(self.most, int(self.level)))

    def ticked(self, tick: Tick) -> None:
        return

    def finished(self, finished: Finished) -> None:
        self._since_probe += 1
        if self._since_probe >= self.PROBE_EVERY * self.level:
            self._since_probe, self._least_s = 0, finished.duration_s
            return
        self._least_s = min(self._least_s, finished.duration_s)
        if finished.in_flight * 2 < self.level:
            return
        step = max(1.0, math.log10(self.level))
        queue = math.ceil(self.level * (1.0 - self._least_s / finished.duration_s))
        if queue <= step:
            self.level += 6.0 * step
        elif queue < 3.0 * step:
            self.level += step
        elif queue > 6.0 * step:
            self.level -= step
        self.level = max(1.0, min(float(self.most), self.level))


@dataclass(slots=True)
class Concur:
    """CONCUR (arXiv 2601.22705): more agents while the KV cache is nearly empty, fewer when it is
    well used and the hit rate falls. Its thresholds; steps of +1 and a half are this file's choice.
    """

    most: int
    level: float = START
    _cached_share: float | None = None

    USAGE_LOW = 0.2
    USAGE_HIGH = 0.5
    STEP = 1.0
    CUT = 0.5

    @property
    def limit(self) -> int:
        return max(1, min(self.most, int(self.level)))

    def ticked(self, tick: Tick) -> None:
        before, share = self._cached_share, tick.cached_share
        if share is not None:
            self._cached_share = share
        is_falling = before is not None and share is not None and share < before
        if tick.kv_cache_usage < self.USAGE_LOW:
            self.level = min(float(self.most), self.level + self.STEP)
        elif tick.kv_cache_usage > self.USAGE_HIGH and is_falling:
            self.level = max(1.0, self.level * self.CUT)

    def finished(self, finished: Finished) -> None:
        return


@dataclass(slots=True)
class NaiveNewton:
    """The obvious reading of "quasi-Newton on finished-job throughput over 45 s, every 3 s": a
    secant through successive differences. Its samples overlap by 93 %, which is its undoing.
    """

    most: int
    level: float = START
    _ended: deque[tuple[float, int]] = field(default_factory=deque)
    _before: tuple[float, float] | None = None
    """The last limit and the throughput there."""
    _slope: float | None = None

    WINDOW_S = 45.0
    STEP_MAX = 0.25

    @property
    def limit(self) -> int:
        return max(1, min(self.most, int(self.level)))

    def finished(self, finished: Finished) -> None:
        self._ended.append((finished.at, finished.tokens))

    def ticked(self, tick: Tick) -> None:
        while self._ended and self._ended[0][0] <= tick.at - self.WINDOW_S:
            self._ended.popleft()
        if tick.at < self.WINDOW_S:
            return
        rate = sum(tokens for _, tokens in self._ended) / self.WINDOW_S
        before, here = self._before, self.level
        self._before = (here, rate)
        if before is None or before[0] == here:
            self.level = self._bounded(here + 1.0)
            return
        slope = (rate - before[1]) / (here - before[0])
        bend = None if self._slope is None else (slope - self._slope) / (here - before[0])
        self._slope = slope
        most_step = self.STEP_MAX * here
        step = math.copysign(most_step, slope) if bend is None or bend >= 0 else -slope / bend
        self.level = self._bounded(here + max(-most_step, min(most_step, step)))

    def _bounded(self, level: float) -> float:
        return max(1.0, min(float(self.most), level))
