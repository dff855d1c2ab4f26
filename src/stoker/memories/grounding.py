"""Whether a statement says only what its source says: words, numbers, dates, names, addresses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import Enum
from functools import lru_cache
from typing import Final

from stoker.memories.anchors import codes_in, dates_in, names_in, quantities_in
from stoker.memories.dates import Mention, mentions
from stoker.memories.lexical import STOP_WORDS, content_words, normalise, stem, words

WORDS_MIN: Final = 0.42
"""Share of a statement's content words that have to be in its source.

Set on LoCoMo's conversations 0 to 4 (`benchmarks/bench_guards.py`): with the other guards it takes
89 % of the observations at their own turns, and 1.3 % at other turns of the same speaker.
"""
_NEAR: Final = 0.5
"""What a word counts that stands in the lines around: they are as often about something else."""
_OWN_MIN: Final = 0.25
"""Share of words that a line has to have of its own before what comes after it counts."""
_INSIDE: Final = re.compile(r"['.@_-]")
_ANYBODY: Final = frozenset(
    stem(word)
    for word in (
        "user", "users", "person", "people", "someone", "somebody", "everyone", "nobody",
        "assistant", "speaker", "author", "team", "company", "customer", "customers",
    )
)  # fmt: skip

_TELLING: Final = frozenset(
    stem(word)
    for word in (
        "expressed", "shared", "explained", "described", "discussed", "suggested", "emphasized",
        "emphasised", "highlighted", "stated", "noted", "revealed", "asked", "reported", "found",
        "finds", "considered", "believes", "thinks", "thought", "feels", "felt", "sees", "viewed",
    )
)  # fmt: skip
"""Words for that something was said or held: true of every line, so they prove nothing."""


class Ungrounded(Enum):
    WORDS = "low_grounding"
    NUMBER = "ungrounded_number"
    DATE = "ungrounded_date"
    NAME = "ungrounded_name"
    CODE = "ungrounded_code"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a statement may rest on: its span, what stood before it, who spoke, and when."""

    texts: tuple[str, ...]
    """The line that it points at, then those before it."""
    authors: tuple[str, ...] = ()
    said_on: date | None = None
    after: tuple[str, ...] = ()
    """The lines behind it: they may lend words, but no number, date, name or address."""


def ungrounded(statement: str, evidence: Evidence) -> tuple[Ungrounded, str] | None:
    """The first thing in `statement` that its source does not have, and which; `None` if all is."""
    plain = normalise(" \n ".join(evidence.texts))
    claim = normalise(statement)
    missing_code = _first(code for code in codes_in(statement) if code not in plain)
    if missing_code is not None:
        return Ungrounded.CODE, missing_code
    for kind, missing in (
        (Ungrounded.DATE, _missing_date(statement, evidence, plain)),
        (Ungrounded.NUMBER, _missing_number(claim, plain)),
        (Ungrounded.NAME, _missing_name(statement, evidence)),
    ):
        if missing is not None:
            return kind, missing
    if _grounded(without_times(statement, evidence.said_on), evidence) < WORDS_MIN:
        return Ungrounded.WORDS, ""
    return None


def _grounded(statement: str, evidence: Evidence) -> float:
    """How much of what `statement` says is in its line, and half as much for the lines around it.

    Names of who speaks are in every line's neighbourhood and say nothing about this one.
    """
    said = _content_parts(statement)
    said -= _TELLING | _ANYBODY | {part for author in evidence.authors for part in _stems(author)}
    if not said:
        return 1.0
    line, *before = evidence.texts
    own = said & _content_parts(line)
    near = {part for text in before for part in said & _content_parts(text)}
    if len(own) >= _OWN_MIN * len(said):
        near |= {part for text in evidence.after for part in said & _content_parts(text)}
    return (len(own) + _NEAR * len(near - own)) / len(said)


@lru_cache(maxsize=4096)
def _content_parts(text: str) -> frozenset[str]:
    """Stems of the words that carry meaning; of `self-made` its parts."""
    parts = (part for word in content_words(text) for part in word.split("-"))
    return frozenset(part for part in parts if part and part not in STOP_WORDS)


def _first(found: Iterable[str]) -> str | None:
    return min(found, default=None)


def _missing_number(claim: str, plain: str) -> str | None:
    told = list(quantities_in(claim))
    if not told:
        return None
    known: dict[float, set[str]] = {}
    for value, unit in quantities_in(plain):
        known.setdefault(value, set()).add(unit)
    for value, unit in told:
        units = known.get(value)
        # A value whose unit is another one in the source is a changed value.
        if units is None or (unit and unit not in units and "" not in units):
            return f"{value:g} {unit}".strip()
    return None


def _missing_date(statement: str, evidence: Evidence, plain: str) -> str | None:
    """Each date has to be in the source, there or resolved, as exact as that or less."""
    told = [found for _, _, found in dates_in(normalise(statement))]
    if not told:
        return None
    named = {found for _, _, found in dates_in(plain)}
    known = _source_times(evidence)
    for found in told:
        if found in named or any(_is_part(found, whole) for whole in named):
            continue
        if not any(_covers(found, time) for time in known):
            return found
    return None


def _is_part(part: str, whole: str) -> bool:
    """`2023-05` of `2023-05-07`; `--05-07` of it too."""
    return whole.startswith(part) or (part.startswith("--") and whole.endswith(part[1:]))


def _source_times(evidence: Evidence) -> Sequence[Mention]:
    if evidence.said_on is None:
        return ()
    return [
        mention
        for text in evidence.texts
        for mention in mentions(text, evidence.said_on)
        if mention.is_resolved
    ]


def _covers(named: str, time: Mention) -> bool:
    """Whether `named` is one of the ends of a resolved time, or the month or year it lies in."""
    last = time.occurred_b
    ends = [day for day in (time.occurred_a, last) if day is not None]
    if time.precision.value == "day":
        ends = ends[:1]
    length = {4: 4, 7: 7}.get(len(named), 10)
    if named.startswith("day"):
        return any(f"day{day.weekday()}" == named for day in ends)
    if named.startswith("-"):
        return any(_is_part(named, day.isoformat()) for day in ends)
    is_exact = time.precision.value == "day" or length < 10
    return is_exact and any(day.isoformat()[:length] == named for day in ends)


def _missing_name(statement: str, evidence: Evidence) -> str | None:
    inside, first = names_in(statement)
    known = [_stems(text) for text in dict.fromkeys((*evidence.texts, *evidence.authors))]
    return _first(
        name
        for name in inside | first
        if not all(
            part in _ANYBODY or any(part in stems for stems in known) for part in _stems(name)
        )
    )


@lru_cache(maxsize=4096)
def _stems(text: str) -> frozenset[str]:
    """Stems of all words and their parts. A line is read again for every claim about its chunk."""
    parts = (part for word in words(text) for part in _INSIDE.split(word))
    return frozenset(stem(part) for part in parts if part != "s")


def without_times(statement: str, said_on: date | None) -> str:
    """The statement without its words of time: they are checked as dates."""
    if said_on is None:
        return statement
    for mention in reversed(mentions(statement, said_on)):
        statement = statement[: mention.start] + statement[mention.end :]
    return statement
