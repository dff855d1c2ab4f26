"""Interpreting an answer: everything that follows from it is one transaction."""

from __future__ import annotations

import sqlite3

from stoker.memories.records import (
    Answered,
    DocumentOutcome,
    ImportId,
    NewDocument,
    NewTile,
    StageEffect,
)
from stoker.memories.store import documents, linking, states
from stoker.memories.store.stages import close_documents, plan


def apply(
    db: sqlite3.Connection,
    answered: Answered,
    effect: StageEffect,
    *,
    embedder: str,
    now: float,
) -> bool:
    """Write tiles, decisions and further work, and finish the stage. False if it was finished.

    Whoever interprets the same answer a second time changes nothing.
    """
    row = db.execute(
        "UPDATE stages SET state = ?, reason = ? WHERE stage_key = ? AND state = 'answered'"
        " RETURNING import",
        (effect.state.value, effect.reason, effect.key),
    ).fetchone()
    if row is None:
        return False
    _write(db, effect, now=now)
    for new in effect.tiles:
        _add_vector(db, new, embedder)
    halves = [(f"{answered.order}.{place}", half) for place, half in enumerate(effect.halves)]
    judgements = [
        (f"~{answered.order}.{place:02}", one) for place, one in enumerate(effect.judgements)
    ]
    plan(db, row["import"], answered.document, [*halves, *judgements], now=now, is_urgent=True)
    close_documents(db)
    return True


def add_note(
    db: sqlite3.Connection, id: ImportId, document: NewDocument, effect: StageEffect, *, now: float
) -> DocumentOutcome:
    """Commit a document together with tiles that a person stated themselves."""
    outcome = documents.add_document(db, id, document, now=now, is_revived=True)
    for new in effect.tiles:
        db.execute("DELETE FROM tombstones WHERE id = ?", (new.tile.id,))  # said again on purpose
    _write(db, effect, now=now)
    return outcome


def _write(db: sqlite3.Connection, effect: StageEffect, *, now: float) -> None:
    for new in effect.tiles:
        states.add_tile(db, new, now=now)
    linking.add_links(db, effect.links)
    linked = [id for link in effect.links for id in (link.one, link.other)]
    linking.resettle(db, [*(new.tile.id for new in effect.tiles), *linked], now=now)


def _add_vector(db: sqlite3.Connection, new: NewTile, embedder: str) -> None:
    if new.vector is None:
        return
    db.execute(
        "INSERT INTO embeddings (embedder, kind, owner, vector)"
        " SELECT embedders.seq, 'tile', tiles.seq, ? FROM embedders, tiles"
        " WHERE model = ? AND tile_id = ? ON CONFLICT (embedder, kind, owner) DO NOTHING",
        (new.vector, embedder, new.tile.id),
    )
