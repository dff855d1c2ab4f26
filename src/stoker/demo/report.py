"""From the journal to the numbers of the final table (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from stoker.demo.journal import Group, Journal
from stoker.runtime.meter import percentile


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle and the slow end of some measured seconds."""

    p50_s: float
    p95_s: float


@dataclass(frozen=True, slots=True)
class Row:
    """What one group of requests got. `None` is what the group does not have."""

    group: Group
    completed: int
    ttft: Spread | None
    e2e: Spread | None
    read_per_s: float
    """Prompt tokens of its answers, over the whole time of its phase."""
    written_per_s: float
    """Output tokens, likewise."""
    preempted: int | None
    resumed: int | None
    refused: int


class Condition(Enum):
    """What else the box was doing when a person asked."""

    ALONE = "alone"
    LEASED = "under a lease, backlog waiting"
    LEASED_BESIDE_AGENT = "under a lease, an agent being answered, too"
    UNLEASED = "without a lease, backlog running"


@dataclass(frozen=True, slots=True)
class Ratio:
    """P0's slow end under some condition, against P0 alone."""

    condition: Condition
    ttft_p95_s: float
    times: float
    count: int


@dataclass(frozen=True, slots=True)
class Report:
    rows: tuple[Row, ...]
    ratios: tuple[Ratio, ...]
    """First P0 alone (1.0), then every condition that was measured; empty without P0 alone."""
    jobs: int
    """Accepted, and so durable."""
    jobs_done: int
    cut_off: int
    failures: tuple[str, ...]

    @property
    def jobs_left(self) -> int:
        return self.jobs - self.jobs_done

    @property
    def is_success(self) -> bool:
        return self.jobs_done > 0 and not self.failures


def report(journal: Journal) -> Report:
    """Everything that the end of the demo says."""
    rows = tuple(_row(journal, group) for group in Group)
    return Report(
        rows=rows,
        ratios=tuple(_ratios(journal)),
        jobs=len(journal.jobs),
        jobs_done=len(journal.of(Group.DOCUMENTS)),
        cut_off=journal.cut_off.total(),
        failures=tuple(journal.failures),
    )


def spread(values: Iterable[float | None]) -> Spread | None:
    """Nearest-rank percentiles of what is there; `None` of nothing."""
    ordered = sorted(value for value in values if value is not None)
    p50, p95 = percentile(ordered, 0.50), percentile(ordered, 0.95)
    return None if p50 is None or p95 is None else Spread(p50, p95)


def _row(journal: Journal, group: Group) -> Row:
    answers = journal.of(group)
    seconds = journal.alone_s if group is Group.ALONE else journal.mixed_s
    is_durable = group is Group.DOCUMENTS
    return Row(
        group=group,
        completed=len(answers),
        ttft=spread(answer.ttft_s for answer in answers),
        # A job's end is when the backlog came to it: a number about the backlog, not the service.
        e2e=None if is_durable else spread(answer.e2e_s for answer in answers),
        read_per_s=_rate(sum(answer.prompt_tokens for answer in answers), seconds),
        written_per_s=_rate(sum(answer.output_tokens for answer in answers), seconds),
        preempted=journal.preempted if is_durable else None,
        resumed=journal.resumed if is_durable else None,
        refused=journal.refused[group],
    )


def _rate(tokens: int, seconds: float) -> float:
    return tokens / seconds if seconds > 0 else 0.0


def _ratios(journal: Journal) -> Iterator[Ratio]:
    leased = journal.of(Group.LEASED)
    answers = {
        Condition.ALONE: journal.of(Group.ALONE),
        Condition.LEASED: [answer for answer in leased if not answer.is_beside_agent],
        Condition.LEASED_BESIDE_AGENT: [answer for answer in leased if answer.is_beside_agent],
        Condition.UNLEASED: journal.of(Group.UNLEASED),
    }
    reference = spread(answer.ttft_s for answer in answers[Condition.ALONE])
    if reference is None:
        return
    for condition, found in answers.items():
        ttft = spread(answer.ttft_s for answer in found)
        if ttft is not None:
            yield Ratio(condition, ttft.p95_s, ttft.p95_s / reference.p95_s, len(found))
