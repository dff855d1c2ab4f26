"""Times as people write them: seconds since the epoch, or an ISO date."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from stoker.core.errors import InvalidRequest


def moment(value: float | str | None, param: str) -> float | None:
    """Wall seconds. A date without a zone is UTC. Raises `InvalidRequest`."""
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = _from_iso(str(value), param)
    if not (math.isfinite(seconds) and abs(seconds) < 1e12):
        raise InvalidRequest(f"{param}: {value!r} is no time", param=param)
    return seconds


def _from_iso(text: str, param: str) -> float:
    try:
        at = datetime.fromisoformat(text.strip().replace(" ", "T", 1))
    except ValueError:
        raise InvalidRequest(
            f"{param}: {text[:40]!r} is no time; write it as 2024-05-01, 2024-05-01T12:00:00Z or"
            " in seconds since 1970",
            param=param,
        ) from None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
