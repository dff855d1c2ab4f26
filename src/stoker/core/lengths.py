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
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import add, neg
from typing import Final, NamedTuple

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
# A curve is rebuilt once its history has grown by a quarter, at most 72 observations: late by a
# third of the half-life at worst, and a rebuild (80 µs) costs about 1 µs per observation. Decisions
# leave that to the next progress report, up to twice the growth, so that nobody's admission pays.
_REBUILD_SHARE: Final = 1 / 4

_ANSWERS_MAX: Final = 256
"""Per curve: bins that running answers pass through, times the bounds that clients set."""

_TAIL_STEPS: Final = 8
_SNAP: Final = 2.0**20


def bin_of(tokens: int) -> int:
    """Index of the length bin that holds `tokens`."""
    if tokens < 16:
        return max(tokens, 0)
    shift = tokens.bit_length() - 4
    return min(8 * shift + (tokens >> shift), _LAST_BIN)


def bin_floor(index: int) -> int:
    """Smallest length in bin `index`."""
    return index if index < 16 else (8 + index % 8) << (index // 8 - 1)


class Moments(NamedTuple):
    """First two moments of a length still to come, and how many observations stand behind them."""

    known: float
    mean: float
    second: float


_NOTHING: Final = Moments(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class _Evidence:
    """How much was observed, by length."""

    weight: float
    """What one observation of now weighs in the sums."""
    observed: Sequence[float]
    """Weight in each bin and above."""
    censored: Sequence[float]
    """The part of it that only says *longer than this*."""

    def beyond(self, seen: int, bound: int | None) -> float:
        """Effective observations beyond `seen` whose min(length, bound) is known exactly.

        An answer that is still running shapes the curve but is no evidence of where it ends;
        one that was cut off at the very bound that is asked about is.
        """
        first = bin_of(seen) + 1 if seen > 0 else 0
        last = _BINS if bound is None else max(first, bin_of(bound))
        known = self.observed[first] - (self.censored[first] - self.censored[last])
        return max(0.0, known / self.weight)


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
    evidence: _Evidence

    def remaining(self, seen: int, bound: int | None) -> Moments:
        """Moments of min(length, bound) - seen, given length > seen (given nothing at 0)."""
        start = bisect_right(self.points, seen) - 1 if seen > 0 else 0
        alive = self.survival[start]
        if alive <= 0.0 or (bound is not None and bound <= seen):
            return _NOTHING
        area, moment = self._integrals(seen, start) if seen > 0 else (0.0, 0.0)
        if bound is None:
            area_end, moment_end = self.area[-1], self.moment[-1]
        else:
            area_end, moment_end = self._integrals(bound, bisect_right(self.points, bound) - 1)
        mean = (area_end - area) / alive
        second = 2.0 * (moment_end - moment) / alive - 2.0 * seen * mean
        return Moments(self.evidence.beyond(seen, bound), mean, max(second, mean * mean))

    def _integrals(self, tokens: int, index: int) -> tuple[float, float]:
        point = self.points[index]
        slab = self.survival[index] * (tokens - point)
        return self.area[index] + slab, self.moment[index] + slab * (tokens + point) * 0.5


class LengthHistory:
    """Observed lengths of one kind of request, exponentially forgotten, in bounded space.

    Old observations are not decayed one by one: each new one weighs more than the one before, and
    everything is scaled back once in thousands of updates, so an update costs O(1).
    """

    __slots__ = (
        "_answers",
        "_censored",
        "_censored_sum",
        "_curve",
        "_death_sum",
        "_deaths",
        "_entries",
        "_exposure",
        "_fresh",
        "_has_entries",
        "_total",
        "_weight",
        "in_flight",
        "is_due",
        "is_stale",
    )

    def __init__(self) -> None:
        self._deaths, self._death_sum = _zeros(), _zeros()
        self._censored, self._censored_sum = _zeros(), _zeros()
        self._entries = _zeros()
        self._has_entries = False
        self._weight = 1.0
        self._total = 0.0
        self._exposure = 0.0
        self._fresh = 0
        self._curve: LengthCurve | None = None
        self._answers: dict[tuple[int, int | None], Moments] = {}
        self.is_stale = True
        """The curve must not be used any more."""
        self.is_due = False
        """A better curve could be had: whoever has the time asks for `curve()`."""
        self.in_flight: list[tuple[int, int]] = []
        """(tokens seen, tokens at entry) of running requests; after a change, set `is_stale`."""

    @property
    def count(self) -> float:
        """Effective number of observations, running ones not included."""
        return self._total / self._weight

    @property
    def is_swayed_by_in_flight(self) -> bool:
        """Whether the running requests are enough, beside the finished ones, to move the curve."""
        return len(self.in_flight) > self.count * _REBUILD_SHARE / 2.0

    def add(self, length: int, *, entered: int = 0, is_censored: bool = False) -> None:
        """Learn one length; `is_censored` means that it would have been longer."""
        self.add_to_bin(bin_of(length), length, entered=entered, is_censored=is_censored)

    def add_to_bin(self, index: int, length: int, *, entered: int, is_censored: bool) -> None:
        """The same, for whoever knows its bin: several histories learn each length."""
        self._weight *= _GROWTH
        if self._weight > _WEIGHT_MAX:
            self._rescale()
        weight = self._weight
        if is_censored:
            self._censored[index] += weight
            self._censored_sum[index] += weight * length
        else:
            self._deaths[index] += weight
            self._death_sum[index] += weight * length
        if entered > 0:
            self._entries[bin_of(entered + 1)] += weight
            self._has_entries = True
        self._total += weight
        self._exposure += weight * (length - entered)
        self._fresh += 1
        grown = self._fresh * weight / self._total
        self.is_due = grown >= _REBUILD_SHARE
        self.is_stale = self.is_stale or grown >= 2.0 * _REBUILD_SHARE

    def curve(self) -> LengthCurve:
        """The survival curve, rebuilt only when enough has been learned since the last one."""
        if self._curve is None or self.is_stale or self.is_due:
            self._curve = self._build()
            self._answers.clear()
            self._fresh = 0
            self.is_stale = self.is_due = False
        return self._curve

    def remaining(self, index: int, bound: int | None) -> Moments:
        """`curve().remaining` from the floor of bin `index`, worked out once for each curve.

        A bin is about as wide as the floor that predictions get anyway, and every running request
        asks several histories a few times a second.
        """
        curve = self._curve
        if curve is None or self.is_stale:
            curve = self.curve()
        answer = self._answers.get((index, bound))
        if answer is None:
            if len(self._answers) >= _ANSWERS_MAX:
                self._answers.clear()
            answer = curve.remaining(bin_floor(index), bound)
            self._answers[index, bound] = answer
        return answer

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
        has_entries = self._has_entries
        for seen, entered in self.in_flight:
            index = bin_of(seen)
            censored[index] += weight
            censored_sum[index] += weight * seen
            exposure += weight * (seen - entered)
            if entered > 0:
                entries[bin_of(entered + 1)] += weight
                has_entries = True

        observed, unended = _suffix_sums(self._deaths, censored), _suffix_sums(censored)
        entered_later = _suffix_sums(entries) if has_entries else _NO_ENTRIES
        steps = self._steps(observed, entered_later, weight)
        end = bisect_left(unended, 0.0, key=neg) - 1
        last = 0.0 if end < 0 else censored_sum[end] / censored[end]
        # One imagined answer of the prior length keeps the rate defined when none has ended.
        tail = (exposure + weight * PRIOR_MEAN_TOKENS) / (sum(self._deaths) + weight)
        return _curve(
            steps, last, tail, _Evidence(weight, array("d", observed), array("d", unended))
        )

    def _steps(
        self, observed: list[float], entered: Sequence[float], weight: float
    ) -> list[tuple[float, float]]:
        """Where the curve steps down, and the share of those at risk that leaves there."""
        steps: list[tuple[float, float]] = []
        for index, dead in enumerate(self._deaths):
            if dead > 0.0:
                total, later = self._death_sum[index], observed[index + 1]
                at_risk = observed[index] - entered[index + 1]
                if later > 0.0 and at_risk <= dead * (1.0 + 1e-9):
                    # With delayed entries all of an early risk set can die while others are known
                    # to live longer; one of those is counted in, or the curve would end here.
                    at_risk = dead + min(weight, later)
                # Snapping keeps a family of constant length on its integer: *longer than 50* must
                # not hold for a mean of 50.000000000000007. (`round` takes as long as the rest.)
                where = int(total / dead * _SNAP + 0.5) / _SNAP
                steps.append((where, dead / at_risk if dead < at_risk else 1.0))
        return steps


def _curve(
    steps: list[tuple[float, float]],
    last: float,
    tail_mean: float,
    evidence: _Evidence,
) -> LengthCurve:
    """Walk down from 0 and integrate on the way.

    Beyond the last observation the survivors leave at the average rate so far: the exponential
    completion of Brown, Hollander and Korwar (1974), here as equal steps at the means of its
    octiles, which keeps its mean exact.
    """
    points, survival, areas, moments = [0.0], [1.0], [0.0], [0.0]
    before = area = moment = 0.0
    alive = 1.0
    if not steps or steps[-1][1] < 1.0:
        last = max(last, steps[-1][0] if steps else 0.0)
        steps = steps + [
            (last + tail_mean * mean, 1.0 / (_TAIL_STEPS - step))
            for step, mean in enumerate(_TAIL_MEANS)
        ]
    for where, share in steps:
        slab = alive * (where - before)
        area += slab
        moment += slab * (where + before) * 0.5
        alive -= alive * share
        before = where
        points.append(where)
        survival.append(alive)
        areas.append(area)
        moments.append(moment)
    return LengthCurve(
        array("d", points),
        array("d", survival),
        array("d", areas),
        array("d", moments),
        evidence,
    )


def _suffix_sums(*bins: Sequence[float]) -> list[float]:
    """Sum over each bin and all above it; one zero more than there are bins."""
    totals = bins[0] if len(bins) == 1 else map(add, *bins)
    sums = list(accumulate(reversed(list(totals)), initial=0.0))
    sums.reverse()
    return sums


def _exponential_octile_means() -> tuple[float, ...]:
    edges = [-math.log1p(-step / _TAIL_STEPS) for step in range(_TAIL_STEPS)]
    below = [(edge + 1.0) * math.exp(-edge) for edge in edges] + [0.0]
    return tuple(_TAIL_STEPS * (a - b) for a, b in pairwise(below))


_TAIL_MEANS: Final = _exponential_octile_means()


_NO_ENTRIES: Final = (0.0,) * (_BINS + 1)


def _zeros() -> array[float]:
    return array("d", bytes(8 * _BINS))
