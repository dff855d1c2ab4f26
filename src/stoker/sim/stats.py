"""Small sums over samples: percentiles, evenness, and when a level was reached."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from itertools import accumulate


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Nearest-rank percentile of sorted values; `None` of nothing."""
    if not ordered:
        return None
    return ordered[max(0, min(len(ordered) - 1, round(share * (len(ordered) - 1))))]


def weighted_percentiles(
    pairs: Iterable[tuple[float, int]], shares: Sequence[float]
) -> list[float | None]:
    """Percentiles of values that each stand for a number of equal ones."""
    ordered = sorted(pairs)
    sums = list(accumulate(count for _, count in ordered))
    found: list[float | None] = []
    for share in shares:
        aim = share * sums[-1] if sums else 0.0
        index = next((i for i, upto in enumerate(sums) if upto >= aim), None)
        found.append(None if index is None else ordered[index][0])
    return found


def variation(values: Sequence[float]) -> float | None:
    """Standard deviation over mean; `None` of fewer than two values, or of nothing but zeros."""
    if len(values) < 2 or not any(values):
        return None
    return statistics.pstdev(values) / statistics.fmean(values)


def variation_within(groups: Iterable[Sequence[float]]) -> float | None:
    """Variation of values around the mean of their own group; `None` as in `variation`."""
    shares = []
    for values in groups:
        mean = statistics.fmean(values) if values else 0.0
        shares += [value / mean if mean else 0.0 for value in values]
    return variation(shares)


def jain(shares: Sequence[float]) -> float | None:
    """1 when all get the same, 1/n when one gets all; `None` of nothing."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else None


def rate(times: Sequence[float], counts: Sequence[float], start: float, end: float) -> float:
    """Mean growth per second of a running total between two instants."""
    first = next((i for i, at in enumerate(times) if at >= start), len(times) - 1)
    last = max((i for i, at in enumerate(times) if at <= end), default=0)
    if last <= first:
        return 0.0
    return (counts[last] - counts[first]) / (times[last] - times[first])


def windows(
    times: Sequence[float], counts: Sequence[float], start: float, end: float, width_s: float
) -> list[float]:
    """Mean growth in each whole window of `width_s` that lies one after the other."""
    found = []
    while start + width_s <= end + 1e-9:
        found.append(rate(times, counts, start, start + width_s))
        start += width_s
    return found


def time_to_level(
    times: Sequence[float],
    counts: Sequence[float],
    level: float,
    *,
    start: float,
    hold_s: float = 60.0,
) -> float | None:
    """Seconds from `start` until the mean rate over the next `hold_s` is at least `level`."""
    for at in times:
        if at < start:
            continue
        if at + hold_s > times[-1] + 1e-9:
            break
        if rate(times, counts, at, at + hold_s) >= level:
            return at - start
    return None
