"""How soon the next P0 request follows: the gaps inside bursts, and the linger learned from them.

A person reads the answer and writes the next line; until then the box should not fill up. How long
that is differs from a typing assistant to a letter, so it is learned: a decayed histogram.
"""

from __future__ import annotations

import math
from typing import Final

LINGER_MIN_S: Final = 1.0
LINGER_MAX_S: Final = 4.0
"""Longer, it costs more background work than it saves people: at 9 to 11 s, where 80 % of the gaps
in Azure's conversations end, background work kept 7 % less for 3 % of P0's TTFT (ADR 12)."""
GAP_MAX_S: Final = 15.0
"""The longest gap inside a burst."""
LINGER_START_S: Final = 3.0

_SHARE: Final = 0.8
"""Gaps of this share are covered."""
_WORTH: Final = 0.2
"""Where fewer gaps than this are short at all, waiting for the next question is in vain."""
_GAPS_KNOWN: Final = 5.0
_KEEP: Final = 0.5 ** (1 / 50)
_BINS_PER_OCTAVE: Final = 4
_SHORTEST_S: Final = 0.25


class Gaps:
    """Decayed histogram of the times from one P0 request leaving to the next arriving."""

    def __init__(self) -> None:
        self._bins = [0.0] * (1 + _bin(GAP_MAX_S))
        self._long = 0.0

    def note(self, gap_s: float) -> None:
        self._bins = [count * _KEEP for count in self._bins]
        self._long *= _KEEP
        if gap_s > GAP_MAX_S:
            self._long += 1.0
        else:
            self._bins[_bin(gap_s)] += 1.0

    @property
    def linger_s(self) -> float:
        """How long to keep the box for the next question."""
        short = sum(self._bins)
        if short + self._long < _GAPS_KNOWN:
            return LINGER_START_S
        if short < _WORTH * (short + self._long):
            return LINGER_MIN_S
        covered = 0.0
        for index, count in enumerate(self._bins):
            covered += count
            if covered >= _SHARE * short:
                edge_s = _SHORTEST_S * math.exp2(index / _BINS_PER_OCTAVE)
                return min(LINGER_MAX_S, max(LINGER_MIN_S, edge_s))
        return LINGER_MAX_S


def _bin(gap_s: float) -> int:
    """The first bin whose upper edge reaches `gap_s`."""
    if gap_s <= _SHORTEST_S:
        return 0
    return math.ceil(_BINS_PER_OCTAVE * math.log2(gap_s / _SHORTEST_S) - 1e-9)
