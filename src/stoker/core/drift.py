"""Has the work changed under us: a two-sided Page-Hinkley test on the residuals of a fit.

E. S. Page, Biometrika 1954, in the cumulative form of Hinkley (Biometrika 1971).
"""

from __future__ import annotations

ALLOWED = 1.0
"""Residual, in standard deviations, that is never held against the fit."""
ALARM = 12.0
"""Excess deviations, summed, that count as a change: four ticks in a row at four deviations."""


class Drift:
    def __init__(self) -> None:
        self._up = 0.0
        self._down = 0.0

    def note(self, deviations: float) -> bool:
        """Take one residual in standard deviations; whether it is now beyond noise."""
        self._up = max(0.0, self._up + deviations - ALLOWED)
        self._down = max(0.0, self._down - deviations - ALLOWED)
        if max(self._up, self._down) <= ALARM:
            return False
        self.reset()
        return True

    def reset(self) -> None:
        self._up = self._down = 0.0
