"""Tiles and their log: rows are only added. The last state of a tile is the one that counts."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from stoker.core.errors import Conflict, NotFound
from stoker.memories.records import Change, NewTile
from stoker.memories.store import keys
from stoker.memories.store.rows import as_json, to_state
from stoker.memories.tiles import Provenance, Status, Tile, TileId, TileState, canonical

UNDO = "person:undo"


def add_tile(db: sqlite3.Connection, new: NewTile, *, now: float) -> bool:
    """Insert one tile as `add_tiles` does; true if it is new."""
    return bool(add_tiles(db, [new], now=now))


def add_tiles(db: sqlite3.Connection, tiles: Sequence[NewTile], *, now: float) -> dict[str, int]:
    """Insert tiles with their support; those that are there already gain the support.

    Tiles that somebody had erased stay away. Returns the `seq` of those that are new, by id.
    """
    graves = _tombstoned(db, [new.tile.id for new in tiles])
    wanted = [new for new in tiles if new.tile.id not in graves]
    added: dict[str, int] = {}
    for new in wanted:
        row = db.execute(_INSERT, _row(new.tile, now)).fetchone()
        if row is not None:
            added[new.tile.id] = row[0]
    fresh = [(added[new.tile.id], new) for new in wanted if new.tile.id in added]
    db.executemany(
        "INSERT INTO tile_entities (entity, tile) VALUES (?, ?)",
        [
            (name, seq)
            for seq, new in fresh
            for name in {canonical(name) for name in (new.tile.subject, *new.tile.entities)} - {""}
        ],
    )
    keys.add(db, [(seq, new.tile) for seq, new in fresh])
    add_provenance(db, [one for new in wanted for one in new.provenance])
    db.executemany(
        "INSERT INTO tile_states (tile, version, status, reason, decided_by, at)"
        " VALUES (?, 1, ?, ?, ?, ?)",
        [(seq, new.status.value, new.reason, new.decided_by, now) for seq, new in fresh],
    )
    for new in wanted:
        if new.tile.id not in added and _stands_up(db, new):
            change = Change(new.tile.id, new.status, new.reason, new.decided_by)
            append(db, change, now=now)
    return added


_INSERT = (
    "INSERT INTO tiles (tile_id, scope, statement, kind, subject, predicate, object, entities,"
    " said_at, occurred_from, occurred_to, valid_from, confidence, level, extractor, language,"
    " added_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (tile_id) DO NOTHING RETURNING seq"
)


def _row(tile: Tile, now: float) -> tuple[object, ...]:
    return (
        tile.id,
        tile.scope,
        tile.statement,
        tile.kind.value,
        tile.subject,
        tile.predicate,
        tile.object,
        as_json(tile.entities),
        tile.said_at,
        tile.occurred_from,
        tile.occurred_to,
        tile.valid_from,
        tile.confidence,
        tile.level,
        tile.extractor,
        tile.language,
        now,
    )


def _tombstoned(db: sqlite3.Connection, ids: Sequence[str]) -> set[str]:
    rows = db.execute(
        "SELECT tombstones.id FROM json_each(?) CROSS JOIN tombstones ON tombstones.id = value",
        (as_json(ids),),
    )
    return {id for (id,) in rows}


def _stands_up(db: sqlite3.Connection, new: NewTile) -> bool:
    """Refused or fallen before, and now found with good support: it is active after all."""
    return new.status is Status.ACTIVE and head(db, new.tile.id).status in {
        Status.QUARANTINED,
        Status.RETRACTED,
    }


def add_provenance(db: sqlite3.Connection, supports: Sequence[Provenance]) -> None:
    """Note on what tiles rest. A span that was erased meanwhile supports nothing."""
    db.executemany(
        "INSERT INTO provenance (tile, span, quote, quote_a, quote_b, support, weight)"
        " SELECT tiles.seq, spans.seq, ?, ?, ?, ?, ? FROM tiles, spans"
        " WHERE tile_id = ? AND span_id = ? ON CONFLICT (tile, span) DO NOTHING",
        [
            (
                one.quote,
                one.quote_a,
                one.quote_b,
                one.support.value,
                one.weight,
                one.tile_id,
                one.span_id,
            )
            for one in supports
        ],
    )


def append(
    db: sqlite3.Connection, change: Change, *, now: float, expected: int | None = None
) -> TileState:
    """Add a row to the log. With `expected`, only on top of that version: else `Conflict`."""
    row = db.execute(
        "SELECT tiles.seq, coalesce(version, 0) AS version FROM tiles"
        " LEFT JOIN tile_heads ON tile = tiles.seq WHERE tile_id = ?",
        (change.tile_id,),
    ).fetchone()
    if row is None:
        raise NotFound(f"tile {change.tile_id}: no such tile, or it was erased")
    if expected is not None and row["version"] != expected:
        raise Conflict(f"tile {change.tile_id}: it has changed since; read it again")
    state = TileState(
        change.tile_id,
        row["version"] + 1,
        change.status,
        change.valid_to,
        change.superseded_by,
        change.canonical_id,
        change.reason,
        change.decided_by,
        now,
    )
    db.execute(
        "INSERT INTO tile_states (tile, version, status, valid_to, superseded_by, canonical_id,"
        " reason, decided_by, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            row["seq"],
            state.version,
            state.status.value,
            state.valid_to,
            state.superseded_by,
            state.canonical_id,
            state.reason,
            state.decided_by,
            now,
        ),
    )
    return state


def head(db: sqlite3.Connection, id: TileId) -> TileState:
    """The state that counts. Raises `NotFound`."""
    return history(db, id)[-1]


def history(db: sqlite3.Connection, id: TileId) -> list[TileState]:
    """All states, oldest first. Raises `NotFound`."""
    rows = db.execute(
        "SELECT tile_id, tile_states.* FROM tiles JOIN tile_states ON tile = tiles.seq"
        " WHERE tile_id = ? ORDER BY version",
        (id,),
    ).fetchall()
    if not rows:
        raise NotFound(f"tile {id}: no such tile, or it was erased")
    return [to_state(row) for row in rows]


def before_last(db: sqlite3.Connection, id: TileId) -> Change:
    """The row that takes back the last decision: it says what the one before it said.

    Raises `NotFound`, and `Conflict` where there is nothing to take back.
    """
    states = history(db, id)
    before = _before(states)
    if before is None:
        raise Conflict(f"tile {id}: nothing was decided about it since it was made")
    return Change(
        id,
        before.status,
        f"undone: {states[-1].reason}",
        UNDO,
        before.valid_to,
        before.superseded_by,
        before.canonical_id,
    )


def _before(states: Sequence[TileState]) -> TileState | None:
    """The state before the last decision; undone decisions and their undoing cancel out."""
    standing: list[TileState] = []
    for state in states:
        if state.decided_by == UNDO:
            standing.pop()
        else:
            standing.append(state)
    return standing[-2] if len(standing) > 1 else None
