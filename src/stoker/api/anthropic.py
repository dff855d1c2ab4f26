"""Errors in Anthropic's shape, for the routes that its clients call."""

from __future__ import annotations

from typing import Any

import msgspec

from stoker.api.problems import Problem, problem
from stoker.api.wire import encode
from stoker.runtime.endpoints import MESSAGES


def anthropic_problem(error: BaseException, *, request_id: str) -> Problem:
    """Describe any error: Anthropic's words outside, our code, reason and numbers inside."""
    found = problem(error, request_id=request_id)
    document = _decoded(found.body)
    if document.get("type") == "error":  # vLLM's own already have the shape
        return found
    told = document.get("error")
    if not isinstance(told, dict):
        told = {"message": found.body[:500].decode(errors="replace")}
    fault = {**told, "type": _type(found.status), "message": str(told.get("message", ""))}
    body = encode({"type": "error", "error": fault, "request_id": request_id})
    kept = [one for one in found.headers if one[0] != b"content-type"]
    return Problem(found.status, body, [*kept, (b"content-type", b"application/json")])


def is_anthropic(path: str) -> bool:
    """Whether a path is one of Anthropic's."""
    return path == MESSAGES or path.startswith(MESSAGES + "/")


_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def _type(status: int) -> str:
    return _TYPES.get(status) or ("invalid_request_error" if status < 500 else "api_error")


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return document if isinstance(document, dict) else {}
