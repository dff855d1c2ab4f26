"""The service curve as numbers: for people, for the optimizer's window, and for the log.

Apart from the curve, because it is written into logs and read back: its field types have to be seen
when the curve itself is compiled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServiceSnapshot:
    """The curve as numbers, for dashboards; `None` where it is not known."""

    is_known: bool
    samples: float
    """Effective ones: old ones count less."""
    batch_seen_min: int | None
    batch_seen_max: int | None
    base_s: float | None
    """a of t(B) = a + b * B**gamma."""
    per_batch_s: float | None
    """b."""
    gamma: float | None
    prefill_s_per_token: float | None
    prefill_base_s: float | None
    steps_s: Mapping[int, float]
    """t(B) at the powers of two that the evidence speaks for."""
