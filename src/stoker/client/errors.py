"""From an error on the wire back to the exception that the fabric raised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from stoker.core.errors import (
    Conflict,
    EngineError,
    EngineInterrupted,
    EngineRefused,
    EngineUnreachable,
    InvalidRequest,
    NotAllowed,
    NotFound,
    Rejected,
    StokerError,
    StoreError,
    Unauthorized,
)
from stoker.core.reasons import Explanation, Reason


def from_response(status: int, body: bytes, headers: Mapping[str, str]) -> StokerError:
    """The exception behind an HTTP error."""
    if headers.get("x-stoker-reason") == "engine":
        return EngineRefused(status, body, headers.get("content-type", "application/json"))
    retry_after = headers.get("retry-after", "")
    retry_after_s = float(retry_after) if retry_after.isdecimal() else None
    try:
        error = msgspec.json.decode(body)["error"]
    except (msgspec.DecodeError, KeyError, TypeError):
        error = None
    if not isinstance(error, dict):
        text = body[:200].decode(errors="replace")
        return StokerError(f"the server answered {status}: {text}")
    return from_error(error, status=status, retry_after_s=retry_after_s)


def from_error(
    error: Mapping[str, Any], *, status: int = 500, retry_after_s: float | None = None
) -> StokerError:
    """The exception behind an `error` object, from a response or the last frame of a stream."""
    code, message = error.get("code"), str(error.get("message"))
    if "reason" in error and code in _REASONS:
        return Rejected(_explanation(error), retry_after_s=retry_after_s)
    if code in _ENGINE_ERRORS:
        return _ENGINE_ERRORS[code](message)
    if 400 <= status < 500:
        return _client_fault(status, message, code=code, param=error.get("param"))
    return StoreError(message) if code == StoreError.code else StokerError(message)


def _client_fault(status: int, message: str, *, code: str | None, param: str | None) -> StokerError:
    if status in _DOORS:
        return _DOORS[status](message)
    if status == 409:
        return Conflict(message, code=code)
    return InvalidRequest(message, param=param, code=code)


def _explanation(error: Mapping[str, Any]) -> Explanation:
    reason = Reason(error["reason"])
    return Explanation(
        reason,
        knob=error.get("knob"),
        measured=error.get("measured"),
        limit=error.get("limit"),
        is_retryable=reason is not Reason.EXCEEDS_CAPACITY,
        note=error.get("note"),
    )


_DOORS: dict[int, type[StokerError]] = {401: Unauthorized, 403: NotAllowed, 404: NotFound}
_REASONS = frozenset(reason.value for reason in Reason)
_ENGINE_ERRORS: dict[Any, type[EngineError]] = {
    kind.code: kind for kind in (EngineError, EngineUnreachable, EngineInterrupted)
}
