"""The exceptions a caller of Stoker can meet, each with a stable `code`.

Expected outcomes inside the core are values (`Reason`, `Action`); these are for the public edge:
`Fabric`, `Client`, adapters. `docs/reference/errors.md` lists every code with its HTTP status.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stoker.core.reasons import Explanation


class StokerError(Exception):
    """Base of every public exception."""

    code = "internal_error"


class InvalidRequest(StokerError):
    """The caller's input cannot be used; `param` names the field."""

    code = "invalid_request"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        if code is not None:
            self.code = code


class ConfigError(StokerError):
    """A configuration key is wrong; the message names the key and where it was set."""

    code = "invalid_config"


class Rejected(StokerError):
    """Admission refused the request. `explanation` has the reason, the knob and the numbers."""

    def __init__(self, explanation: Explanation, *, retry_after_s: float | None) -> None:
        super().__init__(explanation.message)
        self.explanation = explanation
        self.retry_after_s = retry_after_s
        self.code = explanation.reason.value


class Unauthorized(StokerError):
    """No API key, or none that is valid here."""

    code = "invalid_api_key"


class NotAllowed(StokerError):
    """The API key is valid, and does not allow this."""

    code = "not_allowed"


class NotFound(StokerError):
    """No job, lease or request has that id (or it has been pruned)."""

    code = "not_found"


class ModelNotFound(NotFound):
    """No engine here has a model of that name."""

    code = "model_not_found"


class Conflict(StokerError):
    """The thing exists, but not in a state that allows this."""

    code = "conflict"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class JobNotDone(StokerError):
    """`await_job` timed out; the job goes on. Await again at any time."""

    code = "job_not_done"


class JobFailed(StokerError):
    """The job ended without a result (`discarded` or `cancelled`)."""

    code = "job_failed"

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class CannotListen(StokerError):
    """The address cannot be had: taken, not ours, or not allowed."""

    code = "cannot_listen"


class CannotReplay(StokerError):
    """A recording has nothing that could be replayed; the message says why."""

    code = "cannot_replay"


class ServerUnreachable(StokerError):
    """No Stoker answers at that address."""

    code = "server_unreachable"


class EngineError(StokerError):
    """The engine could not be asked, or broke while it answered."""

    code = "engine_error"

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


class EngineUnreachable(EngineError):
    """No connection, or the connection broke before a single byte came."""

    code = "engine_unreachable"


class EngineInterrupted(EngineError):
    """The answer broke off, or stalled, after it had begun."""

    code = "engine_interrupted"


class EngineRefused(EngineError):
    """The engine answered with an HTTP error; `status` and `body` are its own, verbatim."""

    code = "engine_refused"

    def __init__(
        self,
        status: int,
        body: bytes,
        content_type: str = "application/json",
        *,
        retry_after_s: float | None = None,
    ) -> None:
        is_retryable = status in _RETRYABLE_STATUSES or (status >= 500 and status != 501)
        super().__init__(
            f"engine answered {status}: {body[:300].decode(errors='replace')}",
            retryable=is_retryable,
        )
        self.status = status
        self.body = body
        self.content_type = content_type
        self.retry_after_s = retry_after_s
        """When to come back, where the engine said it."""


# 501 is llama.cpp's word for what it was not started with: it will say so again.
_RETRYABLE_STATUSES = frozenset({408, 409, 425, 429})


class StoreError(StokerError):
    """The job store could not do what was asked; nothing half-done was left behind."""

    code = "store_error"


class DiskFull(StoreError):
    """No room in the data folder, or in its owner's quota."""

    code = "disk_full"
