"""A background job as an OpenAI Response: what was asked, where it stands, what the engine said."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from stoker.core.errors import NotFound
from stoker.core.jobs import JobState
from stoker.core.work import JobId
from stoker.ports import Job

RESPONSE_PREFIX, _JOB_PREFIX = "resp_", "job_"


def response_id(id: JobId) -> str:
    """The name under which OpenAI's clients know a job."""
    return RESPONSE_PREFIX + id.removeprefix(_JOB_PREFIX)


def job_of(response_id: str) -> JobId:
    """The job behind a Response. Raises `NotFound` for an id that is none of ours."""
    if not response_id.startswith(RESPONSE_PREFIX):
        raise no_response(response_id)
    return JobId(_JOB_PREFIX + response_id.removeprefix(RESPONSE_PREFIX))


def no_response(id: str) -> NotFound:
    """Nobody has that Response."""
    return NotFound(
        f"no Response {id[:80]}: only those with `background: true` are kept, and for "
        "jobs.retention_s after they ended"
    )


def is_streamed(body: bytes) -> bool:
    """Whether it was asked for as a stream."""
    return _fields(body).get("stream") == _TRUE


def response_document(job: Job, body: bytes, result: bytes | None) -> dict[str, object]:
    """The Response as it is now, with every field that clients rely on."""
    asked = _fields(body)
    echoed = {name: asked.get(name, default) for name, default in _ECHOED.items()}
    answer = {} if result is None else _fields(result)
    status: object = answer.get("status") or _STATUS[job.state]
    error: object = answer.get("error")
    if job.error is not None and job.state is JobState.DISCARDED:
        error = {"code": job.error.code, "message": job.error.message}
    return {
        **_NOTHING_YET,
        **echoed,
        **answer,
        "id": response_id(job.id),
        "object": "response",
        "created_at": int(job.created_at),
        "completed_at": None if job.finished_at is None else int(job.finished_at),
        "status": status,
        "background": True,
        "service_tier": "flex",
        "error": error,
    }


_STATUS = {
    JobState.SCHEDULED: "queued",
    JobState.AVAILABLE: "queued",
    JobState.RETRYABLE: "queued",
    JobState.RUNNING: "in_progress",
    JobState.COMPLETED: "completed",
    JobState.CANCELLED: "cancelled",
    JobState.DISCARDED: "failed",
}

_NOTHING_YET: dict[str, object] = {"incomplete_details": None, "output": [], "usage": None}
_ECHOED: dict[str, object] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "model": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": None,
    "safety_identifier": None,
    "store": True,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": None,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
"""Fields that a Response repeats from its request, with what they are where it has none."""


def _fields(document: bytes) -> dict[str, Raw]:
    found: dict[str, Raw] = msgspec.json.decode(document, type=dict[str, Raw])
    return {name: value for name, value in found.items() if value != _NULL}


_NULL, _TRUE = Raw(b"null"), Raw(b"true")
