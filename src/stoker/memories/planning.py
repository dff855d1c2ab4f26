"""What importing a document means: its spans, its chunks, and which of them are new. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Container
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NewType

from stoker.memories.chunking import ChunkRules, cut, split_long
from stoker.memories.sources.documents import Block, Document
from stoker.memories.tiles import PlacedSpan, Span, SpanId, SpanKind, span_id

ChunkId = NewType("ChunkId", str)
CONTEXT_CHARS = 240
"""Of what was said before, the end."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one extraction reads: consecutive spans. The chunk before is context, no part of it."""

    id: ChunkId
    order: int
    span_ids: tuple[SpanId, ...]
    previous: ChunkId | None
    is_new: bool


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """A document, ready to be stored and extracted from."""

    document: Document
    """With its long blocks cut: span *n* is block *n*, at the *n*th of its `places`."""
    content_hash: str
    spans: tuple[PlacedSpan, ...]
    chunks: tuple[Chunk, ...]

    @property
    def new_chunks(self) -> tuple[Chunk, ...]:
        """The chunks that cost an extraction."""
        return tuple(chunk for chunk in self.chunks if chunk.is_new)


def plan(
    document: Document,
    *,
    scope: str,
    known: Container[str] = frozenset(),
    rules: ChunkRules | None = None,
) -> ImportPlan:
    """Plan an import; `known` are the ids of chunks that have been extracted from already."""
    rules = rules or ChunkRules()
    document = replace(document, blocks=tuple(split_long(document.blocks, rules)))
    spans = tuple(_placed(document, scope))
    chunks: list[Chunk] = []
    planned: set[ChunkId] = set()
    for order, part in enumerate(cut(document.blocks, rules)):
        span_ids = tuple(placed.span.id for placed in spans[part.first : part.last])
        id = chunk_id(scope, span_ids)
        # The same text twice in one document is read once.
        is_new = id not in known and id not in planned
        planned.add(id)
        chunks.append(Chunk(id, order, span_ids, chunks[-1].id if chunks else None, is_new))
    text_hash = hashlib.blake2b(document.text.encode(), digest_size=16).hexdigest()
    return ImportPlan(document, text_hash, spans, tuple(chunks))


def chunk_id(scope: str, span_ids: tuple[SpanId, ...]) -> ChunkId:
    """The same spans in the same order are the same chunk, in whatever document."""
    digest = hashlib.blake2b("\0".join((scope, *span_ids)).encode(), digest_size=16)
    return ChunkId(f"chk_{digest.hexdigest()}")


def _placed(document: Document, scope: str) -> list[PlacedSpan]:
    placed = []
    before: Block | None = None
    for order, (block, (a, b)) in enumerate(zip(document.blocks, document.places(), strict=True)):
        id = span_id(
            scope,
            block.text,
            block.kind,
            role=block.role,
            author=block.author,
            said_at=block.said_at,
        )
        span = Span(id, scope, block.text, block.kind, block.role, block.author, block.said_at)
        context = _context(document, block, before)
        placed.append(PlacedSpan(span, order, a, b, context, block.session))
        before = block
    return placed


def _context(document: Document, block: Block, before: Block | None) -> str:
    """What a search needs to know beside the words: the day, the place, what was said before."""
    at = block.said_at if block.said_at is not None else document.observed_at
    day = f"[{_day(at)}]" if at is not None else ""
    place = block.session if block.session and block.session != block.text else document.title
    is_reply = (
        block.kind is SpanKind.TURN and before is not None and before.session == block.session
    )
    said = before.text[-CONTEXT_CHARS:] if is_reply and before is not None else ""
    return " ".join(part for part in (day, place, said) if part)


def _day(at: float) -> str:
    """In figures and in words: people ask for either."""
    day = datetime.fromtimestamp(at, UTC)
    return f"{day:%Y-%m-%d}, {day:%A} {day.day} {day:%B}"
