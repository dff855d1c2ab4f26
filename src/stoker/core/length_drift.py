"""Have answers become longer than they were: Page's test on how far they outlast the others.

E. S. Page, Biometrika 1954, with the likelihood ratio of a hazard that has become a third of what
the known lengths say. A length L counts by its cumulative hazard H = -ln S(L), which is exponential
of mean 1 while nothing has changed, whatever the distribution; an answer that was cut off has
outlasted that much and not ended, as in Kaplan and Meier's curve.

Only longer: that is what overruns a cache, and shorter ones cannot be told so early. Of answers
that began together the short ones end first, one after the other, though nothing has changed.
"""

from __future__ import annotations

import math
from typing import Final

ALARM: Final = 7.0
"""Of the logarithm of the likelihood ratio: at least e^7 = 1,100 answers between false alarms."""
_RATIO: Final = 3.0
_LOG_RATIO: Final = math.log(_RATIO)
_HAZARD_MAX: Final = 5.0
"""One answer alone, however long, is no drift."""


class LengthDrift:
    __slots__ = ("_evidence",)

    def __init__(self) -> None:
        self._evidence = 0.0

    def note(self, hazard: float, *, is_censored: bool) -> bool:
        """Take one answer by its cumulative hazard; whether answers have surely become longer.
        After an alarm the test begins anew.
        """
        ended = 0.0 if is_censored else _LOG_RATIO
        outlasted = (1.0 - 1.0 / _RATIO) * min(hazard, _HAZARD_MAX)
        self._evidence = max(0.0, self._evidence + outlasted - ended)
        if self._evidence <= ALARM:
            return False
        self._evidence = 0.0
        return True
