"""Relative dates, resolved in code against the day on which they were said: never by a model.

`mentions(text, said_on)` finds every expression of time with the interval that it means, or with
none where nobody can know ("recently"). `dated(statement, ...)` writes the dates into a statement.
What each expression means is in `date_rules`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum
from functools import lru_cache

from stoker.memories import date_rules
from stoker.memories.calendar import Stretch
from stoker.memories.date_meanings import Said, tense


class Precision(Enum):
    """How exactly an expression says when."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    SEASON = "season"
    YEAR = "year"
    RANGE = "range"
    """From one day to another."""
    SINCE = "since"
    """From a day on, with no end."""
    UNTIL = "until"
    UNKNOWN = "unknown"
    """An expression of time that only its author could place."""


@dataclass(frozen=True, slots=True)
class Mention:
    """One expression of time, and what it means: [occurred_a, occurred_b), open where `None`."""

    start: int
    end: int
    text: str
    precision: Precision
    occurred_a: date | None = None
    occurred_b: date | None = None
    is_relative: bool = True
    """It means something else when said on another day."""

    @property
    def is_resolved(self) -> bool:
        return self.precision is not Precision.UNKNOWN


_HINT = re.compile(
    r"\d|day|tomorrow|night|week|month|year|ago\b|back\b|now\b|summer|winter|spring|autumn|fall\b"
    r"|Q[1-4]|quarter|decade|christmas|halloween|recent|lately|soon|earlier|morning|evening"
    r"|afternoon|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|tue|wed|thu|fri",
    re.IGNORECASE,
)


@lru_cache(maxsize=4096)
def mentions(text: str, said_on: date) -> tuple[Mention, ...]:
    """Every expression of time in `text`, in its order; the longest one where several overlap."""
    if _HINT.search(text) is None:  # Most sentences: a hundred patterns need not look at them.
        return ()
    found: list[Mention] = []
    taken: list[tuple[int, int]] = []
    cues = date_rules.cues_in(text)
    hits = [
        (match, rule)
        for rule in date_rules.rules_with(cues)
        for match in rule.pattern.finditer(text)
    ]
    for match, rule in sorted(hits, key=lambda hit: hit[0].start() - hit[0].end()):
        start, end = match.span()
        if any(start < b and a < end for a, b in taken):
            continue
        span = rule.meaning(match, Said(said_on, tense(text, start)))
        if span is None:
            continue
        taken.append((start, end))
        found.append(_mention(match, span, is_relative=rule.is_relative))
    return tuple(sorted(found, key=lambda mention: mention.start))


def resolve(expression: str, said_on: date) -> Mention | None:
    """What one expression of time means; `None` if there is none in it."""
    found = mentions(expression, said_on)
    return max(found, key=lambda mention: mention.end - mention.start, default=None)


def dated(statement: str, when: str | None, said_on: date) -> tuple[str, Mention | None]:
    """The statement with its relative dates written out, and the time that it speaks of.

    `when` is the expression of the source, for statements that left it out. What cannot be placed
    stays, and the day on which it was said is added.
    """
    found = mentions(statement, said_on)
    if not found and when:
        extra = resolve(when, said_on)
        if extra is None:
            return statement, None
        words = absolute(extra) if extra.is_resolved else f"{extra.text} {said(said_on)}"
        return f"{statement.rstrip(' .')} {words}.", extra
    if not found:
        return statement, None
    return _written_out(statement, found, said_on), _main(found)


def _written_out(statement: str, found: Sequence[Mention], said_on: date) -> str:
    is_vague = any(not mention.is_resolved for mention in found) and said(said_on) not in statement
    for mention in reversed(found):
        if mention.is_resolved and mention.is_relative:
            words = absolute(mention)
            if mention.start == 0:
                words = words[0].upper() + words[1:]
            statement = statement[: mention.start] + words + statement[mention.end :]
    return f"{statement.rstrip(' .')} {said(said_on)}." if is_vague else statement


def _main(found: Sequence[Mention]) -> Mention:
    order = list(Precision)
    return min(found, key=lambda mention: order.index(mention.precision))


def said(said_on: date) -> str:
    """What is added to a statement whose time cannot be placed."""
    return f"(said on {_day(said_on)})"


def absolute(mention: Mention) -> str:
    """The words for a resolved time, with their preposition: `on 7 May 2023`, `in May 2023`."""
    first, after = mention.occurred_a, mention.occurred_b
    last = None if after is None else after - timedelta(days=1)
    if first is None:
        word = "by" if mention.text[:2].lower() == "by" else "until"
        return mention.text if last is None else f"{word} {_day(last)}"
    match mention.precision:
        case Precision.DAY:
            return f"on {_day(first)}"
        case Precision.WEEK:
            return f"in the week of {_day(first)}"
        case Precision.MONTH:
            return f"in {first:%B} {first.year}"
        case Precision.YEAR:
            return f"in {first.year}"
    return f"since {_day(first)}" if last is None else f"between {_day(first)} and {_day(last)}"


def _day(day: date) -> str:
    return f"{day.day} {day:%B} {day.year}"


def _mention(match: re.Match[str], span: Stretch, *, is_relative: bool) -> Mention:
    first, after, precision = span
    return Mention(
        start=match.start(),
        end=match.end(),
        text=match[0],
        precision=Precision(precision),
        occurred_a=first,
        occurred_b=after,
        is_relative=is_relative,
    )
