"""Extraction: one chunk becomes one request, and its answer becomes claims. Code checks them later.

A variant is a prompt with its schema: `FULL`, and `SMALL` for models of a billion parameters or
less, which copy no quotes and get lost in long instructions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from stoker.memories.answers import halves, sentence_cut
from stoker.memories.asking import SAMPLING, as_data, body, digest, prompt
from stoker.memories.tiles import Role, TileKind

VERSION: Final = 1
OTHER: Final = "other"
_KINDS: Final = [kind.value for kind in TileKind if kind is not TileKind.SUMMARY]
_LINES_STEP: Final = 8
"""Line numbers are offered in steps, so that engines compile few different grammars."""
_NAMES_MAX: Final = 12
_BEFORE_MAX_CHARS: Final = 1200


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
    entries_max: int
    statement_max_chars: int
    tokens_max: int
    has_quotes: bool


FULL: Final = Variant("extract", 8, 240, 700, has_quotes=True)
SMALL: Final = Variant("extract_small", 4, 160, 260, has_quotes=False)


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
    names = names_of(lines)
    return body(
        prompt(variant.name),
        _text(lines, before, names),
        schema(lines, variant),
        model=model,
        tokens_max=variant.tokens_max,
        is_strict_openai=is_strict_openai,
    )


def fingerprint(variant: Variant) -> str:
    """Changes whenever the prompt, the schema or the sampling does: an ingredient of stage keys."""
    shape = _schema(variant, lines=_LINES_STEP, names=())
    return digest(VERSION, prompt(variant.name), shape, SAMPLING, variant.tokens_max)


def names_of(lines: Sequence[Line]) -> tuple[str, ...]:
    """Who speaks, in order of appearance."""
    return tuple(dict.fromkeys(as_data(line.author) for line in lines if line.author))[:_NAMES_MAX]


def schema(lines: Sequence[Line], variant: Variant = FULL) -> dict[str, object]:
    """The JSON schema of an answer about `lines`."""
    return _schema(variant, lines=len(lines), names=names_of(lines))


def _schema(variant: Variant, *, lines: int, names: Sequence[str]) -> dict[str, object]:
    numbers = max(1, -(-lines // _LINES_STEP)) * _LINES_STEP
    text = {"type": "string", "minLength": 1, "maxLength": variant.statement_max_chars}
    fields: dict[str, object] = {"q": {"type": "integer", "enum": list(range(1, numbers + 1))}}
    if variant.has_quotes:
        fields["quote"] = {"type": "string", "maxLength": 120}
        fields["s"] = {"type": "string", "enum": [*names, OTHER]}
    fields |= {"k": {"type": "string", "enum": _KINDS}, "t": text}
    if variant.has_quotes:
        fields["when"] = {"anyOf": [{"type": "string", "maxLength": 40}, {"type": "null"}]}
    entry = {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }
    entries = {"type": "array", "items": entry, "maxItems": variant.entries_max}
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


def _said(line: Line) -> str:
    author = as_data(line.author)
    return f"{author}: {as_data(line.text)}" if author else as_data(line.text)


def claims(entries: Sequence[Mapping[str, object]], variant: Variant = FULL) -> tuple[Claim, ...]:
    """The entries that are statements at all, with every field of the right type and length.

    Engines without guided decoding answer with what they like, so nothing is taken for granted.
    """
    found = []
    for entry in entries[: variant.entries_max]:
        statement = _string(entry, "t", variant.statement_max_chars)
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
