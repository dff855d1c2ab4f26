"""Times as people write them: `12h` ago, a date, or seconds since 1970."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LATEST = 2.0**37


def parse_when(text: str, now: float) -> float:
    """Seconds since 1970; a date without a zone is UTC. Raises `ValueError` with what to write."""
    ago = _AGO.fullmatch(text.strip())
    if ago is not None:
        return now - float(ago[1]) * _UNIT_S[ago[2]]
    try:
        seconds = float(text)
    except ValueError:
        seconds = _date(text)
    if not math.isfinite(seconds) or abs(seconds) > _LATEST:
        raise ValueError(_PROBLEM.format(text[:80]))
    return seconds


def _date(text: str) -> float:
    try:
        date = datetime.fromisoformat(text.strip())
    except ValueError:
        return math.nan
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


_PROBLEM = "{!r} is no time: write 90m, 12h or 3d for so long ago, a date, or seconds since 1970"
