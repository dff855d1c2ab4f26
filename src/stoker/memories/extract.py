"""Extraction: one chunk becomes one request, and its answer becomes claims. Code checks them later.

A variant is a prompt with its schema: `FULL`, and `SMALL` for models of a billion parameters or
less, which get lost in long instructions and in their own answers: they only label sentences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from stoker.memories import answers, labelling
from stoker.memories.answers import Parsed, halves, sentence_cut
from stoker.memories.asking import SAMPLING, as_data, body, digest, prompt
from stoker.memories.tiles import Role, TileKind, canonical

VERSION: Final = 2
OTHER: Final = "other"
_KINDS: Final = [kind.value for kind in TileKind if kind is not TileKind.SUMMARY]
_LINES_STEP: Final = 8
"""Line numbers are offered in steps, so that engines compile few different grammars."""
_NAMES_MAX: Final = 12
_BEFORE_MAX_CHARS: Final = 1200
ENTRIES_MAX: Final = 8
_STATEMENT_MAX_CHARS: Final = 240
_TOKENS_MAX: Final = 700


@dataclass(frozen=True, slots=True)
class Line:
    """A span as extraction sees it."""

    span_id: str
    text: str
    author: str = ""
    role: Role = Role.USER
    injected: tuple[str, ...] = ()
    """Statements that the author had been shown from memory: repeating them proves nothing."""
    said_on: date | None = None
    at: int = 0
    """Where `text` begins in the span, if the span was split."""


@dataclass(frozen=True, slots=True)
class Variant:
    name: str
    is_labelling: bool
    """The model labels sentences, and code copies them: see `labelling`."""


FULL: Final = Variant("extract", is_labelling=False)
SMALL: Final = Variant("extract_small", is_labelling=True)


@dataclass(frozen=True, slots=True)
class Claim:
    """One entry of an answer, still unchecked."""

    line: int
    """The line that it points at, from 1; 0 where it points nowhere."""
    quote: str
    subject: str
    kind: TileKind
    statement: str
    when: str | None = None


def request(
    lines: Sequence[Line],
    before: Sequence[Line] = (),
    *,
    model: str | None = None,
    variant: Variant = FULL,
    is_strict_openai: bool = False,
) -> dict[str, object]:
    """The body of the chat completion that extracts claims from `lines`."""
    if variant.is_labelling:
        asked = labelling.candidates(lines)
        text, shape = _sentences_text(lines, asked), labelling.schema(len(asked))
        tokens_max = labelling.tokens_max(len(asked))
    else:
        text, shape, tokens_max = _text(lines, before, names_of(lines)), schema(lines), _TOKENS_MAX
    return body(
        prompt(variant.name),
        text,
        shape,
        model=model,
        tokens_max=tokens_max,
        is_strict_openai=is_strict_openai,
    )


def is_worth_asking(lines: Sequence[Line], variant: Variant) -> bool:
    """Whether there is anything in `lines` that an answer could be about."""
    return not variant.is_labelling or bool(labelling.candidates(lines))


def fingerprint(variant: Variant) -> str:
    """Changes whenever the prompt, the schema or the sampling does: an ingredient of stage keys."""
    if variant.is_labelling:
        return digest(VERSION, prompt(variant.name), labelling.schema(1), SAMPLING)
    shape = _schema(lines=_LINES_STEP, names=())
    return digest(VERSION, prompt(variant.name), shape, SAMPLING, _TOKENS_MAX)


def names_of(lines: Sequence[Line]) -> tuple[str, ...]:
    """Who speaks, in order of appearance."""
    return tuple(dict.fromkeys(as_data(line.author) for line in lines if line.author))[:_NAMES_MAX]


def schema(lines: Sequence[Line]) -> dict[str, object]:
    """The JSON schema of an answer about `lines`."""
    return _schema(lines=len(lines), names=names_of(lines))


def _schema(*, lines: int, names: Sequence[str]) -> dict[str, object]:
    numbers = max(1, -(-lines // _LINES_STEP)) * _LINES_STEP
    fields: dict[str, object] = {
        "q": {"type": "integer", "enum": list(range(1, numbers + 1))},
        "quote": {"type": "string", "maxLength": 120},
        "s": {"type": "string", "enum": [*names, OTHER]},
        "k": {"type": "string", "enum": _KINDS},
        "t": {"type": "string", "minLength": 1, "maxLength": _STATEMENT_MAX_CHARS},
        "when": {"anyOf": [{"type": "string", "maxLength": 40}, {"type": "null"}]},
    }
    entry = {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }
    entries = {"type": "array", "items": entry, "maxItems": ENTRIES_MAX}
    return {
        "type": "object",
        "properties": {"c": entries},
        "required": ["c"],
        "additionalProperties": False,
    }


def _text(lines: Sequence[Line], before: Sequence[Line], names: Sequence[str]) -> str:
    parts = [f"<names>{', '.join(names)}</names>"] if names else []
    context = "\n".join(_said(line) for line in before)[-_BEFORE_MAX_CHARS:]
    if context:
        parts.append(f"<before>\n{context}\n</before>")
    numbered = (f"[{number}] {_said(line)}" for number, line in enumerate(lines, start=1))
    return "\n".join([*parts, "<text>", *numbered, "</text>"])


def _sentences_text(lines: Sequence[Line], asked: Sequence[labelling.Sentence]) -> str:
    parts = (
        f"[{number}] {as_data(part)}" if number else as_data(part)
        for number, part in labelling.shown(lines, asked)
    )
    return "\n".join(["<text>", *parts, "</text>"])


def _said(line: Line) -> str:
    author = as_data(line.author)
    return f"{author}: {as_data(line.text)}" if author else as_data(line.text)


def read(
    answer: str, lines: Sequence[Line], variant: Variant = FULL, *, finish_reason: str | None
) -> tuple[tuple[Claim, ...], Parsed]:
    """The claims of an answer about `lines`, still unchecked, and how the answer ended."""
    if not variant.is_labelling:
        parsed = answers.parse(answer, finish_reason=finish_reason)
        found = claims(parsed.entries)
        # A model that repeats itself fills its list, too, and has nothing left out.
        is_full = len({canonical(claim.statement) for claim in found}) >= ENTRIES_MAX
        return found, replace(parsed, is_full=is_full)
    asked = labelling.candidates(lines)
    parsed = answers.parse_labels(answer, labelling.LABELS, count=len(asked))
    return tuple(_copied(parsed, asked, lines)), parsed


def _copied(
    parsed: Parsed, asked: Sequence[labelling.Sentence], lines: Sequence[Line]
) -> Iterator[Claim]:
    for entry in parsed.entries:
        label, sentence = entry["k"], asked[_number(entry["q"]) - 1]
        if label != labelling.NONE:
            author = as_data(lines[sentence.line].author)
            statement = " ".join(sentence.text.split())
            yield Claim(sentence.line + 1, sentence.text, author, _kind(label), statement)


def claims(entries: Sequence[Mapping[str, object]]) -> tuple[Claim, ...]:
    """The entries that are statements at all, with every field of the right type and length.

    Engines without guided decoding answer with what they like, so nothing is taken for granted.
    """
    found = []
    for entry in entries[:ENTRIES_MAX]:
        statement = _string(entry, "t", _STATEMENT_MAX_CHARS)
        if statement:
            found.append(
                Claim(
                    line=_number(entry.get("q")),
                    quote=_string(entry, "quote", 200),
                    subject=_subject(_string(entry, "s", 80)),
                    kind=_kind(entry.get("k")),
                    statement=statement,
                    when=_string(entry, "when", 60) or None,
                )
            )
    return tuple(found)


def _string(entry: Mapping[str, object], key: str, chars_max: int) -> str:
    value = entry.get(key)
    return " ".join(value.split())[:chars_max].strip() if isinstance(value, str) else ""


def _number(value: object) -> int:
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value[:6])
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and isinstance(value, int) and value > 0 else 0


def _subject(name: str) -> str:
    return "" if name.casefold() == OTHER else name


def _kind(value: object) -> TileKind:
    return TileKind(value) if value in _KINDS else TileKind.FACT


def split(lines: Sequence[Line]) -> tuple[tuple[Line, ...], tuple[Line, ...]] | None:
    """Two halves to ask about again; `None` where there is no text to split."""
    if len(lines) > 1:
        cut = halves([len(line.text) for line in lines])
        return tuple(lines[:cut]), tuple(lines[cut:])
    if not lines or len(lines[0].text) < 2:
        return None
    line = lines[0]
    cut = sentence_cut(line.text)
    head, tail = line.text[:cut], line.text[cut:]
    return (replace(line, text=head),), (replace(line, text=tail, at=line.at + cut),)
