"""What tiles rest on: spans that a source still holds. Losing the last support retracts a tile."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from stoker.memories.records import Change
from stoker.memories.store import groups, states
from stoker.memories.tiles import Status, TileId

SOURCE_CHANGED = "rule:source_changed"

_HELD = (
    "SELECT 1 FROM revision_spans JOIN revisions ON revisions.seq = revision_spans.revision"
    " WHERE revision_spans.span = spans.seq AND revisions.is_current"
)
_SUPPORTED = (
    "SELECT 1 FROM provenance AS other JOIN spans ON spans.seq = other.span"
    " WHERE other.tile = tiles.seq AND spans.removed_at IS NULL"
)


def hold_again(db: sqlite3.Connection, revision: int, *, now: float) -> None:
    """The spans of a revision are there (again); tiles that fell with them stand up again."""
    back = db.execute(
        "UPDATE spans SET removed_at = NULL WHERE removed_at IS NOT NULL AND seq IN"
        " (SELECT span FROM revision_spans WHERE revision = ?) RETURNING seq",
        (revision,),
    ).fetchall()
    for (span,) in back:
        rows = db.execute(
            "SELECT tiles.tile_id FROM provenance JOIN tiles ON tiles.seq = provenance.tile"
            " JOIN tile_heads ON tile_heads.tile = tiles.seq JOIN tile_states USING (tile, version)"
            " WHERE provenance.span = ? AND tile_heads.status = 'retracted'"
            " AND tile_states.decided_by = ?",
            (span, SOURCE_CHANGED),
        ).fetchall()
        for row in rows:
            reason = "the words that it rests on are there again"
            change = Change(TileId(row["tile_id"]), Status.ACTIVE, reason, SOURCE_CHANGED)
            states.append(db, change, now=now)
            groups.resettle(db, [change.tile_id], now=now)


def drop_unheld(
    db: sqlite3.Connection, spans: Sequence[int], *, at: float, now: float, reason: str
) -> None:
    """Of these spans, remove those that no current revision holds, and what only they support."""
    gone: list[int] = []
    for span in spans:
        row = db.execute(
            "UPDATE spans SET removed_at = ? WHERE removed_at IS NULL AND seq = ?"
            f" AND NOT EXISTS ({_HELD}) RETURNING seq",
            (now, span),
        ).fetchone()
        if row is not None:
            gone.append(span)
    for span in gone:
        for tile in _fallen(db, span):
            retract(db, tile, reason, SOURCE_CHANGED, at=at, now=now)


def retract(
    db: sqlite3.Connection, id: TileId, reason: str, decided_by: str, *, at: float, now: float
) -> None:
    """Take a tile out; those that stood behind it and have support of their own come back."""
    change = Change(id, Status.RETRACTED, reason, decided_by, valid_to=at)
    states.append(db, change, now=now)
    groups.resettle(db, [id], now=now)


def _fallen(db: sqlite3.Connection, span: int) -> list[TileId]:
    """Tiles that stood on this span, and now stand on none."""
    rows = db.execute(
        "SELECT tile_id FROM provenance AS mine JOIN tiles ON tiles.seq = mine.tile"
        " JOIN tile_heads ON tile_heads.tile = mine.tile"
        " WHERE mine.span = ? AND status <> 'retracted'"
        f" AND NOT EXISTS ({_SUPPORTED}) ORDER BY tiles.seq",
        (span,),
    )
    return [TileId(row["tile_id"]) for row in rows]
