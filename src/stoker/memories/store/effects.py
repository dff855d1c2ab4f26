"""Interpreting answers: everything that follows from them is one transaction.

Several answers share it, in their order: each is related to what is known when its turn comes, the
tiles of those before it included. How many share it changes nothing in what is kept.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat

from stoker.memories.records import (
    TILES_AT_ONCE,
    DocumentOutcome,
    Draft,
    ImportId,
    Near,
    NewDocument,
    NewTile,
    Relate,
    StageEffect,
)
from stoker.memories.store import documents, reads, states
from stoker.memories.store.candidates import KnownTiles, candidates
from stoker.memories.store.groups import Groups
from stoker.memories.store.stages import close_documents, plan
from stoker.memories.tiles import Status

_SETTLED_AT_ONCE = 2_000
"""Of one transaction: 10 µs each. A property of hundreds of values is settled again for each."""


@dataclass(frozen=True, slots=True)
class Relating:
    """How an effect's tiles are compared with those that are known."""

    relate: Relate
    known: KnownTiles

    def related(self, db: sqlite3.Connection, effect: StageEffect, near: Near) -> StageEffect:
        """The effect with its links, and with what a judge has to be asked."""
        fresh = [new.tile for new in effect.tiles if new.status is Status.ACTIVE]
        if not fresh:
            return effect
        asked = list(zip(fresh, repeat(None) if near is None else near, strict=near is not None))
        return self.relate(effect, candidates(db, asked, self.known))


def apply(
    db: sqlite3.Connection,
    drafts: Sequence[Draft],
    relating: Relating,
    *,
    embedder: str,
    now: float,
) -> int:
    """Take answers in, in order; see `ports.MemoryStore.apply`.

    An answer that somebody took in before changes nothing.
    """
    groups = Groups()
    tiles = 0
    waited_for: set[int] = set()
    """Documents with new work: what stands behind them waits for it."""
    for place, draft in enumerate(drafts):
        tiles += len(draft.effect.tiles)
        is_long = tiles > TILES_AT_ONCE or groups.settled > _SETTLED_AT_ONCE
        is_late = is_long or bool(waited_for - {draft.answered.document})
        if (place and is_late) or not _is_readable(db, draft):
            return place
        db.execute("SAVEPOINT draft")
        try:
            effect = _take(db, draft, relating, groups, embedder=embedder, now=now)
        except sqlite3.Error:
            raise
        except Exception:
            db.execute("ROLLBACK TO draft")
            db.execute("RELEASE draft")
            if place == 0:
                raise
            return place
        db.execute("RELEASE draft")
        if effect.halves:  # they come before the next answer
            return place + 1
        if effect.judgements:
            waited_for.add(draft.answered.document)
    return len(drafts)


def _is_readable(db: sqlite3.Connection, draft: Draft) -> bool:
    """Whether all that it was read from is still there."""
    return reads.are_there(db, "spans", "span_id", draft.spans) and reads.are_there(
        db, "tiles", "tile_id", draft.tiles
    )


def _take(
    db: sqlite3.Connection,
    draft: Draft,
    relating: Relating,
    groups: Groups,
    *,
    embedder: str,
    now: float,
) -> StageEffect:
    answered = draft.answered
    row = db.execute(
        "UPDATE stages SET state = ?, reason = ? WHERE stage_key = ? AND state = 'answered'"
        " RETURNING import",
        (draft.effect.state.value, draft.effect.reason, draft.effect.key),
    ).fetchone()
    if row is None:
        return StageEffect(draft.effect.key, draft.effect.state)
    effect = relating.related(db, draft.effect, draft.near)
    _write(db, effect, groups, now=now)
    _add_vectors(db, effect.tiles, embedder)
    halves = [(f"{answered.order}.{place}", half) for place, half in enumerate(effect.halves)]
    judgements = [
        (f"~{answered.order}.{place:02}", one) for place, one in enumerate(effect.judgements)
    ]
    plan(db, row["import"], answered.document, [*halves, *judgements], now=now, is_urgent=True)
    close_documents(db)
    return effect


def add_note(
    db: sqlite3.Connection,
    id: ImportId,
    document: NewDocument,
    effect: StageEffect,
    near: Near,
    relating: Relating,
    *,
    now: float,
) -> DocumentOutcome:
    """Commit a document together with tiles that a person stated themselves."""
    outcome = documents.add_document(db, id, document, now=now, is_revived=True)
    for new in effect.tiles:
        db.execute("DELETE FROM tombstones WHERE id = ?", (new.tile.id,))  # said again on purpose
    _write(db, relating.related(db, effect, near), Groups(), now=now)
    return outcome


def _write(db: sqlite3.Connection, effect: StageEffect, groups: Groups, *, now: float) -> None:
    if effect.tiles:
        states.add_tiles(db, effect.tiles, now=now)
    groups.add_links(db, effect.links)
    linked = [id for link in effect.links for id in (link.one, link.other)]
    groups.resettle(db, dict.fromkeys([*(new.tile.id for new in effect.tiles), *linked]), now=now)


def _add_vectors(db: sqlite3.Connection, tiles: Sequence[NewTile], embedder: str) -> None:
    db.executemany(
        "INSERT INTO embeddings (embedder, kind, owner, vector)"
        " SELECT embedders.seq, 'tile', tiles.seq, ? FROM embedders, tiles"
        " WHERE model = ? AND tile_id = ? ON CONFLICT (embedder, kind, owner) DO NOTHING",
        [(new.vector, embedder, new.tile.id) for new in tiles if new.vector is not None],
    )
