"""Questions: sources, one tile with all that is known of it, the quarantine, counts."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from stoker.core.errors import NotFound
from stoker.memories.records import Refusal, SourceView, Stats, SupportView, TileView
from stoker.memories.store import states
from stoker.memories.store.rows import as_json, tile_ids, to_source, to_span, to_tile
from stoker.memories.tiles import PlacedSpan, SpanId, Status, Support, Tile, TileId


def sources(
    db: sqlite3.Connection, scope: str | None, *, limit: int, offset: int
) -> list[SourceView]:
    """By URI; tombstones too."""
    where, parameters = ("WHERE scope = ?", (scope,)) if scope is not None else ("", ())
    rows = db.execute(
        "SELECT sources.*, content_hash, bytes_count, importer, observed_at, imported_at,"
        " (SELECT count(*) FROM revision_spans WHERE revision = revisions.seq) AS spans"
        " FROM sources LEFT JOIN revisions ON source = sources.seq AND is_current"
        f" {where} ORDER BY scope, uri LIMIT ? OFFSET ?",
        (*parameters, limit, offset),
    )
    return [
        SourceView(
            to_source(row),
            row["importer"],
            row["bytes_count"] or 0,
            row["observed_at"],
            row["imported_at"],
            row["spans"],
        )
        for row in rows
    ]


def tile(db: sqlite3.Connection, id: TileId) -> TileView:
    """A tile, its log, and the words that it rests on. Raises `NotFound`."""
    row = db.execute("SELECT * FROM tiles WHERE tile_id = ?", (id,)).fetchone()
    if row is None:
        raise NotFound(f"tile {id}: no such tile, or it was erased")
    return TileView(to_tile(row), tuple(states.history(db, id)), tuple(supports(db, row["seq"])))


def supports(db: sqlite3.Connection, tile: int) -> list[SupportView]:
    """The quotes of a tile and of those that were merged into it, with their sources."""
    rows = db.execute(
        "SELECT provenance.*, spans.*,"
        " (SELECT uri FROM revision_spans JOIN revisions ON revisions.seq = revision"
        "  JOIN sources ON sources.seq = source WHERE revision_spans.span = spans.seq"
        "  ORDER BY is_current DESC, sources.seq LIMIT 1) AS uri"
        " FROM provenance JOIN spans ON spans.seq = span WHERE provenance.tile = :tile"
        " OR provenance.tile IN (SELECT tile_heads.tile FROM tile_heads WHERE status = 'merged'"
        "  AND coalesce(canonical_id, superseded_by) ="
        "  (SELECT tile_id FROM tiles WHERE seq = :tile))"
        " ORDER BY spans.said_at, spans.seq",
        {"tile": tile},
    ).fetchall()
    return [
        SupportView(to_span(row), row["uri"] or "", row["quote"], Support(row["support"]))
        for row in rows
    ]


def quarantine(db: sqlite3.Connection, *, limit: int, offset: int) -> list[Refusal]:
    """What guards and the engine refused, newest first, with the reasons."""
    rows = db.execute(
        "SELECT tile_id AS id, statement AS what, reason, at FROM tile_heads"
        " JOIN tile_states USING (tile, version) JOIN tiles ON tiles.seq = tile"
        " WHERE tile_heads.status = 'quarantined'"
        " UNION ALL SELECT stage_key, kind, reason, finished_at FROM stages"
        " WHERE state = 'quarantined' ORDER BY at DESC, id LIMIT ? OFFSET ?",
        (limit, offset),
    )
    return [Refusal(row["id"], row["what"], row["reason"], row["at"]) for row in rows]


def stats(db: sqlite3.Connection) -> Stats:
    """How much there is."""
    by_status = {
        Status(row["status"]): row["tiles"]
        for row in db.execute("SELECT status, count(*) AS tiles FROM tile_heads GROUP BY status")
    }
    (live,) = db.execute("SELECT count(*) FROM sources WHERE deleted_at IS NULL").fetchone()
    (spans,) = db.execute("SELECT count(*) FROM spans WHERE removed_at IS NULL").fetchone()
    scopes = [
        row["scope"] for row in db.execute("SELECT DISTINCT scope FROM sources ORDER BY scope")
    ]
    return Stats(live, spans, by_status, tuple(scopes))


def spans(db: sqlite3.Connection, ids: Sequence[SpanId]) -> list[PlacedSpan]:
    """Spans by id, in the order of the ids; those that were erased are left out."""
    rows = db.execute(
        "SELECT spans.*, (SELECT max(observed_at) FROM revision_spans"
        "  JOIN revisions ON revisions.seq = revision WHERE span = spans.seq AND is_current)"
        " AS observed_at FROM json_each(?) CROSS JOIN spans ON span_id = value ORDER BY key",
        (as_json(ids),),
    )
    return [
        PlacedSpan(
            to_span(row),
            order,
            0,
            0,
            row["context"],
            injected=tile_ids(row["injected"]),
            observed_at=row["observed_at"],
        )
        for order, row in enumerate(rows)
    ]


def tiles(db: sqlite3.Connection, ids: Sequence[TileId]) -> list[Tile]:
    """Tiles by id, in the order of the ids; those that were erased are left out."""
    rows = db.execute(
        "SELECT tiles.* FROM json_each(?) CROSS JOIN tiles ON tile_id = value ORDER BY key",
        (as_json(ids),),
    )
    return [to_tile(row) for row in rows]


def are_there(db: sqlite3.Connection, table: str, column: str, ids: Sequence[str]) -> bool:
    """Whether none of these spans or tiles was erased."""
    if not ids:
        return True
    (count,) = db.execute(
        f"SELECT count(*) FROM json_each(?) CROSS JOIN {table} ON {column} = value",
        (as_json(ids),),
    ).fetchone()
    return bool(count == len(ids))
