"""Which tiles a new one is compared with. Several lists, so that what one misses another finds."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from stoker.memories.lexical import content_words
from stoker.memories.store import keys
from stoker.memories.store.rows import STANDING, as_json, to_tile
from stoker.memories.tiles import Tile, TileId, canonical

_SAME_ENTITY_MAX = 20
_BY_TEXT_MAX = 10
_NEAR_MAX = 10
_WORDS_MAX = 8
_KNOWN_MAX = 20_000


def candidates(
    db: sqlite3.Connection,
    asked: Sequence[tuple[Tile, Sequence[TileId] | None]],
    known: KnownTiles,
) -> list[list[Tile]]:
    """For each tile those that it may say the same as, or replace: by key, entity, and vector.

    Each is given with those whose vectors are near, the nearest first. No list gates another.
    Superseded and merged ones count too, so that the order of arrival does not matter; of those
    near, the first few that are active. Where there are no vectors, full text stands in for them:
    it takes a hundred times as long.
    """
    found = [
        dict.fromkeys(
            (
                *keys.find(db, tile),
                *_of_entities(db, tile),
                *(_by_words(db, tile) if near is None else _near(db, near)),
            )
        )
        for tile, near in asked
    ]
    rows = db.execute(
        "SELECT tile, tile_id FROM json_each(?) CROSS JOIN tile_heads ON tile = value"
        f" CROSS JOIN tiles ON tiles.seq = tile WHERE status IN {STANDING}",
        (as_json(list({seq for seqs in found for seq in seqs})),),
    ).fetchall()
    tiles = known.read(db, rows)
    return [
        [
            other
            for seq in seqs
            if (other := tiles.get(seq)) and other.id != tile.id and other.scope == tile.scope
        ]
        for (tile, _), seqs in zip(asked, found, strict=True)
    ]


def _of_entities(db: sqlite3.Connection, tile: Tile) -> list[int]:
    names = {canonical(name) for name in (tile.subject, *tile.entities)} - {""}
    if not names:
        return []
    rows = db.execute(
        "SELECT tile FROM tile_entities WHERE entity IN (SELECT value FROM json_each(?))"
        " ORDER BY tile DESC LIMIT ?",
        (as_json(sorted(names)), _SAME_ENTITY_MAX),
    )
    return [seq for (seq,) in rows]


def _near(db: sqlite3.Connection, near: Sequence[TileId]) -> list[int]:
    if not near:
        return []
    rows = db.execute(
        "SELECT seq FROM json_each(?) CROSS JOIN tiles ON tile_id = value"
        " CROSS JOIN tile_heads ON tile = seq WHERE status = 'active' ORDER BY key LIMIT ?",
        (as_json(near), _NEAR_MAX),
    )
    return [seq for (seq,) in rows]


def _by_words(db: sqlite3.Connection, tile: Tile) -> list[int]:
    words = list(dict.fromkeys(content_words(tile.statement)))[:_WORDS_MAX]
    if not words:
        return []
    match = " OR ".join(f'"{word.replace(chr(34), "")}"' for word in words)
    rows = db.execute(
        "SELECT rowid FROM tiles_fts WHERE tiles_fts MATCH ? ORDER BY rank LIMIT ?",
        (match, _BY_TEXT_MAX),
    )
    return [seq for (seq,) in rows]


class KnownTiles:
    """Copies of tiles by their ids, which say all of a tile that a comparison looks at.

    Whether one is still there, and how it stands, is asked of the database each time.
    """

    def __init__(self) -> None:
        self._tiles: dict[str, Tile] = {}

    def read(self, db: sqlite3.Connection, rows: Sequence[tuple[int, str]]) -> dict[int, Tile]:
        """The tiles of these rows, `(seq, id)`, by `seq`."""
        missing = [seq for seq, id in rows if id not in self._tiles]
        if len(self._tiles) + len(missing) > _KNOWN_MAX:
            self._tiles.clear()
            missing = [seq for seq, _ in rows]
        if missing:
            found = db.execute(
                "SELECT tiles.* FROM json_each(?) CROSS JOIN tiles ON seq = value",
                (as_json(missing),),
            )
            self._tiles.update((row["tile_id"], to_tile(row)) for row in found)
        return {seq: self._tiles[id] for seq, id in rows}
