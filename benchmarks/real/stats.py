"""What is computed from times and counters once a run is over (pure)."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Series = Sequence[tuple[float, float]]
"""(moment, counter): a counter that only grows, as it was read, in order of time."""


def percentile(values: Iterable[float], share: float) -> float | None:
    """Between the two nearest ranks; `None` of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def share_within(values: Sequence[float], most: float) -> float | None:
    """The part of `values` that is at most `most`."""
    return sum(value <= most for value in values) / len(values) if values else None


def mean_of(values: Iterable[float | None]) -> float | None:
    """Mean of those that are known."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


@dataclass(frozen=True, slots=True)
class Window:
    """The seconds that count, on one clock."""

    began_at: float
    ended_at: float

    @property
    def length_s(self) -> float:
        return self.ended_at - self.began_at

    def __contains__(self, at: float) -> bool:
        return self.began_at <= at <= self.ended_at


def counter_at(series: Series, at: float) -> float | None:
    """The counter then: on a line between two readings; outside them, the nearest reading."""
    if not series:
        return None
    before = series[0]
    for after in series:
        if after[0] >= at:
            break
        before = after
    else:
        return series[-1][1]
    span = after[0] - before[0]
    part = (at - before[0]) / span if span > 0 else 0.0
    return before[1] + min(1.0, max(0.0, part)) * (after[1] - before[1])


def growth_per_s(series: Series, window: Window) -> float | None:
    """How fast the counter grew inside the window."""
    first, last = counter_at(series, window.began_at), counter_at(series, window.ended_at)
    if first is None or last is None or window.length_s <= 0:
        return None
    return (last - first) / window.length_s


def rates(series: Series, window: Window, bin_s: float) -> list[float]:
    """Growth per second in each whole bin of the window."""
    count = int((window.length_s + 1e-9) / bin_s)
    bins = [
        Window(window.began_at + index * bin_s, window.began_at + (index + 1) * bin_s)
        for index in range(count)
    ]
    found = [growth_per_s(series, one) for one in bins]
    return [rate for rate in found if rate is not None]


def variation(values: Sequence[float]) -> float | None:
    """Coefficient of variation; `None` of fewer than two values, or of nothing but zeros."""
    if len(values) < 2 or not (mean := statistics.fmean(values)):
        return None
    return statistics.stdev(values) / mean


def time_to(series: Series, window: Window, goal_per_s: float, *, over_s: float) -> float | None:
    """Seconds from the window's begin to the end of the first `over_s` seconds at the goal."""
    step_s = min(1.0, over_s)
    end = window.began_at + over_s
    while end <= window.ended_at + 1e-9:
        rate = growth_per_s(series, Window(end - over_s, end))
        if rate is not None and rate >= goal_per_s:
            return end - window.began_at
        end += step_s
    return None
