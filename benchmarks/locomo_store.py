"""A store that holds LoCoMo's conversations: turns as spans, observations as tiles."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from locomo import Conversation, Turn

from stoker.memories.records import ImportId, NewDocument, NewTile
from stoker.memories.store import documents, imports, states
from stoker.memories.store.sqlite import MEMORIES_FILE, SqliteMemoryStore
from stoker.memories.tiles import (
    PlacedSpan,
    Provenance,
    Role,
    Span,
    SpanId,
    SpanKind,
    Status,
    Support,
    Tile,
    TileKind,
    span_id,
    tile_id,
)

NOW = 1_740_000_000.0


@dataclass(frozen=True, slots=True)
class Filled:
    lanes: SqliteMemoryStore
    turns: dict[SpanId, str]
    """The data set's name of each span."""


@asynccontextmanager
async def filled(
    folder: Path, data: Sequence[Conversation], *, with_tiles: bool = True
) -> AsyncIterator[Filled]:
    """One scope for each conversation."""
    store = SqliteMemoryStore(folder / MEMORIES_FILE)
    await store.open()
    turns: dict[SpanId, str] = {}
    for conversation in data:
        placed = spans(conversation)
        turns.update(
            {one.span.id: turn.id for one, turn in zip(placed, conversation.turns, strict=True)}
        )
        made = tiles(conversation, placed) if with_tiles else []
        await store.write(lambda db, c=conversation, p=placed, m=made: _add(db, c, p, m))
    try:
        yield Filled(store, turns)
    finally:
        await store.close()


def spans(conversation: Conversation) -> list[PlacedSpan]:
    """Turns as a chat reader places them: the day and what was said before as the context."""
    placed = []
    before: Turn | None = None
    for order, turn in enumerate(conversation.turns):
        id = span_id(
            conversation.name, turn.text, SpanKind.TURN,
            role=Role.USER, author=turn.author, said_at=turn.said_at + order,
        )  # fmt: skip
        said = datetime.fromtimestamp(turn.said_at, UTC)
        context = f"[{said:%-d %B %Y}]"
        if before is not None and before.session == turn.session:
            context += f" {before.author}: {before.text}"
        span = Span(
            id, conversation.name, turn.text, SpanKind.TURN, Role.USER, turn.author,
            turn.said_at + order,
        )  # fmt: skip
        placed.append(PlacedSpan(span, order, 0, 0, context, f"session {turn.session}"))
        before = turn
    return placed


def tiles(conversation: Conversation, placed: Sequence[PlacedSpan]) -> list[NewTile]:
    """Observations with the turns that they name as their support."""
    by_turn = {turn.id: one.span for turn, one in zip(conversation.turns, placed, strict=True)}
    made = []
    for observation in conversation.observations:
        support = [by_turn[turn] for turn in observation.turns]
        id = tile_id(
            conversation.name, observation.statement,
            subject=observation.subject, kind=TileKind.FACT, valid_from=support[0].said_at,
        )  # fmt: skip
        tile = Tile(
            id, conversation.name, observation.statement, TileKind.FACT, observation.subject,
            said_at=support[0].said_at, valid_from=support[0].said_at,
        )  # fmt: skip
        proof = [
            Provenance(id, span.id, span.text, 0, len(span.text), Support.PARAPHRASE)
            for span in support
        ]
        made.append(NewTile(tile, proof, Status.ACTIVE, "observed", "benchmark"))
    return made


def _add(
    db: sqlite3.Connection,
    conversation: Conversation,
    placed: Sequence[PlacedSpan],
    made: Sequence[NewTile],
) -> None:
    id = ImportId(conversation.name)
    imports.create(db, id, conversation.name, conversation.name, now=NOW)
    document = NewDocument(
        f"locomo:{conversation.name}", "chat", conversation.name, 0, "locomo/1", None, placed, []
    )
    documents.add_document(db, id, document, now=NOW)
    for new in made:
        states.add_tile(db, new, now=NOW)
