"""What is in a model's answer: whole entries, also of one that was cut off, and what to do next."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

_THINKING = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_DECODER = json.JSONDecoder()


class Outcome(Enum):
    """How an answer ends. Every answer ends in one of these; a silent loss there is not."""

    STORED = "stored"
    """Complete, and as the schema says."""
    SALVAGED = "salvaged"
    """Cut off or damaged; its whole entries are kept."""
    QUARANTINED = "quarantined"
    """Nothing in it can be used."""


class NextStep(Enum):
    DONE = "done"
    SPLIT = "split"
    """Ask again with each half of the text; what was salvaged stays."""
    GIVE_UP = "give_up"
    """The text is too short to split: quarantine, with what was salvaged kept."""


SPLIT_FLOOR_CHARS = 500


@dataclass(frozen=True, slots=True)
class Parsed:
    """The entries of an answer as JSON objects, unchecked, and how it ended."""

    entries: tuple[dict[str, object], ...]
    outcome: Outcome
    is_full: bool = False
    """It has as many entries as it may have: there was perhaps more to say."""

    def next_step(self, chars: int) -> NextStep:
        """What to do with a text of `chars` characters that got this answer."""
        is_whole = self.outcome is Outcome.STORED
        if is_whole and not self.is_full:
            return NextStep.DONE
        if chars >= 2 * SPLIT_FLOOR_CHARS:
            return NextStep.SPLIT
        return NextStep.DONE if is_whole else NextStep.GIVE_UP


def parse(answer: str, *, finish_reason: str | None = "stop", key: str = "c") -> Parsed:
    """Take the list called `key` out of an answer. Never raises."""
    text = _THINKING.sub("", answer)
    start = _list_start(text, key)
    if start is None:
        return Parsed((), Outcome.QUARANTINED)
    entries, end = _whole_entries(text, start)
    is_closed = end is not None and finish_reason != "length"
    if is_closed:
        return Parsed(entries, Outcome.STORED)
    return Parsed(entries, Outcome.SALVAGED if entries else Outcome.QUARANTINED)


_LABEL = re.compile(r'"(\d{1,4})"\s*:\s*"(\w{1,20})"')


def parse_labels(answer: str, labels: Container[str], *, count: int) -> Parsed:
    """The labels of the numbers 1 to `count`, as entries `{"q": number, "k": label}`.

    Stored if each has one, salvaged if some have. Never raises.
    """
    found = {int(number): label for number, label in _LABEL.findall(_THINKING.sub("", answer))}
    entries = tuple(
        {"q": number, "k": found[number]}
        for number in range(1, count + 1)
        if found.get(number, "") in labels
    )
    if len(entries) == count:
        return Parsed(entries, Outcome.STORED)
    return Parsed(entries, Outcome.SALVAGED if entries else Outcome.QUARANTINED)


def parse_object(answer: str) -> dict[str, object] | None:
    """The first JSON object of an answer; `None` if there is no whole one. Never raises."""
    text = _THINKING.sub("", answer)
    found = next(_objects(text, text.find("{")), None) if "{" in text else None
    return None if found is None else found[0]


def _list_start(text: str, key: str) -> int | None:
    match = re.search(rf'"{re.escape(key)}"\s*:\s*\[|\A\s*(?:```(?:json)?\s*)?\[', text)
    return None if match is None else match.end()


def _whole_entries(text: str, start: int) -> tuple[tuple[dict[str, object], ...], int | None]:
    """The objects of the list that begins at `start`, and where it ends, if it does."""
    entries: list[dict[str, object]] = []
    at = start
    for entry, end in _objects(text, start):
        entries.append(entry)
        at = end
    closing = re.compile(r"\s*\]").match(text, at)
    return tuple(entries), None if closing is None else closing.end()


def _objects(text: str, start: int) -> Iterator[tuple[dict[str, object], int]]:
    separator = re.compile(r"[\s,]*")
    at = start
    while (match := separator.match(text, at)) and text.startswith("{", match.end()):
        try:
            entry, at = _DECODER.raw_decode(text, match.end())
        except (ValueError, RecursionError):
            return
        yield entry, at


def halves(lengths: Sequence[int]) -> int:
    """Where to split a list of texts so that both halves are about equally long."""
    total, before, best = sum(lengths), 0, 1
    least = float("inf")
    for index, length in enumerate(lengths[:-1], start=1):
        before += length
        if abs(total - 2 * before) < least:
            least, best = abs(total - 2 * before), index
    return best


def sentence_cut(text: str) -> int:
    """Where to split one text: behind the sentence that ends nearest to its middle."""
    middle = len(text) // 2
    ends = [match.end() for match in re.finditer(r"[.!?:;]\s+|\n+|\s+", text[:-1])]
    sentences = [match.end() for match in re.finditer(r"[.!?]\s+|\n+", text[:-1])]
    for candidates in (sentences, ends):
        near = [end for end in candidates if len(text) // 4 <= end <= 3 * len(text) // 4]
        if near:
            return min(near, key=lambda end: abs(end - middle))
    return middle
