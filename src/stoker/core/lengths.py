"""How long answers get: a decayed Kaplan-Meier curve that learns from unfinished answers too.

Owns one history of lengths; the curve that it becomes is `length_curve.py`'s. Which requests share
one, and how several are blended, is `load.py`'s business.

Right after a start only short answers have finished; a plain average of finished lengths is then
biased short, and a forecast built on it overruns the KV cache. The product-limit estimator (Kaplan
and Meier, JASA 1958) counts an answer that is still running, or was cut off, as *at risk* up to
where it was last seen. An answer continued after a preemption is at risk only from where it was
continued (delayed entry, also called left truncation), so that no token is counted twice.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from operator import add, neg
from typing import Final

from stoker.core.length_curve import (
    BINS,
    Evidence,
    LengthCurve,
    Moments,
    bin_floor,
    bin_of,
    curve_of,
)
from stoker.core.length_drift import LengthDrift

HALF_LIFE: Final = 200
"""Observations after which one counts half: about 290 effective ones, next to none beyond 1,000."""
RESTORED_MAX: Final = 100.0
"""Observations that an earlier life counts as: soon outvoted, should the work have changed."""
PRIOR_MEAN_TOKENS: Final = 256.0
"""Expected output where nothing is known."""

_GROWTH: Final = 2.0 ** (1 / HALF_LIFE)
_WEIGHT_MAX: Final = 2.0**30
_FORGET: Final = 4.0
"""What was learned before answers became longer counts a quarter."""
_DRIFT_KNOWN: Final = 100.0
"""Effective observations from which on a curve can be told from another."""
# A curve is rebuilt once its history has grown by a quarter, at most 72 observations: late by a
# third of the half-life at worst, and a rebuild (80 µs) costs about 1 µs per observation. Decisions
# leave that to the next progress report, up to twice the growth, so that nobody's admission pays.
_REBUILD_SHARE: Final = 1 / 4

_ANSWERS_MAX: Final = 256
"""Per curve: bins that running answers pass through, times the bounds that clients set."""

_SNAP: Final = 2.0**20
_DIGITS: Final = 4


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
        "_drift",
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
        self._drift = LengthDrift()
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
        if self._has_drifted(length, entered, is_censored=is_censored):
            self._weight *= _FORGET
            self._curve = None
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

    def _has_drifted(self, length: int, entered: int, *, is_censored: bool) -> bool:
        """Whether this length shows, with those before, that the curve does not hold any more."""
        curve = self._curve
        if curve is None or self.count < _DRIFT_KNOWN:
            return False
        hazard = curve.hazard(length) - (curve.hazard(entered) if entered else 0.0)
        return self._drift.note(max(0.0, hazard), is_censored=is_censored)

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

    def state(self) -> list[float]:
        """All that was learned as plain numbers, one observation of now weighing 1: the exposure,
        and six numbers for each bin that has any. Means and not sums, so that a constant length is
        still constant when it comes back.
        """
        numbers, one = [round(self._exposure / self._weight, 1)], self._weight
        least = one * 10.0**-_DIGITS
        bins = zip(self._deaths, self._censored, self._entries, strict=True)
        for index, (deaths, censored, entries) in enumerate(bins):
            if deaths >= least or censored >= least or entries >= least:
                mean = self._death_sum[index] / deaths if deaths else 0.0
                seen = self._censored_sum[index] / censored if censored else 0.0
                row = (deaths / one, mean, censored / one, seen, entries / one)
                numbers.append(float(index))
                numbers += [round(number, _DIGITS) for number in row]
        return numbers

    def restore(self, numbers: Sequence[float]) -> None:
        """Take up what `state()` gave in an earlier life; it weighs as much as `RESTORED_MAX`
        observations at most. Raises `ValueError` for numbers that no life has written.
        """
        if not numbers or len(numbers) % 6 != 1 or not all(map(math.isfinite, numbers)):
            raise ValueError(f"{len(numbers)} numbers are no lengths")
        bins = [numbers[start : start + 6] for start in range(1, len(numbers), 6)]
        total = sum(dead + censored for _, dead, _, censored, _, _ in bins)
        share = min(1.0, RESTORED_MAX / total) if total > 0.0 else 0.0
        for number, dead, mean, censored, censored_mean, entries in bins:
            index = int(number)
            _check_bin(index, (dead, censored, entries), mean if dead else None)
            _check_bin(index, (), censored_mean if censored else None)
            self._deaths[index] = share * dead
            self._death_sum[index] = share * dead * mean
            self._censored[index] = share * censored
            self._censored_sum[index] = share * censored * censored_mean
            self._entries[index] = share * entries
            self._has_entries = self._has_entries or entries > 0.0
        self._weight, self._total = 1.0, share * total
        self._exposure = share * max(0.0, numbers[0])
        self.is_stale = True

    def _rescale(self) -> None:
        factor = 1.0 / self._weight
        for name in ("_deaths", "_death_sum", "_censored", "_censored_sum", "_entries"):
            setattr(self, name, [value * factor for value in getattr(self, name)])
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
        return curve_of(
            steps, last, tail, Evidence(weight, array("d", observed), array("d", unended))
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


def _check_bin(index: int, weights: Sequence[float], mean: float | None) -> None:
    if not 0 <= index < BINS or any(weight < 0.0 for weight in weights):
        raise ValueError(f"{index} {weights} is no bin of lengths")
    if mean is not None and bin_of(int(mean + 10.0**-_DIGITS)) != index:
        raise ValueError(f"{mean} tokens are not in bin {index}")


def _suffix_sums(*bins: Sequence[float]) -> list[float]:
    """Sum over each bin and all above it; one zero more than there are bins."""
    totals = bins[0] if len(bins) == 1 else map(add, *bins)
    sums = list(accumulate(reversed(list(totals)), initial=0.0))
    sums.reverse()
    return sums


_NO_ENTRIES: Final = (0.0,) * (BINS + 1)


def _zeros() -> list[float]:
    return [0.0] * BINS
