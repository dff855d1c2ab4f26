"""Where the cosines of each embedding model mean something: fitted on a fixed set of pairs.

The fit takes the calibration part of `stoker.testing.merge_gold`, whose frames no test uses;
`benchmarks/bench_merge.py` repeats it and shows how far it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stoker.memories.merge import LEXICAL, Calibration

_FITTED: Final = {
    "lexical": LEXICAL,
    "wordllama-l2-256": Calibration(duplicate=0.97, related=0.67),
    "all-minilm-l6-v2": Calibration(duplicate=0.95, related=0.82),
}
UNKNOWN: Final = Calibration(duplicate=2.0, related=0.5)
"""For a model that nobody has measured: what code cannot tell without it goes to the judge."""
_MARGIN: Final = 0.05


def calibration(model_id: str) -> Calibration:
    """The thresholds of a model; careful ones if it was never calibrated."""
    return _FITTED.get(model_id, UNKNOWN)


def fit(same: Sequence[float], different: Sequence[float]) -> Calibration:
    """Thresholds from the similarities of paraphrases, and of pairs that differ in one word."""
    worst = min(same, default=UNKNOWN.related + _MARGIN)
    return Calibration(
        duplicate=round(max(different, default=UNKNOWN.duplicate), 2) + 0.005,
        related=round(worst - _MARGIN, 2),
    )
