"""The one place where an exception becomes an HTTP error: status, code, headers, body."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Protocol

import structlog

from stoker.api.wire import encode
from stoker.core.errors import (
    Conflict,
    DiskFull,
    EngineError,
    EngineRefused,
    InvalidRequest,
    JobNotDone,
    ModelNotFound,
    NotAllowed,
    NotFound,
    Rejected,
    StoreError,
    Unauthorized,
)
from stoker.core.reasons import Reason

Header = tuple[bytes, bytes]

RETRY_MAX_S = 120
"""The official OpenAI clients do not retry at all when told to wait longer."""
RETRY_SOON_S = 2.0
"""What a caller is told to wait where nothing better is known."""

log = structlog.get_logger("stoker.api")


class BodyTooLarge(Exception):
    """The request body, or the file in it, is above its limit."""

    def __init__(
        self, limit: int, *, what: str = "body", knob: str = "server.body_max_bytes"
    ) -> None:
        super().__init__(f"the {what} is larger than {limit} bytes ({knob})")
        self.limit = limit


class UnsupportedEncoding(Exception):
    """The request body is compressed."""

    def __init__(self, encoding: str) -> None:
        super().__init__(
            f"Content-Encoding: {encoding[:40]} is not read here; send the body as it is"
        )


class HeadTooLarge(Exception):
    """The head of a request does not end."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the request line and the headers are larger than {limit} bytes")


class MethodNotAllowed(Exception):
    """The path exists, but not with this method."""

    def __init__(self, method: str, path: str, allowed: str) -> None:
        super().__init__(f"{path} does not take {method}; it takes {allowed}")
        self.allowed = allowed


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as it goes out."""

    status: int
    body: bytes
    headers: Sequence[Header]


def id_headers(request_id: str) -> list[Header]:
    """The request's id: in our own header, and where OpenAI's and Anthropic's clients look."""
    id = request_id.encode()
    return [(b"x-stoker-request-id", id), (b"x-request-id", id), (b"request-id", id)]


class Describe(Protocol):
    """How a route words its errors."""

    def __call__(self, error: BaseException, *, request_id: str) -> Problem: ...


def problem(error: BaseException, *, request_id: str) -> Problem:
    """Describe any error for a client. Unexpected ones are logged here, with their traceback."""
    return _describe(error, request_id)


@singledispatch
def _describe(error: BaseException, request_id: str) -> Problem:
    log.error("internal error", request_id=request_id, exc_info=error)
    message = f"internal error; the log has the details under {request_id}"
    return _problem(500, message, code="internal_error", is_retryable=False)


@_describe.register
def _(error: InvalidRequest, _request_id: str) -> Problem:
    return _problem(400, str(error), code=error.code, param=error.param, is_retryable=False)


@_describe.register
def _(error: Unauthorized, _request_id: str) -> Problem:
    found = _problem(401, str(error), code=error.code, is_retryable=False)
    # A browser then asks for a user and a password: the key is the password.
    return Problem(found.status, found.body, [*found.headers, *_CHALLENGES])


@_describe.register
def _(error: NotAllowed, _request_id: str) -> Problem:
    return _problem(403, str(error), code=error.code, is_retryable=False)


@_describe.register
def _(error: NotFound, _request_id: str) -> Problem:
    return _problem(404, str(error), code=error.code, is_retryable=False)


@_describe.register
def _(error: ModelNotFound, _request_id: str) -> Problem:
    # As OpenAI words it: clients look at the code, some at the type.
    return _problem(
        404,
        str(error),
        code=error.code,
        param="model",
        is_retryable=False,
        kind="invalid_request_error",
    )


@_describe.register
def _(error: Conflict, _request_id: str) -> Problem:
    return _problem(409, str(error), code=error.code, is_retryable=False)


@_describe.register
def _(error: JobNotDone, _request_id: str) -> Problem:
    return _problem(408, str(error), code=error.code, is_retryable=True)


@_describe.register
def _(error: BodyTooLarge, _request_id: str) -> Problem:
    return _problem(413, str(error), code="body_too_large", is_retryable=False)


@_describe.register
def _(error: UnsupportedEncoding, _request_id: str) -> Problem:
    found = _problem(
        415,
        str(error),
        code="unsupported_encoding",
        param="Content-Encoding",
        is_retryable=False,
    )
    return Problem(found.status, found.body, [*found.headers, (b"accept-encoding", b"identity")])


@_describe.register
def _(error: HeadTooLarge, _request_id: str) -> Problem:
    found = _problem(431, str(error), code="head_too_large", is_retryable=False)
    return Problem(found.status, found.body, [*found.headers, (b"connection", b"close")])


@_describe.register
def _(error: MethodNotAllowed, _request_id: str) -> Problem:
    found = _problem(405, str(error), code="method_not_allowed", is_retryable=False)
    return Problem(found.status, found.body, [*found.headers, (b"allow", error.allowed.encode())])


@_describe.register
def _(error: StoreError, _request_id: str) -> Problem:
    return _problem(503, str(error), code=error.code, retry_after_s=RETRY_SOON_S, is_retryable=True)


@_describe.register
def _(error: DiskFull, _request_id: str) -> Problem:
    # Not retryable: a client's library would send the whole file three times at once.
    return _problem(507, str(error), code=error.code, is_retryable=False)


@_describe.register
def _(error: EngineError, _request_id: str) -> Problem:
    retry_after_s = RETRY_SOON_S if error.retryable else None
    return _problem(
        502,
        str(error),
        code=error.code,
        retry_after_s=retry_after_s,
        is_retryable=error.retryable,
    )


@_describe.register
def _(error: EngineRefused, _request_id: str) -> Problem:
    # Its own words and its own status, so that a client sees what it would see without us.
    headers = [(b"content-type", error.content_type.encode()), (b"x-stoker-reason", b"engine")]
    retry_after_s = error.retry_after_s
    if retry_after_s is None and error.status in _BUSY:
        retry_after_s = RETRY_SOON_S
    return Problem(
        error.status,
        error.body,
        [*headers, *_retry_headers(retry_after_s, is_retryable=error.retryable)],
    )


@_describe.register
def _(error: Rejected, _request_id: str) -> Problem:
    why = error.explanation
    return _problem(
        _STATUS_OF_REASON.get(why.reason, 503),
        str(error),
        code=why.reason.value,
        retry_after_s=error.retry_after_s,
        is_retryable=why.is_retryable and why.reason is not Reason.EXCEEDS_CAPACITY,
        reason=why.reason.value,
        knob=why.knob,
        measured=why.measured,
        limit=why.limit,
        note=why.note,
    )


_STATUS_OF_REASON = {
    Reason.EXCEEDS_CAPACITY: 400,
    Reason.QUEUE_FULL: 429,
    Reason.KEY_IN_FLIGHT: 429,
    Reason.KEY_QUEUED: 429,
    Reason.RATE_LIMIT_EXCEEDED: 429,
    Reason.QUEUE_TIMEOUT: 503,
    Reason.ENGINE_UNAVAILABLE: 503,
    Reason.DRAINING: 503,
}

_BUSY = frozenset({429, 503})
_CHALLENGES: list[Header] = [
    (b"www-authenticate", b"Bearer"),
    (b"www-authenticate", b'Basic realm="Stoker: the password is an API key"'),
]
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
}


def _problem(
    status: int,
    message: str,
    *,
    code: str,
    param: str | None = None,
    retry_after_s: float | None = None,
    is_retryable: bool,
    kind: str | None = None,
    **why: object,
) -> Problem:
    kind = (
        kind or _TYPES.get(status) or ("invalid_request_error" if status < 500 else "server_error")
    )
    error = {"message": message, "type": kind, "param": param, "code": code, **why}
    headers = [(b"content-type", b"application/json"), (b"x-stoker-reason", code.encode())]
    headers += _retry_headers(retry_after_s, is_retryable=is_retryable)
    return Problem(status, encode({"error": error}), headers)


def _retry_headers(retry_after_s: float | None, *, is_retryable: bool) -> list[Header]:
    headers = [(b"x-should-retry", b"true" if is_retryable else b"false")]
    if retry_after_s is not None and is_retryable:
        seconds = min(RETRY_MAX_S, max(1, math.ceil(retry_after_s)))
        headers.append((b"retry-after", str(seconds).encode()))
    return headers
