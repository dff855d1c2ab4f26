"""What a doctor says: one finding, and how grave it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum

from stoker.doctor.facts import Facts


class Severity(IntEnum):
    """The number of the gravest finding is the exit code; advice counts as nothing."""

    ADVICE = 0
    WARNING = 1
    PROBLEM = 2

    @property
    def label(self) -> str:
        return self.name.lower()


ADVICE, WARNING, PROBLEM = Severity


@dataclass(frozen=True, slots=True)
class Said:
    """One case of a rule: how grave, about what, the figure, and what to do."""

    severity: Severity
    measured: str
    advice: str
    about: str = "host"


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that is looked at."""

    id: str
    what: str
    """What is wrong if it speaks; a line of the reference page."""
    source: str
    """Where that is known from."""
    check: Callable[[Facts], Iterable[Said]]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule said about one thing."""

    id: str
    severity: Severity
    about: str
    what: str
    measured: str
    advice: str
    source: str


def size(count: float) -> str:
    """Bytes for people."""
    return f"{count / 2**30:.1f} GiB"
