"""How long answers get: a decayed Kaplan-Meier curve that learns from unfinished answers too.

Owns one distribution (`LengthHistory` in, `LengthCurve` out). Which requests share one, and how
several are blended, is `load.py`'s business.

Right after a start only short answers have finished; a plain average of finished lengths is then
biased short, and a forecast built on it overruns the KV cache. The product-limit estimator (Kaplan
and Meier, JASA 1958) counts an answer that is still running, or was cut off, as *at risk* up to
where it was last seen. An answer continued after a preemption is at risk only from where it was
continued (delayed entry, also called left truncation), so that no token is counted twice.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

HALF_LIFE: Final = 200
"""Observations after which one counts half: about 290 effective ones, next to none beyond 1,000."""
PRIOR_MEAN_TOKENS: Final = 256.0
"""Expected output where nothing is known."""

# Bins are exact up to 15 tokens and then eight per octave, so a bin is at most 12.5 % wide. Within
# a bin the mean length is kept, so the mean of the curve is exact and only its shape is rounded.
_LAST_BIN: Final = 144  # 2**20 tokens and above
_BINS: Final = _LAST_BIN + 1
_GROWTH: Final = 2.0 ** (1 / HALF_LIFE)
_WEIGHT_MAX: Final = 2.0**30
# A curve is rebuilt once its history has grown by a sixteenth: far less than the decay forgets.
_REBUILD_SHARE: Final = 1 / 16

_TAIL_STEPS: Final = 8


def bin_of(tokens: int) -> int:
    """Index of the length bin that holds `tokens`."""
    if tokens < 16:
        return max(tokens, 0)
    shift = tokens.bit_length() - 4
    return min(8 * shift + (tokens >> shift), _LAST_BIN)


def bin_floor(index: int) -> int:
    """Smallest length in bin `index`."""
    return index if index < 16 else (8 + index % 8) << (index // 8 - 1)


@dataclass(frozen=True, slots=True)
class Moments:
    """First two moments of a length still to come, and how many observations stand behind them."""

    known: float
    mean: float
    second: float


_NOTHING: Final = Moments(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class LengthCurve:
    """A survival curve as a step function, with its integrals: every question is two bisections."""

    points: Sequence[float]
    """Where the curve steps down; the first is 0, where everything is still alive."""
    survival: Sequence[float]
    """P(length > t) from each point to the next."""
    area: Sequence[float]
    """Integral of the survival from 0 to each point."""
    moment: Sequence[float]
    """Integral of t times the survival from 0 to each point."""
    observed: Sequence[float]
    """Effective observations in each bin and above."""
    censored: Sequence[float]
    """Those of them that only say *longer than this*."""

    def remaining(self, seen: int, bound: int | None) -> Moments:
        """Moments of min(length, bound) - seen, given length > seen (given nothing at 0)."""
        start = bisect_right(self.points, seen) - 1 if seen > 0 else 0
        alive = self.survival[start]
        if alive <= 0.0 or (bound is not None and bound <= seen):
            return _NOTHING
        area, moment = self._upto(seen, start)
        area_end, moment_end = self._upto_bound(bound)
        mean = (area_end - area) / alive
        second = 2.0 * (moment_end - moment) / alive - 2.0 * seen * mean
        return Moments(self._known(seen, bound), mean, max(second, mean * mean))

    def _upto(self, tokens: int, index: int) -> tuple[float, float]:
        point, alive = self.points[index], self.survival[index]
        return (
            self.area[index] + alive * (tokens - point),
            self.moment[index] + alive * (tokens * tokens - point * point) / 2.0,
        )

    def _upto_bound(self, bound: int | None) -> tuple[float, float]:
        if bound is None:
            return self.area[-1], self.moment[-1]
        return self._upto(bound, bisect_right(self.points, bound) - 1)

    def _known(self, seen: int, bound: int | None) -> float:
        """Observations beyond `seen` whose min(length, bound) is known exactly.

        An answer that is still running shapes the curve but is no evidence of where it ends;
        one that was cut off at the very bound that is asked about is.
        """
        first = bin_of(seen) + 1 if seen > 0 else 0
        last = _BINS if bound is None else max(first, bin_of(bound))
        return self.observed[first] - (self.censored[first] - self.censored[last])


class LengthHistory:
    """Observed lengths of one kind of request, exponentially forgotten, in bounded space.

    Old observations are not decayed one by one: each new one weighs more than the one before, and
    everything is scaled back once in thousands of updates, so an update costs O(1).
    """

    __slots__ = (
        "_censored",
        "_censored_sum",
        "_curve",
        "_death_sum",
        "_deaths",
        "_entries",
        "_exposure",
        "_fresh",
        "_total",
        "_weight",
        "in_flight",
        "is_stale",
    )

    def __init__(self) -> None:
        self._deaths, self._death_sum = _zeros(), _zeros()
        self._censored, self._censored_sum = _zeros(), _zeros()
        self._entries = _zeros()
        self._weight = 1.0
        self._total = 0.0
        self._exposure = 0.0
        self._fresh = 0
        self._curve: LengthCurve | None = None
        self.is_stale = True
        self.in_flight: list[tuple[int, int]] = []
        """(tokens seen, tokens at entry) of running requests; set `is_stale` after a change."""

    @property
    def count(self) -> float:
        """Effective number of observations, running ones not included."""
        return self._total / self._weight

    def add(self, length: int, *, entered: int = 0, is_censored: bool = False) -> None:
        """Learn one length; `is_censored` means that it would have been longer."""
        self._weight *= _GROWTH
        if self._weight > _WEIGHT_MAX:
            self._rescale()
        index, weight = bin_of(length), self._weight
        if is_censored:
            self._censored[index] += weight
            self._censored_sum[index] += weight * length
        else:
            self._deaths[index] += weight
            self._death_sum[index] += weight * length
        if entered > 0:
            self._entries[bin_of(entered + 1)] += weight
        self._total += weight
        self._exposure += weight * (length - entered)
        self._fresh += 1
        if self._fresh >= self.count * _REBUILD_SHARE:
            self.is_stale = True

    def curve(self) -> LengthCurve:
        """The survival curve, rebuilt only when enough has been learned since the last one."""
        if self._curve is None or self.is_stale:
            self._curve = self._build()
            self._fresh = 0
            self.is_stale = False
        return self._curve

    def _rescale(self) -> None:
        factor = 1.0 / self._weight
        for name in ("_deaths", "_death_sum", "_censored", "_censored_sum", "_entries"):
            setattr(self, name, array("d", [value * factor for value in getattr(self, name)]))
        self._total *= factor
        self._exposure *= factor
        self._weight = 1.0

    def _build(self) -> LengthCurve:
        weight, exposure = self._weight, self._exposure
        censored, censored_sum, entries = self._censored[:], self._censored_sum[:], self._entries[:]
        for seen, entered in self.in_flight:
            index = bin_of(seen)
            censored[index] += weight
            censored_sum[index] += weight * seen
            exposure += weight * (seen - entered)
            if entered > 0:
                entries[bin_of(entered + 1)] += weight

        at_risk = unended = late = 0.0
        observed_above, censored_above = _zeros(1), _zeros(1)
        steps: list[tuple[float, float, float]] = []
        last_censored = 0.0
        for index in range(_LAST_BIN, -1, -1):
            dead, cut = self._deaths[index], censored[index]
            if cut > 0.0:
                unended += cut
                last_censored = last_censored or censored_sum[index] / cut
            if dead > 0.0:
                # Rounding keeps a family of constant length on its integer: *longer than 50* must
                # not hold for a mean of 50.000000000000007.
                where = round(self._death_sum[index] / dead, 6)
                share = dead / _risk_set(dead, at_risk + dead + cut - late, at_risk, weight)
                steps.append((where, share, at_risk))
            at_risk += dead + cut
            observed_above[index] = at_risk / weight
            censored_above[index] = unended / weight
            late += entries[index]

        # One imagined answer of the prior length keeps the rate defined when none has ended.
        deaths = sum(self._deaths)
        tail = (exposure + weight * PRIOR_MEAN_TOKENS) / (deaths + weight)
        walk = _Walk()
        for where, share, _ in reversed(steps):
            walk.step(where, share)
        walk.finish(max(last_censored, walk.points[-1]), tail)
        return LengthCurve(
            walk.points, walk.survival, walk.area, walk.moment, observed_above, censored_above
        )


class _Walk:
    """Walks down a survival curve from 0, integrating on the way."""

    __slots__ = ("area", "moment", "points", "survival")

    def __init__(self) -> None:
        self.points, self.survival = array("d", [0.0]), array("d", [1.0])
        self.area, self.moment = array("d", [0.0]), array("d", [0.0])

    def step(self, where: float, share: float) -> None:
        alive, before = self.survival[-1], self.points[-1]
        self.area.append(self.area[-1] + alive * (where - before))
        self.moment.append(self.moment[-1] + alive * (where * where - before * before) / 2.0)
        self.points.append(where)
        self.survival.append(alive * (1.0 - share))

    def finish(self, last: float, tail_mean: float) -> None:
        """Beyond the last observation the survivors leave at the average rate so far.

        The exponential tail is the completion of Brown, Hollander and Korwar (1974), here as
        equal steps at the means of its octiles, which keeps its mean exact.
        """
        if self.survival[-1] <= 0.0:
            return
        for step, mean in enumerate(_TAIL_MEANS):
            self.step(last + tail_mean * mean, 1.0 / (_TAIL_STEPS - step))


def _risk_set(dead: float, at_risk: float, later: float, weight: float) -> float:
    """Weight at risk where `dead` died.

    With delayed entries an early risk set can be so small that all of it dies while others are
    known to live longer; one of those is then counted in, or the curve would end too early.
    """
    if later > 0.0 and at_risk <= dead * (1.0 + 1e-9):
        return dead + min(weight, later)
    return max(at_risk, dead)


def _exponential_octile_means() -> tuple[float, ...]:
    edges = [-math.log1p(-step / _TAIL_STEPS) for step in range(_TAIL_STEPS)]
    below = [(edge + 1.0) * math.exp(-edge) for edge in edges] + [0.0]
    return tuple(_TAIL_STEPS * (a - b) for a, b in pairwise(below))


_TAIL_MEANS: Final = _exponential_octile_means()


def _zeros(extra: int = 0) -> array[float]:
    return array("d", bytes(8 * (_BINS + extra)))
