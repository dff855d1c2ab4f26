"""Which tiles a new one is compared with. Several lists, so that what one misses another finds."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from stoker.memories.lexical import content_words
from stoker.memories.store import keys
from stoker.memories.store.rows import STANDING, to_tile
from stoker.memories.tiles import Tile, TileId, canonical

_SAME_ENTITY_MAX = 20
_BY_TEXT_MAX = 10
_NEAR_MAX = 10
_WORDS_MAX = 8
_KNOWN_MAX = 20_000


def candidates(
    db: sqlite3.Connection, tile: Tile, near: Sequence[TileId] | None, known: KnownTiles
) -> list[Tile]:
    """The tiles that it may say the same as, or replace: by key, by entity, and those `near`.

    None of these lists gates another. Superseded and merged ones count too, so that the order of
    arrival does not matter; of those near, the first few that are active. Where there are no
    vectors, full text stands in for them: it takes a hundred times as long.
    """
    alike = _by_words(db, tile) if near is None else _near(db, near)
    found = dict.fromkeys((*keys.find(db, tile), *_of_entities(db, tile), *alike))
    rows = db.execute(
        "SELECT tile, tile_id FROM json_each(?) CROSS JOIN tile_heads ON tile = value"
        f" CROSS JOIN tiles ON tiles.seq = tile WHERE status IN {STANDING} ORDER BY key",
        (json.dumps(list(found)),),
    )
    tiles = known.read(db, rows.fetchall())
    return [other for other in tiles if other.id != tile.id and other.scope == tile.scope]


def _of_entities(db: sqlite3.Connection, tile: Tile) -> list[int]:
    names = {canonical(name) for name in (tile.subject, *tile.entities)} - {""}
    if not names:
        return []
    rows = db.execute(
        "SELECT tile FROM tile_entities WHERE entity IN (SELECT value FROM json_each(?))"
        " ORDER BY tile DESC LIMIT ?",
        (json.dumps(sorted(names)), _SAME_ENTITY_MAX),
    )
    return [seq for (seq,) in rows]


def _near(db: sqlite3.Connection, near: Sequence[TileId]) -> list[int]:
    if not near:
        return []
    rows = db.execute(
        "SELECT seq FROM json_each(?) CROSS JOIN tiles ON tile_id = value"
        " CROSS JOIN tile_heads ON tile = seq WHERE status = 'active' ORDER BY key LIMIT ?",
        (json.dumps(near), _NEAR_MAX),
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

    def read(self, db: sqlite3.Connection, rows: Sequence[tuple[int, str]]) -> list[Tile]:
        """The tiles of these rows, `(seq, id)`, in that order."""
        missing = [seq for seq, id in rows if id not in self._tiles]
        if len(self._tiles) + len(missing) > _KNOWN_MAX:
            self._tiles.clear()
            missing = [seq for seq, _ in rows]
        if missing:
            found = db.execute(
                "SELECT tiles.* FROM json_each(?) CROSS JOIN tiles ON seq = value",
                (json.dumps(missing),),
            )
            self._tiles.update((row["tile_id"], to_tile(row)) for row in found)
        return [self._tiles[id] for _, id in rows]
