"""The plain nouns of inference work: a request, its priority, what it used, how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final, NewType

RequestId = NewType("RequestId", str)
JobId = NewType("JobId", str)
LeaseId = NewType("LeaseId", str)


class Priority(IntEnum):
    """Lower runs first (vLLM's polarity)."""

    P0 = 0
    P1 = 1
    P2 = 2

    @property
    def label(self) -> str:
        return _LABELS[self]


# Python 3.11 finds a member of an Enum through Python code, five times as slow as a global, and the
# classes are compared dozens of times at each event.
P0: Final = Priority.P0
P1: Final = Priority.P1
P2: Final = Priority.P2

_LABELS = {P0: "p0", P1: "p1", P2: "p2"}


class Outcome(Enum):
    """How a request left. Only `FINISHED` may teach the predictor a length."""

    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PREEMPTED = "preempted"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a request really took, as the engine counted them."""

    prompt_tokens: int
    output_tokens: int
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One inference call as the scheduler sees it: never its text, only its size and standing."""

    id: RequestId
    priority: Priority
    prompt_bytes: int
    """Size of the prompt's JSON; the predictor turns it into tokens when no count is known."""
    prompt_tokens: int | None = None
    """Exact prompt tokens, where a tokenizer counted them."""
    max_tokens: int | None = None
    """The client's own bound on output tokens."""
    family: str = ""
    """Requests of one family (same template, same job kind) share a length distribution."""
    tenant: str = ""
    session: str = ""
    """Calls of one session keep its place between them; empty for a call on its own."""
    preemptible: bool = False
    """Whether the slot may be taken back while it runs."""
    deadline_at: float | None = None
    """Refuse it if it still waits then (monotonic seconds, the clock of the events)."""
    resumed_tokens: int = 0
    """Output tokens kept from a preempted run; they are prompt now."""
    job_id: JobId | None = None
