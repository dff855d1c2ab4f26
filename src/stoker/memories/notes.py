"""What a person states directly: a note is a source of one span, and a tile that quotes it all."""

from __future__ import annotations

from dataclasses import dataclass

from stoker.core.errors import InvalidRequest
from stoker.memories.records import NewDocument, NewTile
from stoker.memories.tiles import (
    DEFAULT_SCOPE,
    PlacedSpan,
    Provenance,
    Role,
    Span,
    SpanKind,
    Status,
    Support,
    Tile,
    TileKind,
    content_hash,
    span_id,
    tile_id,
)

_TEXT_MAX = 2000
PERSON = "person:add"


@dataclass(frozen=True, slots=True)
class Note:
    """One statement, with whatever its author wants to say about it."""

    statement: str
    scope: str = DEFAULT_SCOPE
    kind: TileKind = TileKind.FACT
    subject: str = ""
    entities: tuple[str, ...] = ()
    valid_from: float | None = None
    observed_at: float | None = None
    author: str = ""


def records_of(note: Note) -> tuple[NewDocument, NewTile]:
    """The document and the tile of a note. Raises `InvalidRequest`."""
    text = " ".join(note.statement.split())
    if not 1 <= len(text) <= _TEXT_MAX:
        raise InvalidRequest(f"statement must have 1 to {_TEXT_MAX} characters", param="statement")
    said_at = note.observed_at
    kind, role = SpanKind.PARAGRAPH, Role.USER
    id = span_id(note.scope, text, kind, role=role, author=note.author, said_at=said_at)
    span = Span(id, note.scope, text, kind, role, note.author, said_at)
    data = text.encode()
    document = NewDocument(
        uri=f"note:{content_hash(id.encode())[:16]}",
        kind="note",
        content_hash=content_hash(id.encode()),
        bytes_count=len(data),
        importer="note/1",
        observed_at=said_at,
        spans=[PlacedSpan(span, 0, 0, len(data))],
        stages=[],
    )
    return document, _tile(note, text, span)


def _tile(note: Note, text: str, span: Span) -> NewTile:
    id = tile_id(note.scope, text, subject=note.subject, kind=note.kind, valid_from=note.valid_from)
    tile = Tile(
        id=id,
        scope=note.scope,
        statement=text,
        kind=note.kind,
        subject=note.subject,
        entities=note.entities,
        said_at=span.said_at,
        valid_from=note.valid_from if note.valid_from is not None else span.said_at,
        extractor=PERSON,
    )
    quote = Provenance(id, span.id, text, 0, len(text), Support.VERBATIM)
    return NewTile(tile, (quote,), Status.ACTIVE, "added by a person", PERSON)
