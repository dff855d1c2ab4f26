"""Erasing on purpose: the text goes, a tombstone stays, and the next import leaves it out."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from stoker.core.errors import NotFound
from stoker.memories.planning import CONTEXT_CHARS
from stoker.memories.records import Forgotten
from stoker.memories.store import keys, states, supports
from stoker.memories.store.rows import to_tile
from stoker.memories.tiles import SourceId, SpanId, Status, TileId

FORGOTTEN = "person:forget"


def forget_source(db: sqlite3.Connection, id: SourceId, *, now: float) -> Forgotten:
    """Erase a source's text and all that rests on it alone. Raises `NotFound`."""
    source = db.execute("SELECT seq FROM sources WHERE source_id = ?", (id,)).fetchone()
    if source is None:
        raise NotFound(f"source {id}: no such source")
    revisions = db.execute(
        "SELECT seq, content_hash FROM revisions WHERE source = ?", (source["seq"],)
    ).fetchall()
    for grave in (id, *sorted({row["content_hash"] for row in revisions})):
        _bury(db, grave, "source", now)
    db.execute("UPDATE sources SET deleted_at = ? WHERE seq = ?", (now, source["seq"]))
    spans = db.execute(
        "SELECT DISTINCT span FROM revision_spans JOIN revisions ON revisions.seq = revision"
        " WHERE source = ?",
        (source["seq"],),
    ).fetchall()
    db.execute(
        "DELETE FROM revision_spans WHERE revision IN (SELECT seq FROM revisions WHERE source = ?)",
        (source["seq"],),
    )
    db.execute("DELETE FROM revisions WHERE source = ?", (source["seq"],))
    _forget_work(db, source["seq"])
    return _erase_unheld(db, [row["span"] for row in spans], now=now)


def forget_span(db: sqlite3.Connection, id: SpanId, *, now: float) -> Forgotten:
    """Erase one span wherever it stands, and all that rests on it alone. Raises `NotFound`."""
    row = db.execute("SELECT seq, scope, text FROM spans WHERE span_id = ?", (id,)).fetchone()
    if row is None:
        raise NotFound(f"span {id}: no such span, or it was erased")
    _bury(db, id, "span", now)
    _forget_in_contexts(db, row["scope"], row["text"])
    db.execute("DELETE FROM revision_spans WHERE span = ?", (row["seq"],))
    return _erase_unheld(db, [row["seq"]], now=now)


def forget_tile(db: sqlite3.Connection, id: TileId, *, now: float) -> Forgotten:
    """Erase one statement; its sources stay, and it is not extracted again. Raises `NotFound`."""
    states.head(db, id)
    _bury(db, id, "tile", now)
    _erase_tiles(db, [id], now=now)
    return Forgotten(spans=0, tiles=1)


def _forget_in_contexts(db: sqlite3.Connection, scope: str, text: str) -> None:
    """Take it out of what its replies are found by: it is the end of their context."""
    tail = text[-CONTEXT_CHARS:]
    followers = db.execute(
        "SELECT seq, context FROM spans WHERE scope = ? AND context != '' AND"
        " substr(context, -length(?)) = ?",
        (scope, tail, tail),
    ).fetchall()
    for row in followers:
        _set_context(db, row["seq"], row["context"].removesuffix(tail).rstrip())


def _set_context(db: sqlite3.Connection, span: int, context: str) -> None:
    row = db.execute("SELECT text FROM span_contexts WHERE seq = ?", (span,)).fetchone()
    # The index reads its text from the table, so it has to be told of the old words first.
    db.execute(
        "INSERT INTO span_contexts_fts (span_contexts_fts, rowid, text) VALUES ('delete', ?, ?)",
        (span, row["text"]),
    )
    db.execute("UPDATE spans SET context = ? WHERE seq = ?", (context, span))
    db.execute(
        "INSERT INTO span_contexts_fts (rowid, text)"
        " SELECT seq, text FROM span_contexts WHERE seq = ?",
        (span,),
    )


def _forget_work(db: sqlite3.Connection, source: int) -> None:
    """Prompts and answers have the text in them too; and a revived source is extracted anew."""
    stages = db.execute(
        "DELETE FROM document_stages WHERE document IN (SELECT seq FROM documents WHERE source = ?)"
        " RETURNING stage",
        (source,),
    ).fetchall()
    db.executemany(
        "DELETE FROM stages WHERE seq = ?"
        " AND NOT EXISTS (SELECT 1 FROM document_stages WHERE stage = stages.seq)",
        [(row["stage"],) for row in stages],
    )
    db.execute("UPDATE documents SET is_open = 0 WHERE source = ?", (source,))


def _bury(db: sqlite3.Connection, id: str, reason: str, now: float) -> None:
    db.execute(
        "INSERT OR IGNORE INTO tombstones (id, reason, at) VALUES (?, ?, ?)", (id, reason, now)
    )


def _erase_unheld(db: sqlite3.Connection, spans: Sequence[int], *, now: float) -> Forgotten:
    """Those that another source holds too stay, and so do tiles with support elsewhere."""
    erased = 0
    tiles: list[TileId] = []
    for span in spans:
        held = db.execute("SELECT 1 FROM revision_spans WHERE span = ? LIMIT 1", (span,)).fetchone()
        if held is not None:
            _set_context(db, span, "")  # it may have come from this source
            supports.drop_unheld(db, [span], at=now, now=now, reason="its source was erased")
            continue
        tiles.extend(_resting_on(db, span))
        db.execute("DELETE FROM provenance WHERE span = ?", (span,))
        db.execute("DELETE FROM spans WHERE seq = ?", (span,))
        erased += 1
    alone = [id for id in dict.fromkeys(tiles) if not _is_supported(db, id)]
    _erase_tiles(db, alone, now=now)
    return Forgotten(erased, len(alone))


def _resting_on(db: sqlite3.Connection, span: int) -> list[TileId]:
    rows = db.execute(
        "SELECT tile_id FROM provenance JOIN tiles ON tiles.seq = tile WHERE span = ?", (span,)
    )
    return [TileId(row["tile_id"]) for row in rows]


def _is_supported(db: sqlite3.Connection, id: TileId) -> bool:
    row = db.execute(
        "SELECT 1 FROM provenance JOIN tiles ON tiles.seq = tile WHERE tile_id = ? LIMIT 1", (id,)
    ).fetchone()
    return row is not None


def _erase_tiles(db: sqlite3.Connection, ids: Sequence[TileId], *, now: float) -> None:
    for id in ids:
        # Retracted first, so that those which stood behind it come back; then the row goes.
        if states.head(db, id).status is not Status.RETRACTED:
            supports.retract(db, id, "erased", FORGOTTEN, at=now, now=now)
        row = db.execute("DELETE FROM tiles WHERE tile_id = ? RETURNING *", (id,)).fetchone()
        keys.remove(db, row["seq"], to_tile(row))
