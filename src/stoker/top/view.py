"""What is on the screen: the last state of the service, what changed, and what a person chose."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

State = Mapping[str, Any]
Job = Mapping[str, Any]

REASONS_KEPT = 50


@dataclass(frozen=True, slots=True)
class Told:
    """One reason that was given since the look before, and how often."""

    clock: str
    engine: str
    priority: str
    reason: str
    count: int


@dataclass(slots=True)
class View:
    """Everything that a frame is drawn from."""

    url: str
    state: State | None = None
    jobs: list[Job] = field(default_factory=list)
    trouble: str | None = None
    """Why the service does not answer; the last state stays on the screen, dimmed."""
    message: str = ""
    """What the last key did."""
    is_asking: bool = False
    """Whether a key waits for its confirmation."""
    chosen: int = 0
    clock: str = ""
    told: deque[Told] = field(default_factory=lambda: deque(maxlen=REASONS_KEPT))
    rates: dict[tuple[str, str], float] = field(default_factory=dict)
    """Output tokens per second, by engine and class."""

    def saw(self, state: State, jobs: list[Job], clock: str) -> None:
        """Take a new look, and find out what has changed since the one before."""
        before, self.trouble, self.clock = self.state, None, clock
        # A service that was restarted counts from nothing: there is nothing to compare.
        if before is not None and state["uptime_s"] > before["uptime_s"]:
            self._compare(before, state)
        self.state, self.jobs = state, jobs
        self.chosen = max(0, min(self.chosen, len(jobs) - 1))

    def missed(self, trouble: str, clock: str) -> None:
        """The service did not answer."""
        self.trouble, self.clock = trouble, clock

    @property
    def job(self) -> Job | None:
        """The one that is chosen."""
        return self.jobs[self.chosen] if self.jobs else None

    def choose(self, step: int) -> None:
        """Go up or down in the list of jobs."""
        self.chosen = max(0, min(self.chosen + step, len(self.jobs) - 1))

    def _compare(self, before: State, state: State) -> None:
        elapsed_s = state["uptime_s"] - before["uptime_s"]
        for name, one in state["engines"].items():
            old = before["engines"].get(name)
            if old is None:
                continue
            for priority, view in one["scheduler"]["classes"].items():
                tokens = view["output_tokens_total"]
                tokens -= old["scheduler"]["classes"][priority]["output_tokens_total"]
                self.rates[name, priority] = tokens / elapsed_s
            self.told.extend(_told(name, old, one, self.clock))


def _told(engine: str, before: State, state: State, clock: str) -> Iterator[Told]:
    """Reasons to wait or to be refused; that something was admitted is no news."""
    old = before["scheduler"]["admissions"]
    for priority, reasons in state["scheduler"]["admissions"].items():
        for reason, count in reasons.items():
            more = count - old.get(priority, {}).get(reason, 0)
            if more > 0 and reason != "admitted":
                yield Told(clock, engine, priority, reason, more)
