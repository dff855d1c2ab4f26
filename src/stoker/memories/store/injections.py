"""Which tiles were shown in which conversation, found again by the words that were answered."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from stoker.memories.tiles import TileId, canonical, content_hash


def record(
    db: sqlite3.Connection, request_id: str, turn: str, tiles: Sequence[TileId], *, now: float
) -> None:
    """These tiles were put before the answer to `turn`. Only a hash of its words is kept."""
    db.execute(
        "INSERT INTO injections (request_id, fingerprint, tiles, at) VALUES (?, ?, ?, ?)",
        (request_id, fingerprint(turn), json.dumps(tiles), now),
    )


def behind(db: sqlite3.Connection, turns: Sequence[str]) -> dict[str, tuple[TileId, ...]]:
    """The tiles behind the answers to these turns, for those that had any."""
    by_print = {fingerprint(turn): turn for turn in turns}
    rows = db.execute(
        "SELECT fingerprint, tiles FROM injections"
        " WHERE fingerprint IN (SELECT value FROM json_each(?)) ORDER BY seq",
        (json.dumps(list(by_print)),),
    )
    found: dict[str, dict[TileId, None]] = {}
    for row in rows:
        shown = dict.fromkeys(TileId(id) for id in json.loads(row["tiles"]))
        found.setdefault(by_print[row["fingerprint"]], {}).update(shown)
    return {turn: tuple(shown) for turn, shown in found.items()}


def fingerprint(turn: str) -> str:
    """A user's turn as it is recognised in a later export of the conversation."""
    return content_hash(canonical(turn).encode())
