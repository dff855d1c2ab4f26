"""The JSON shapes of the HTTP surface, and how core types become them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw

from stoker.core.work import Usage
from stoker.ports import Job

NO_RESULT = Raw(b"null")


class LeaseRequest(msgspec.Struct):
    seconds: Annotated[float, Meta(gt=0)]


class LeaseDocument(msgspec.Struct):
    lease_id: str
    expires_in_s: float


class Tokens(msgspec.Struct):
    """Usage in OpenAI's words."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class JobFault(msgspec.Struct):
    code: str
    message: str


class JobDocument(msgspec.Struct):
    """A job as its owner sees it. `result` is the engine's body, byte for byte."""

    job_id: str
    status: str
    class_: str = msgspec.field(name="class")
    result: Raw
    error: JobFault | None
    attempts: int
    max_attempts: int
    preemptions: int
    reason: str | None
    usage: Tokens | None
    endpoint: str
    key: str | None
    batch: str | None
    is_cancel_requested: bool
    run_at: float | None
    deadline_at: float | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    engine: str | None = None
    """The engine that it is for; null is whichever is the default."""


class JobAccepted(msgspec.Struct):
    """The answer to an enqueue. `is_new` is false when its key was known already."""

    job_id: str
    status: str
    class_: str = msgspec.field(name="class", default="p2")
    is_new: bool = True


class JobList(msgspec.Struct):
    data: list[JobDocument]
    has_more: bool
    counts: dict[str, int]
    object: str = "list"


def job_document(job: Job, *, reason: str | None, result: bytes | None = None) -> JobDocument:
    """Describe a job. `reason` says why it waits, if it does."""
    return JobDocument(
        job_id=job.id,
        status=job.state.value,
        class_="p2",
        result=NO_RESULT if result is None else Raw(result),
        error=None if job.error is None else JobFault(job.error.code, job.error.message),
        attempts=job.attempts,
        max_attempts=job.max_attempts,
        preemptions=job.preemptions,
        reason=reason,
        usage=None if job.usage is None else tokens(job.usage),
        endpoint=job.endpoint,
        key=job.key,
        batch=job.batch,
        is_cancel_requested=job.is_cancel_requested,
        engine=job.engine or None,
        run_at=job.run_at,
        deadline_at=job.deadline_at,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def tokens(usage: Usage) -> Tokens:
    """A core usage in OpenAI's words."""
    total = usage.prompt_tokens + usage.output_tokens
    return Tokens(usage.prompt_tokens, usage.output_tokens, total)


def encode(value: Any) -> bytes:  # noqa: ANN401 - whatever JSON can say
    """JSON bytes; what JSON has no word for becomes its text."""
    return msgspec.json.encode(value, enc_hook=str)
