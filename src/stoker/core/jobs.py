"""Job states, the legal transitions between them, and retry arithmetic. Times are wall seconds.

River's and Oban's state machine and words. A store carries these out; it decides nothing itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class JobState(Enum):
    SCHEDULED = "scheduled"
    """Not before `run_at`."""
    AVAILABLE = "available"
    """May be claimed."""
    RUNNING = "running"
    """Claimed by a worker that holds its lease."""
    RETRYABLE = "retryable"
    """Failed; available again at `run_at`."""
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"
    """Failed for good: attempts used up, a permanent error, or its deadline has passed."""

    @property
    def is_final(self) -> bool:
        return not TRANSITIONS[self]


TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.SCHEDULED: frozenset({JobState.AVAILABLE, JobState.CANCELLED, JobState.DISCARDED}),
    JobState.AVAILABLE: frozenset({JobState.RUNNING, JobState.CANCELLED, JobState.DISCARDED}),
    JobState.RUNNING: frozenset(
        {
            JobState.COMPLETED,
            JobState.RETRYABLE,
            JobState.AVAILABLE,
            JobState.CANCELLED,
            JobState.DISCARDED,
        }
    ),
    JobState.RETRYABLE: frozenset({JobState.AVAILABLE, JobState.CANCELLED, JobState.DISCARDED}),
    JobState.COMPLETED: frozenset(),
    JobState.CANCELLED: frozenset(),
    JobState.DISCARDED: frozenset(),
}
"""`retry` by a person is not a transition: it resets a final row as a new life of the same job."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    max_attempts: int = 5
    first_delay_s: float = 2.0
    factor: float = 3.0
    max_delay_s: float = 600.0


@dataclass(frozen=True, slots=True)
class JobError:
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Where a failed attempt leads: `RETRYABLE` at `run_at`, or `DISCARDED`."""

    state: JobState
    run_at: float | None
    error: JobError


def after_failure(
    error: JobError,
    *,
    is_retryable: bool,
    attempts: int,
    max_attempts: int,
    deadline_at: float | None,
    now: float,
    policy: RetryPolicy,
) -> Failure:
    """Decide what a failed attempt becomes. `attempts` includes the one that just failed."""
    run_at = now + retry_delay_s(attempts, policy)
    if not is_retryable or attempts >= max_attempts:
        return Failure(JobState.DISCARDED, None, error)
    if deadline_at is not None and run_at >= deadline_at:
        return Failure(JobState.DISCARDED, None, error)
    return Failure(JobState.RETRYABLE, run_at, error)


def retry_delay_s(attempts: int, policy: RetryPolicy) -> float:
    """Exponential backoff after `attempts` failures (1 = after the first)."""
    return min(policy.max_delay_s, policy.first_delay_s * policy.factor ** (attempts - 1))


def is_legal(before: JobState, after: JobState) -> bool:
    return after in TRANSITIONS[before]
