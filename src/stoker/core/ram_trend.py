"""Where the host's RAM is going: its slope, a short forecast, the last fall, and who took it.

Numbers only, from the samples of the last seconds. `host_guard.py` decides what they mean.
"""

from __future__ import annotations

from collections import deque
from itertools import combinations
from statistics import median

WINDOW_S = 10.0
_SAMPLES_MAX = 16
_SAMPLES_LEAST = 4
"""Fewer are no trend: two that differ by noise would forecast the end of the world."""
_FALL_SHARE = 0.05
"""A loss of this share of what was left is a fall. `MemAvailable` wavers by 2 %: two of its
samples then differ by 3.9 % at most."""
_FALL_SHARE_OF_FLOOR = 1 / 32
"""And at least this much of the floor: with little left, 5 % of it is any process that starts."""

_GIB = 2**30


class RamTrend:
    """`MemAvailable` over the last `WINDOW_S`, and the engine's resident RAM where it is known."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int, int | None]] = deque(maxlen=_SAMPLES_MAX)
        self._top = 0.0
        self.available_bytes: int | None = None
        self.slope_bytes_per_s: float | None = None
        self.steady_since = float("-inf")
        """Since then nothing has been lost that counts as a fall."""
        self.fell_at = float("-inf")

    def note(self, at: float, available: int, engine_rss: int | None, *, floor: float) -> None:
        samples = self._samples
        while samples and samples[-1][0] >= at:
            samples.pop()
        while samples and samples[0][0] < at - WINDOW_S:
            samples.popleft()
        samples.append((at, available, engine_rss))
        if self.available_bytes is None:
            self._top, self.steady_since = float(available), at
        fall = max(_FALL_SHARE * self._top, _FALL_SHARE_OF_FLOOR * floor)
        if available < self._top - fall:
            self._top, self.steady_since, self.fell_at = float(available), at, at
        self._top = max(self._top, available)
        self.available_bytes = available
        self.slope_bytes_per_s = self._slope()

    def forecast_bytes(self, horizon_s: float) -> float | None:
        """What will be left in `horizon_s` if it goes on as in the last seconds."""
        if self.available_bytes is None or self.slope_bytes_per_s is None:
            return None
        return max(0.0, self.available_bytes + self.slope_bytes_per_s * horizon_s)

    def in_words(self) -> str | None:
        """How much has gone within the window, and how much of it the engine's process took."""
        if len(self._samples) < 2:
            return None
        (began, before, rss_before), (ended, now, rss_now) = self._samples[0], self._samples[-1]
        gone = before - now
        if gone <= 0:
            return None
        text = f"{gone / _GIB:.2f} GiB went in {ended - began:.0f} s"
        if rss_before is None or rss_now is None:
            return text
        grown = rss_now - rss_before
        who = "mostly into the engine's process" if grown > gone / 2 else "mostly to others"
        return f"{text}, {who} (the engine's grew by {grown / _GIB:.2f} GiB)"

    def _slope(self) -> float | None:
        """Theil and Sen's: the median over all pairs, which a single odd sample cannot turn."""
        if len(self._samples) < _SAMPLES_LEAST:
            return None
        return median(
            (later[1] - earlier[1]) / (later[0] - earlier[0])
            for earlier, later in combinations(self._samples, 2)
        )
