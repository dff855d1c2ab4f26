"""The keys of tiles: kept with them, looked up for new ones, and erased with them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from stoker.memories.blocking import keys_of
from stoker.memories.store.rows import as_json
from stoker.memories.tiles import Tile

_OF_PROPERTY_MAX = 20
_OF_WORDS_MAX = 20


def add(db: sqlite3.Connection, tiles: Iterable[tuple[int, Tile]]) -> None:
    """Keep tiles under their keys."""
    db.executemany(
        "INSERT OR IGNORE INTO tile_keys (key, tile) VALUES (?, ?)",
        [(key, seq) for seq, tile in tiles for key in keys_of(tile).kept],
    )


def remove(db: sqlite3.Connection, seq: int, tile: Tile) -> None:
    """Forget it under its keys: they are hashes of its words."""
    db.executemany(
        "DELETE FROM tile_keys WHERE key = ? AND tile = ?",
        [(key, seq) for key in keys_of(tile).kept],
    )


def find(db: sqlite3.Connection, tile: Tile) -> list[int]:
    """Tiles that may be linked with it by rule; of more than a few, the newest."""
    keys = keys_of(tile)
    found: list[int] = []
    if keys.property is not None:
        found += _newest(db, (keys.property,), _OF_PROPERTY_MAX)
    return found + _newest(db, keys.words, _OF_WORDS_MAX)


def _newest(db: sqlite3.Connection, keys: tuple[int, ...], limit: int) -> list[int]:
    rows = db.execute(
        "SELECT tile FROM tile_keys WHERE key IN (SELECT value FROM json_each(?))"
        " ORDER BY tile DESC LIMIT ?",
        (as_json(keys), limit),
    )
    return [tile for (tile,) in rows]
