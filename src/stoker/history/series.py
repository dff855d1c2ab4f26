"""The shape of a sample: what one engine, or the box, looked like over a short time. Pure.

Three kinds of numbers, because each is put together in another way: what is counted is added, a
gauge has its mean and its extremes over the time that it was seen, and times of requests are kept
as counts per bin, so that percentiles of hours are as good as those of seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

BOX = ""
"""In place of an engine's name: what is the whole box's."""
_BINS_PER_DOUBLING = 8
_BIN_ZERO_S = 1e-4


@dataclass(slots=True)
class Gauge:
    """A number over the time that it was known."""

    seen_s: float
    integral: float
    least: float
    most: float

    @property
    def mean(self) -> float:
        return self.integral / self.seen_s

    def add(self, other: Gauge) -> None:
        self.seen_s += other.seen_s
        self.integral += other.integral
        self.least = min(self.least, other.least)
        self.most = max(self.most, other.most)


@dataclass(slots=True)
class Sample:
    """Numbers of one period, by the names of their series."""

    covered_s: float = 0.0
    """For how long somebody looked: rates are per second of this."""
    sums: dict[str, float] = field(default_factory=dict)
    gauges: dict[str, Gauge] = field(default_factory=dict)
    times: dict[str, dict[int, int]] = field(default_factory=dict)
    """Times of requests, as how many fell into each bin."""

    def count(self, name: str, amount: float) -> None:
        if amount:
            self.sums[name] = self.sums.get(name, 0.0) + amount

    def see(self, name: str, value: float | None, seconds: float) -> None:
        """A gauge that had this value for so long; one that nobody knows is left out."""
        if value is None or seconds <= 0:
            return
        seen = Gauge(seconds, value * seconds, value, value)
        known = self.gauges.get(name)
        if known is None:
            self.gauges[name] = seen
        else:
            known.add(seen)

    def time(self, name: str, seconds: float | None) -> None:
        if seconds is not None:
            bins = self.times.setdefault(name, {})
            bin = bin_of(seconds)
            bins[bin] = bins.get(bin, 0) + 1

    def add(self, other: Sample) -> None:
        """Put the numbers of another period into this one."""
        self.covered_s += other.covered_s
        for name, amount in other.sums.items():
            self.count(name, amount)
        for name, gauge in other.gauges.items():
            known = self.gauges.get(name)
            if known is None:
                self.gauges[name] = Gauge(gauge.seen_s, gauge.integral, gauge.least, gauge.most)
            else:
                known.add(gauge)
        for name, bins in other.times.items():
            mine = self.times.setdefault(name, {})
            for bin, count in bins.items():
                mine[bin] = mine.get(bin, 0) + count

    def names(self) -> Iterable[str]:
        yield from self.sums
        yield from self.gauges
        yield from self.times

    def only(self, prefixes: tuple[str, ...]) -> Sample:
        """The same with those series alone whose names begin so."""
        return Sample(
            self.covered_s,
            {name: value for name, value in self.sums.items() if name.startswith(prefixes)},
            {name: value for name, value in self.gauges.items() if name.startswith(prefixes)},
            {name: value for name, value in self.times.items() if name.startswith(prefixes)},
        )


def merged(samples: Iterable[Sample]) -> Sample:
    """All periods as one."""
    whole = Sample()
    for sample in samples:
        whole.add(sample)
    return whole


def bin_of(seconds: float) -> int:
    """Bins are 9 % wide, whatever the time."""
    if seconds <= _BIN_ZERO_S:
        return 0
    return 1 + math.floor(_BINS_PER_DOUBLING * math.log2(seconds / _BIN_ZERO_S))


def bin_middle_s(bin: int) -> float:
    if bin <= 0:
        return _BIN_ZERO_S
    return float(_BIN_ZERO_S * 2 ** ((bin - 0.5) / _BINS_PER_DOUBLING))


def percentile_s(bins: Mapping[int, int], share: float) -> float | None:
    """Nearest rank, to within half a bin; `None` of nothing."""
    total = sum(bins.values())
    if not total:
        return None
    rank, seen = max(1, math.ceil(share * total)), 0
    for bin in sorted(bins):
        seen += bins[bin]
        if seen >= rank:
            return bin_middle_s(bin)
    raise AssertionError("the rank is above the count")
