"""What the memory server keeps: sources, revisions, spans, tiles, provenance, states. Plain types.

Ids are hashes of what they name, so the same text imported twice is the same thing. A scope is part
of every id: nothing is ever shared between scopes.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import NewType

SourceId = NewType("SourceId", str)
RevisionId = NewType("RevisionId", str)
SpanId = NewType("SpanId", str)
TileId = NewType("TileId", str)

DEFAULT_SCOPE = "default"


class TileKind(Enum):
    FACT = "fact"
    EVENT = "event"
    PREFERENCE = "preference"
    PROCEDURE = "procedure"
    DECISION = "decision"
    SUMMARY = "summary"


class Role(Enum):
    """Who wrote a span. Only some roles are worth extracting from (`SourcePolicy`)."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    TOOL = "tool"
    DOCUMENT = "document"


class SpanKind(Enum):
    TURN = "turn"
    PARAGRAPH = "paragraph"
    HEADING = "heading"
    CODE = "code"
    TABLE = "table"


class Status(Enum):
    """Where a tile stands now; the last row of its state log says it."""

    ACTIVE = "active"
    SUPERSEDED = "superseded"
    """It was true; something newer replaced it. It stays readable, with its end."""
    MERGED = "merged"
    """It says the same as `canonical_id`, which carries its support."""
    RETRACTED = "retracted"
    """Nothing supports it any more, or somebody took it back."""
    QUARANTINED = "quarantined"
    """A guard refused it; never found by a search, shown with its reason."""


class Support(Enum):
    VERBATIM = "verbatim"
    PARAPHRASE = "paraphrase"
    DERIVED = "derived"


@dataclass(frozen=True, slots=True)
class Source:
    """Where text comes from; it gets new revisions. With `deleted_at` it is a tombstone."""

    id: SourceId
    uri: str
    kind: str
    scope: str
    added_at: float
    deleted_at: float | None = None


@dataclass(frozen=True, slots=True)
class Revision:
    """One state of a source's bytes."""

    id: RevisionId
    source_id: SourceId
    content_hash: str
    bytes_count: int
    importer: str
    """The reader and its version, such as `markdown/1`."""
    observed_at: float | None
    """When the text was true (wall seconds), for history that is imported later."""
    imported_at: float


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of verbatim text: a turn, a paragraph. Searchable as it is, without any LLM."""

    id: SpanId
    scope: str
    text: str
    kind: SpanKind
    role: Role
    author: str
    """The speaker's or writer's name as the source has it; may be empty."""
    said_at: float | None


@dataclass(frozen=True, slots=True)
class PlacedSpan:
    """A span at its place in a revision. `context` is what stands before: date, previous turn."""

    span: Span
    order: int
    byte_a: int
    byte_b: int
    context: str = ""
    session: str = ""
    """Which part of the source it belongs to: a conversation's session, a document's chapter."""
    injected: tuple[TileId, ...] = ()
    """Tiles that were in the prompt behind it: it is no news about them."""
    observed_at: float | None = None
    """When its source's text was true, for spans that do not say when they were said."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One self-contained statement that is true of the world over an interval. Immutable."""

    id: TileId
    scope: str
    statement: str
    kind: TileKind
    subject: str
    predicate: str | None = None
    object: str | None = None
    entities: tuple[str, ...] = ()
    said_at: float | None = None
    occurred_from: float | None = None
    occurred_to: float | None = None
    valid_from: float | None = None
    confidence: float = 1.0
    level: int = 1
    """0 verbatim, 1 fact, 2 observation over several facts, 3 digest."""
    extractor: str = ""
    """Key of the stage that wrote it; empty for what a person added."""
    language: str = ""

    @property
    def since(self) -> float | None:
        """From when on it is true, as far as is known."""
        if self.valid_from is not None:
            return self.valid_from
        return self.occurred_from if self.occurred_from is not None else self.said_at


@dataclass(frozen=True, slots=True)
class Provenance:
    """Which words of which span a tile rests on."""

    tile_id: TileId
    span_id: SpanId
    quote: str
    quote_a: int
    quote_b: int
    """The quote's place in the span's text, in characters."""
    support: Support
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class TileState:
    """One row of a tile's log. The last one counts; nothing is overwritten, all can be undone."""

    tile_id: TileId
    version: int
    status: Status
    valid_to: float | None
    """From when on it is not true of the world any more."""
    superseded_by: TileId | None
    canonical_id: TileId | None
    reason: str
    decided_by: str
    """A rule's name, a stage key, or `person`."""
    at: float
    """When this was decided (wall seconds): the time that `known_at` asks about."""


# ---------------------------------------------------------------------------- ids

_SPACE = re.compile(r"\s+")
_EDGE = " \t\n\"'“”‘’.!;:,"


def canonical(text: str) -> str:
    """The form in which two texts count as the same: Unicode, case, spaces, closing marks."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _SPACE.sub(" ", folded).strip(_EDGE)


def content_hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def source_id(scope: str, uri: str) -> SourceId:
    return SourceId(f"src_{_digest(scope, uri)}")


def revision_id(source: SourceId, content: str, observed_at: float | None) -> RevisionId:
    return RevisionId(f"rev_{_digest(source, content, observed_at)}")


def span_id(
    scope: str, text: str, kind: SpanKind, *, role: Role, author: str, said_at: float | None
) -> SpanId:
    # The text as it stands, not its canonical form: quotes are places in it.
    text = _SPACE.sub(" ", unicodedata.normalize("NFC", text)).strip()
    return SpanId(f"spn_{_digest(scope, text, kind.value, role.value, author, said_at)}")


def tile_id(
    scope: str, statement: str, *, subject: str, kind: TileKind, valid_from: float | None
) -> TileId:
    parts = (scope, canonical(statement), canonical(subject), kind.value, valid_from)
    return TileId(f"til_{_digest(*parts)}")


def stage_key(stage: str, version: int, *ingredients: str, inputs: Iterable[str]) -> str:
    """What a piece of LLM work is: the same key means the same work, and is never paid twice.

    `ingredients` are hashes of prompt and schema, the model, the sampling.
    """
    return f"stg_{_digest(stage, version, *ingredients, *sorted(inputs))}"


def _digest(*parts: object) -> str:
    # JSON-like framing: a part's length stands before it, so no other split gives the same bytes.
    joined = b"".join(
        b"%d:%s" % (len(part), part) for part in (str(part).encode() for part in parts)
    )
    return hashlib.blake2b(joined, digest_size=16).hexdigest()
