"""How long sessions stay away between two turns: a decayed histogram of what was seen.

Gaps are learned whether or not the session still had its place, else only short ones would be seen.
"""

from __future__ import annotations

import math
from typing import Final

START_S: Final = 10.0
"""Believed before anything is known, with the weight of four observations."""
QUANTILE: Final = 0.8
PATIENCE: Final = 0.9
"""Share of turns that a place is kept for. At 0.8, late turns lost their context to newcomers; at
0.95, room was kept for nobody: 1,136 tokens/s against 1,085 and 1,088 (`stoker sim agents`)."""
GAP_MAX_S: Final = 600.0
"""A longer gap is a person who came back, not a tool."""
_SHORTEST_S: Final = 0.05
_STEP: Final = math.log(1.25)
_DECAY: Final = 0.99
_FORGOTTEN: Final = 1e-3


class ToolTime:
    """Answers one question: within how long have four in five turns come?"""

    def __init__(self) -> None:
        self._weights: dict[int, float] = {_bin(START_S): 4.0}
        self.usual_s = START_S
        """Four in five turns have come within it."""
        self.patience_s = START_S
        """All but a few have."""

    def note(self, gap_s: float) -> None:
        """A session has come back after `gap_s`."""
        if gap_s > GAP_MAX_S:
            return
        decayed = {index: weight * _DECAY for index, weight in self._weights.items()}
        index = _bin(gap_s)
        decayed[index] = decayed.get(index, 0.0) + 1.0
        self._weights = {i: w for i, w in decayed.items() if w > _FORGOTTEN}
        self.usual_s, self.patience_s = self._quantile(QUANTILE), self._quantile(PATIENCE)

    def _quantile(self, share: float) -> float:
        wanted = share * sum(self._weights.values())
        for index in sorted(self._weights):
            wanted -= self._weights[index]
            if wanted <= 0.0:
                return _upper(index)
        return _upper(max(self._weights))


def _bin(gap_s: float) -> int:
    return math.ceil(math.log(max(gap_s, _SHORTEST_S) / START_S) / _STEP - 1e-9)


def _upper(index: int) -> float:
    """The longest gap that falls into the bin."""
    return START_S * math.exp(_STEP * index)
