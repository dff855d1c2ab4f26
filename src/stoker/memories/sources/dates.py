"""Times as files write them: numbers since 1970, ISO 8601, e-mail's form; all to wall seconds."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# Before 1970 nothing was exported, and after 2200 a number was milliseconds, or no time at all.
_LATEST = 7.3e9


def wall_time(value: object) -> float | None:
    """Read a time in seconds; None for what is none. A time without a zone counts as UTC."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _from_number(float(value))
    if isinstance(value, str):
        return _from_text(value.strip()[:64])
    return None


def _from_number(value: float) -> float | None:
    for scale in (1.0, 1e3, 1e6, 1e9):  # seconds, milli-, micro-, nanoseconds
        if math.isfinite(value) and 0 < value / scale < _LATEST:
            return value / scale
    return None


def _from_text(text: str) -> float | None:
    if re.fullmatch(r"\d{9,19}(?:\.\d+)?", text):  # fewer digits are a year, or a day as 20240131
        return _from_number(float(text))
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return _stamp(read(text))
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def _stamp(at: datetime) -> float:
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
