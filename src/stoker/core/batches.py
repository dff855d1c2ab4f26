"""Batches and files as OpenAI's clients know them: records, statuses, legal steps. Times are wall
seconds. What a batch's lines go through is `jobs.py`'s: each of them is a job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any


class BatchStatus(Enum):
    VALIDATING = "validating"
    """Its lines are being read and checked."""
    FAILED = "failed"
    """The file cannot be used; `errors` says where. No line has run."""
    IN_PROGRESS = "in_progress"
    """Its lines become jobs and run."""
    FINALIZING = "finalizing"
    """Every line has ended; the output files are being written."""
    COMPLETED = "completed"
    EXPIRED = "expired"
    """The window ended first: what was done is in the output, the rest in the error file."""
    CANCELLING = "cancelling"
    """Its jobs are being stopped, and what was done is being written."""
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return not BATCH_STEPS[self]


_S = BatchStatus
BATCH_STEPS: dict[BatchStatus, frozenset[BatchStatus]] = {
    _S.VALIDATING: frozenset({_S.FAILED, _S.IN_PROGRESS, _S.CANCELLING}),
    _S.IN_PROGRESS: frozenset({_S.FINALIZING, _S.CANCELLING, _S.FAILED}),
    _S.FINALIZING: frozenset({_S.COMPLETED, _S.EXPIRED, _S.FAILED}),
    _S.CANCELLING: frozenset({_S.CANCELLED, _S.FAILED}),
    _S.FAILED: frozenset(),
    _S.COMPLETED: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.CANCELLED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class LineFault:
    """What is wrong with a line of the input (counted from 1), or with the whole file."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


@dataclass(frozen=True, slots=True)
class BatchUsage:
    """Tokens of all lines that were answered."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """Lines that there are, that were answered, and that ended otherwise."""

    total: int = 0
    completed: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch, as it is kept."""

    id: str
    tenant: str
    endpoint: str
    input_file_id: str
    completion_window: str
    """As it was sent, to the letter: clients compare it."""
    created_at: float
    expires_at: float
    status: BatchStatus = BatchStatus.VALIDATING
    reached: Mapping[str, float] = field(default_factory=dict)
    """When it came to each status but the first."""
    metadata: Mapping[str, str] | None = None
    output_expires_after_s: int | None = None
    model: str | None = None
    counts: BatchCounts = BatchCounts()
    """Of a batch that goes on, only `total` is kept: its jobs tell the rest."""
    usage: BatchUsage | None = None
    errors: tuple[LineFault, ...] = ()
    output_file_id: str | None = None
    error_file_id: str | None = None
    sent_bytes: int = 0
    """How far the input has been made jobs. It may be behind: a line has the same key again."""
    sent_line: int = 0


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What is known of a file; its content lies under its id."""

    id: str
    tenant: str
    filename: str
    """As the client calls it. Never part of a path."""
    purpose: str
    bytes: int
    created_at: float
    expires_at: float | None = None


def moved(batch: Batch, status: BatchStatus, now: float, **changes: Any) -> Batch:  # noqa: ANN401
    """The batch in its next status, with what else changes with that."""
    assert status in BATCH_STEPS[batch.status], f"{batch.id}: {batch.status} to {status}"
    reached = {**batch.reached, status.value: now}
    return replace(batch, status=status, reached=reached, **changes)


def cancelling(batch: Batch, now: float) -> Batch:
    """The batch after a request to cancel it; as it was where that is too late."""
    if BatchStatus.CANCELLING not in BATCH_STEPS[batch.status]:
        return batch
    return moved(batch, BatchStatus.CANCELLING, now)


def line_key(batch_id: str, line: int) -> str:
    """The idempotency key of a line's job: sent again after a crash, it is the same job."""
    return f"{batch_id}/{line}"
