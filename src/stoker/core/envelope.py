"""How full the KV cache will get: the Past-Future peak of what runs, and how honest it has been."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate, count
from operator import mul, sub
from typing import Final, NamedTuple

from stoker.core.work import RequestId


class InFlight(NamedTuple):
    """One running request as the forecast sees it."""

    held_tokens: int
    """Prompt and output tokens it holds in the KV cache now (shared prefixes counted in full)."""
    remaining_tokens: float
    """Expected output still to come."""
    remaining_variance: float


def kv_peak(in_flight: Iterable[InFlight], z: float) -> float:
    """Most KV tokens that `in_flight` will hold at once if nobody joins, plus `z` deviations.

    The margin is pooled, not per request: errors of many requests cancel, and summed quantiles
    would waste most of the cache.
    """
    in_flight = list(in_flight)
    variance = sum(one.remaining_variance for one in in_flight)
    return Envelope(in_flight).peak() + z * math.sqrt(variance)


# Means of the lower and upper half of an exponential lie this many deviations from its mean.
_HALF: Final = math.log(2.0)


class Envelope:
    """The expected peak of a set of requests, kept sorted while the set changes by one.

    All sequences grow by a token per engine step, so the total can only peak when one ends. Just
    before the i-th longest ends, it and the i-1 longer ones have each grown by its remaining r_i:
    peak = max_i(r_i * i + sum of held_k for k <= i), with r sorted from the longest (Past-Future,
    arXiv 2507.10150, in the form LightLLM computes it).

    Here each request counts as two halves, one that ends early and one that ends late. With the
    mean alone, requests alike would all live to the same instant, and the peak came out a third
    too high (ADR 0006). Where lengths are certain the halves coincide and the formula is as above.
    """

    __slots__ = ("_ends", "_helds", "_top")

    def __init__(self, in_flight: Iterable[InFlight] = ()) -> None:
        halves: list[tuple[float, int]] = []
        for one in in_flight:
            halves += _halves(one)
        halves.sort()
        self._ends = [end for end, _ in halves]
        """What remains of each half, negated: ascending, and so from the longest."""
        self._helds = [held for _, held in halves]
        self._top = len(halves)
        """Which of them is about to end when the peak is reached; a guess until it was asked."""

    def add(self, one: InFlight) -> None:
        for end, held in _halves(one):
            index = bisect_left(self._ends, end)
            self._ends.insert(index, end)
            self._helds.insert(index, held)

    def remove(self, one: InFlight) -> None:
        """Take out what was added; it must be the very same."""
        for end, held in _halves(one):
            index = self._helds.index(held, bisect_left(self._ends, end))
            del self._ends[index], self._helds[index]

    def peak(self) -> float:
        """The expected peak; 0 of nothing."""
        # In C, not in a loop: an admission decision has a budget of 100 µs.
        grown = map(mul, self._ends, count(1))
        totals: list[float] = list(map(sub, accumulate(self._helds), grown))
        if not totals:
            return 0.0
        peak = max(totals)
        self._top = totals.index(peak)
        return peak / 2.0

    def peak_with(self, one: InFlight) -> float:
        """What it would be with one more."""
        self.add(one)
        peak = self.peak()
        self.remove(one)
        return peak

    def peak_with_at_least(self, one: InFlight) -> float:
        """A lower bound of `peak_with`: what would be held at one end, where the peak was last.

        A queue is blocked for many events at a time, by the same peak: then this says so already.
        """
        if not self._ends:
            return 0.0
        index = min(self._top, len(self._ends) - 1)
        end = self._ends[index]
        (late, held), (early, _) = _halves(one)
        longer = (late <= end) + (early <= end)
        total = sum(self._helds[: index + 1]) + longer * held
        return (total - end * (index + 1 + longer)) / 2.0


def _halves(one: InFlight) -> tuple[tuple[float, int], tuple[float, int]]:
    held, mean, variance = one
    spread = _HALF * math.sqrt(variance)
    return (-mean - spread, held), (spread - mean if mean > spread else 0.0, held)


_FEW: Final = 0.25
"""When less than this share of a set is left, its peak lies behind it."""


@dataclass(slots=True)
class _Open:
    """A forecast whose truth is not known yet."""

    until: float
    forecast: float
    ids: tuple[RequestId, ...]
    realised: float


class PeakForecast:
    """The adaptive margin: how many deviations keep 95 % of the forecast peaks from being passed.

    Adaptive Conformal Inference (Gibbs and Candès, arXiv 2106.00170): each miss raises `z`, each
    hit lowers it a little, so long-run coverage holds under drift and without assuming a
    distribution. A forecast claims: *these requests will not hold more than this at any moment of
    the next `horizon_s`*. It is judged on that same set, at once when it is passed, otherwise when
    all of the set has left or the horizon is over.
    """

    Z_MIN: Final = -2.0
    Z_MAX: Final = 4.0
    GAMMA: Final = 0.2
    MISS_RATE: Final = 0.05
    WINDOW: Final = 256
    """Judged forecasts that `coverage` and `mean_over_estimate` speak about."""

    def __init__(
        self, *, interval_s: float = 5.0, horizon_s: float = 300.0, open_max: int = 24
    ) -> None:
        # Where it settles in simulation is 0 to 2, by how alike the lengths are (ADR 0006).
        self.z = 1.0
        self.count = 0
        self._interval_s = interval_s
        self._horizon_s = horizon_s
        self._open_max = open_max
        self._next_at = -math.inf
        self._open: list[_Open] = []
        self._judged: deque[tuple[bool, float]] = deque(maxlen=self.WINDOW)

    @property
    def coverage(self) -> float:
        """Share of the latest judged forecasts that held; 1 while `count` is 0."""
        if not self._judged:
            return 1.0
        return sum(held for held, _ in self._judged) / len(self._judged)

    @property
    def mean_over_estimate(self) -> float:
        """Mean of forecast / realised - 1 over the same forecasts; 0 while `count` is 0."""
        if not self._judged:
            return 0.0
        return sum(excess for _, excess in self._judged) / len(self._judged)

    def forecast(self, in_flight: Iterable[InFlight]) -> float:
        """`kv_peak` with the margin learned so far."""
        return kv_peak(in_flight, self.z)

    def margin(self, variance: float) -> float:
        """What is added to an expected peak whose requests have that variance together."""
        # What has been added and taken away again leaves a hair, which may be below zero.
        return self.z * math.sqrt(max(0.0, variance))

    @property
    def has_open(self) -> bool:
        """Whether any forecast waits for its truth."""
        return bool(self._open)

    def is_due(self, at: float) -> bool:
        """Whether it is time to `begin` another forecast to be judged."""
        return at >= self._next_at and len(self._open) < self._open_max

    def begin(self, at: float, in_flight: Mapping[RequestId, InFlight]) -> None:
        """Put the forecast for what runs now on record, if one is due; `update` will judge it."""
        if not in_flight or not self.is_due(at):
            return
        self._next_at = at + self._interval_s
        held = float(sum(one.held_tokens for one in in_flight.values()))
        forecast = self.forecast(in_flight.values())
        self._open.append(_Open(at + self._horizon_s, forecast, tuple(in_flight), held))

    def update(self, at: float, held: Mapping[RequestId, int]) -> None:
        """Judge open forecasts by what every running request holds now."""
        still_open: list[_Open] = []
        for one in self._open:
            present = [held[known] for known in one.ids if known in held]
            one.realised = max(one.realised, sum(present))
            is_past = len(present) < len(one.ids) * _FEW or at >= one.until
            if not present or is_past or one.realised > one.forecast:
                self.settle(one.forecast, one.realised)
            else:
                still_open.append(one)
        self._open = still_open

    def settle(self, forecast: float, realised: float) -> None:
        """Learn from one forecast and the peak that really came."""
        is_miss = realised > forecast
        step = self.GAMMA * (is_miss - self.MISS_RATE)
        self.z = min(max(self.z + step, self.Z_MIN), self.Z_MAX)
        self.count += 1
        self._judged.append((not is_miss, forecast / realised - 1.0 if realised > 0.0 else 0.0))
