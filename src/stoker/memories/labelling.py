"""What a very small model is asked: a label for each sentence. The words stay those of the source.

A model of a hundred million parameters repeats itself until it is cut off when it may write; it can
choose one word of four. So code offers the sentences that could stand alone, a grammar leaves room
for one label each, and what is labelled as worth keeping is copied by code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, Protocol

from stoker.memories.dates import mentions
from stoker.memories.lexical import sentences, words
from stoker.memories.rewriting import is_dangling, is_of_author, is_of_group, with_speaker
from stoker.memories.tiles import TileKind

NONE: Final = "none"
LABELS: Final = (
    NONE, TileKind.FACT.value, TileKind.EVENT.value, TileKind.PREFERENCE.value
)  # fmt: skip
_TOKENS_PER_LABEL: Final = 8
"""`"12":"preference",` is six or seven."""
_TOKENS_AROUND: Final = 16
_WORDS_MIN: Final = 4
_CHARS_MAX: Final = 240

_MARKED: Final = re.compile(r"\s*(?:[-*+>•]\s+|#+\s|\d+[.)]\s+|\|)*")
"""What Markdown puts before a line."""
_TIED: Final = re.compile(
    r"(?:and|but|or|so|then|also|instead|otherwise|therefore|thus|hence|however|here|there|yes"
    r"|yeah|no|nope|well|oh|ok|okay|thanks|wow|same|both|such|what|which|who)\b",
    re.IGNORECASE,
)
"""How a sentence begins that is understood only after the one before it."""
_TO_SOMEBODY: Final = re.compile(r"\b(?:you|your|yours|yourself)\b", re.IGNORECASE)
_SOME_DAY: Final = date(2001, 1, 3)
_MARKUP: Final = re.compile(r"[|{}\[\]<>\\]|https?://")


class Said(Protocol):
    """A line of a chunk."""

    @property
    def text(self) -> str: ...

    @property
    def author(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Sentence:
    """One that may be labelled."""

    line: int
    """From 0."""
    start: int
    end: int
    text: str


def candidates(lines: Sequence[Said]) -> tuple[Sentence, ...]:
    """The sentences that could be understood alone, in order."""
    return tuple(
        Sentence(number, start, end, line.text[start:end])
        for number, line in enumerate(lines)
        for start, end in _bare(line.text)
        if _stands_alone(line.text[start:end], line.author)
    )


def _bare(text: str) -> Iterator[tuple[int, int]]:
    """Where sentences stand, without marks and white space around them."""
    for start, end in sentences(text):
        mark = _MARKED.match(text, start, end)
        begin = start if mark is None else mark.end()
        stop = begin + len(text[begin:end].rstrip())
        if begin < stop:
            yield begin, stop


def _stands_alone(sentence: str, author: str) -> bool:
    said = with_speaker(sentence, author)
    return (
        len(words(said)) >= _WORDS_MIN
        and len(said) <= _CHARS_MAX
        # People end what they say as they like; a line of a document without a full stop is none.
        and (bool(author) or sentence.rstrip("\"')")[-1:] in {".", "!"})
        and not sentence.endswith("?")
        # With an author, `I` has become a name by now.
        and not (is_dangling(said) or is_of_author(said) or is_of_group(said))
        and (bool(author) or not _is_relative(said))
        and not (_TIED.match(said) or _TO_SOMEBODY.search(said) or _MARKUP.search(said))
    )


def _is_relative(sentence: str) -> bool:
    """It names a time that depends on the day it was said, which a document's file does not tell.

    `Weeks begin on Monday` would become one Monday's date.
    """
    return any(mention.is_relative for mention in mentions(sentence, _SOME_DAY))


def shown(lines: Sequence[Said], asked: Sequence[Sentence]) -> Iterator[tuple[int, str]]:
    """All of the text, in the order of its lines: (number, part), 0 for what gets no label."""
    numbers = {(one.line, one.start): number for number, one in enumerate(asked, start=1)}
    for index, line in enumerate(lines):
        at = 0
        for sentence in (one for one in asked if one.line == index):
            if before := line.text[at : sentence.start].strip():
                yield 0, before
            yield numbers[index, sentence.start], sentence.text
            at = sentence.end
        if rest := line.text[at:].strip():
            yield 0, rest


def schema(count: int) -> dict[str, object]:
    """An object with a label for each number: it ends where its last label does."""
    labels = {
        str(number): {"type": "string", "enum": list(LABELS)} for number in range(1, count + 1)
    }
    return {
        "type": "object",
        "properties": labels,
        "required": list(labels),
        "additionalProperties": False,
    }


def tokens_max(count: int) -> int:
    """Room for all labels."""
    return _TOKENS_AROUND + _TOKENS_PER_LABEL * count
