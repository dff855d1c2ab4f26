"""Short words for what the suite's tests do again and again."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

from stoker.core.jobs import Failure, JobError, JobState
from stoker.core.work import JobId, Usage
from stoker.ports import ClaimedJob, Job, JobStore, NewJob

ErrorType = TypeVar("ErrorType", bound=Exception)

CHAT = "/v1/chat/completions"
LEASE_S = 30.0
RETRY_AT = Failure(JobState.RETRYABLE, 50.0, JobError("engine_error", "the engine broke"))
DISCARD = Failure(JobState.DISCARDED, None, JobError("invalid_request", "no such model"))
USAGE = Usage(prompt_tokens=11, output_tokens=22, cached_tokens=None)


def new_job(name: str, **fields: Any) -> NewJob:  # noqa: ANN401
    """A chat job called `name`, with whatever else the test says."""
    fields = {"endpoint": CHAT, "body": f"body of {name}".encode(), **fields}
    return NewJob(id=JobId(name), **fields)


async def enqueued(store: JobStore, *names: str, now: float = 0.0, **fields: Any) -> None:  # noqa: ANN401
    """Put one plain job per name into the store."""
    await store.enqueue([new_job(name, **fields) for name in names], now=now)


async def claimed(store: JobStore, *, now: float = 1.0) -> ClaimedJob:
    """Claim exactly one."""
    (one,) = await store.claim(1, lease_s=LEASE_S, now=now)
    return one


async def raised(kind: type[ErrorType], attempt: Awaitable[object]) -> ErrorType:
    """The error that the attempt must end in."""
    try:
        await attempt
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def names(jobs: list[Job]) -> list[str]:
    """Their ids, in order."""
    return [job.id for job in jobs]
