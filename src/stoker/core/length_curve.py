"""A survival curve of lengths as a step function, and the bins that lengths are counted in.

Owns the arithmetic on one curve; where the curve comes from is `lengths.py`'s business.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise, repeat
from operator import add, mul, sub
from typing import Final, NamedTuple

# Bins are exact up to 15 tokens and then eight per octave, so a bin is at most 12.5 % wide. Within
# a bin the mean length is kept, so the mean of the curve is exact and only its shape is rounded.
_LAST_BIN: Final = 144  # 2**20 tokens and above
BINS: Final = _LAST_BIN + 1
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


class Moments(NamedTuple):
    """First two moments of a length still to come, and how many observations stand behind them."""

    known: float
    mean: float
    second: float


_NOTHING: Final = Moments(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Evidence:
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
        last = BINS if bound is None else max(first, bin_of(bound))
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
    evidence: Evidence

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

    def hazard(self, length: int) -> float:
        """-ln P(longer): how many times as long as usual it lasted, were lengths exponential. Where
        the curve steps down, half the step counts.
        """
        index = bisect_right(self.points, length) - 1
        alive = self.survival[index]
        if self.points[index] == length and index:
            alive = 0.5 * (alive + self.survival[index - 1])
        return -math.log(max(alive, 1e-9))

    def _integrals(self, tokens: int, index: int) -> tuple[float, float]:
        point = self.points[index]
        slab = self.survival[index] * (tokens - point)
        return self.area[index] + slab, self.moment[index] + slab * (tokens + point) * 0.5


def curve_of(
    steps: list[tuple[float, float]],
    last: float,
    tail_mean: float,
    evidence: Evidence,
) -> LengthCurve:
    """Walk down from 0 and integrate on the way.

    Beyond the last observation the survivors leave at the average rate so far: the exponential
    completion of Brown, Hollander and Korwar (1974), here as equal steps at the means of its
    octiles, which keeps its mean exact.
    """
    if not steps or steps[-1][1] < 1.0:
        last = max(last, steps[-1][0] if steps else 0.0)
        steps = steps + [
            (last + tail_mean * mean, 1.0 / (_TAIL_STEPS - step))
            for step, mean in enumerate(_TAIL_MEANS)
        ]
    points, survival, alive = [0.0], [1.0], 1.0
    for where, share in steps:
        alive -= alive * share
        points.append(where)
        survival.append(alive)
    # In C, not in a loop: curves are rebuilt several times a second.
    ends = points[1:]
    slabs = list(map(mul, survival, map(sub, ends, points)))
    middles = map(mul, map(add, ends, points), repeat(0.5))
    return LengthCurve(
        array("d", points),
        array("d", survival),
        array("d", accumulate(slabs, initial=0.0)),
        array("d", accumulate(map(mul, slabs, middles), initial=0.0)),
        evidence,
    )


def _exponential_octile_means() -> tuple[float, ...]:
    edges = [-math.log1p(-step / _TAIL_STEPS) for step in range(_TAIL_STEPS)]
    below = [(edge + 1.0) * math.exp(-edge) for edge in edges] + [0.0]
    return tuple(_TAIL_STEPS * (a - b) for a, b in pairwise(below))


_TAIL_MEANS: Final = _exponential_octile_means()
