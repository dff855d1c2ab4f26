"""Orders out. Each names the event that caused it, so that a log can be read backwards."""

from __future__ import annotations

from dataclasses import dataclass

from stoker.core.reasons import Explanation
from stoker.core.work import RequestId


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Send it to the engine now; the scheduler already counts it as running."""

    id: RequestId
    cause: str


@dataclass(frozen=True, slots=True)
class Reject:
    id: RequestId
    explanation: Explanation
    retry_after_s: float | None
    cause: str


@dataclass(frozen=True, slots=True)
class Preempt:
    """Send a background job back to the store, running or still waiting here.

    Answer with `Left(PREEMPTED)`.
    """

    id: RequestId
    cause: str


@dataclass(frozen=True, slots=True)
class Abort:
    """The engine is gone under a running request: end it now with an error that says so."""

    id: RequestId
    note: str
    cause: str


@dataclass(frozen=True, slots=True)
class ClaimJobs:
    """There is room for `count` more background jobs; answer with `JobsClaimed`."""

    count: int
    cause: str
    family: str = ""
    """Those of this family first, if it is named; then the oldest."""
    tenant: str | None = None
    """Only this tenant's; `None` for whoever's are the oldest."""


Action = Dispatch | Reject | Preempt | Abort | ClaimJobs
