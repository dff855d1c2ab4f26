"""What is known of one family of requests: its lengths, and its bytes per token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from stoker.core.lengths import LengthHistory

SHRINKAGE: Final = 20.0
"""Observations at which a group's own statistics weigh as much as its parent's."""
_RATIO_STEP: Final = 1 / 64
_RATIOS_RESTORED: Final = 64
_LOG_MAX: Final = 20.0


class Family:
    """Lengths of one family, and its bytes per token as a moving mean of logarithms.

    Logarithms, because an inlined picture is a thousand bytes per token and must not drown a
    hundred texts.
    """

    __slots__ = ("_log_ratio", "_ratios", "lengths")

    def __init__(self) -> None:
        self.lengths = LengthHistory()
        self._log_ratio = 0.0
        self._ratios = 0

    def learn_ratio(self, log_ratio: float) -> None:
        self._ratios += 1
        self._log_ratio += max(1.0 / self._ratios, _RATIO_STEP) * (log_ratio - self._log_ratio)

    def state(self) -> list[float]:
        return [float(self._ratios), self._log_ratio, *self.lengths.state()]

    def restore(self, numbers: Sequence[float]) -> None:
        if len(numbers) < 2 or not (0.0 <= numbers[0] < math.inf and abs(numbers[1]) < _LOG_MAX):
            raise ValueError(f"{numbers[:2]} is no number of bytes per token")
        self._ratios = min(int(numbers[0]), _RATIOS_RESTORED)
        self._log_ratio = numbers[1]
        self.lengths.restore(numbers[2:])

    def log_ratio(self, parent: float) -> float:
        return parent + self._ratios / (self._ratios + SHRINKAGE) * (self._log_ratio - parent)
