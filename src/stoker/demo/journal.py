"""What the workload has seen, as its clients saw it: the one source of the table."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from stoker.core.work import JobId, Priority


class Group(Enum):
    """Requests that are measured together."""

    ALONE = "P0 alone"
    LEASED = "P0 under a lease"
    UNLEASED = "P0 without a lease"
    AGENTS = "P1 agents"
    DOCUMENTS = "P2 documents"

    @property
    def priority(self) -> Priority:
        return _PRIORITIES.get(self, Priority.P0)


_PRIORITIES = {Group.AGENTS: Priority.P1, Group.DOCUMENTS: Priority.P2}


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer. A job has no first token that anybody waited for."""

    group: Group
    ttft_s: float | None
    e2e_s: float
    prompt_tokens: int
    output_tokens: int
    is_beside_agent: bool = False
    """Whether an agent was being answered, too, before its first token came."""


@dataclass(slots=True)
class Journal:
    """Filled while the workload runs; read by the live view and, at the end, by the report."""

    answers: list[Answer] = field(default_factory=list)
    refused: Counter[Group] = field(default_factory=Counter)
    cut_off: Counter[Group] = field(default_factory=Counter)
    """Still being answered when the time was up; in no percentile."""
    failures: list[str] = field(default_factory=list)
    """What nobody expected, one line each."""
    jobs: dict[JobId, str] = field(default_factory=dict)
    """Every job that was accepted, and the name of its document."""
    latest: tuple[str, str] | None = None
    """The newest result of a job: its document's name, and what the model wrote."""
    preempted: int = 0
    resumed: int = 0
    alone_s: float = 0.0
    """How long the box had nothing but P0."""
    mixed_since: float | None = None
    """When everything began (monotonic)."""
    mixed_s: float = 0.0
    """How long it had everything; known at the end."""

    def of(self, group: Group) -> list[Answer]:
        """The answers of one group, in order."""
        return [answer for answer in self.answers if answer.group is group]
