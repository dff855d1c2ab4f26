"""Giving vectors to what has none: new text, and all of it again after a change of model.

Which rows lack a vector is read from the tables, so it goes on after a restart where it was.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stoker.memories.recall.vectors import Vectors

KINDS = ("tile", "span")

_TEXTS = {
    "tile": "SELECT seq, statement AS text FROM tiles AS rows",
    # The speaker is part of what was said: "Who went to Rome?"
    "span": "SELECT seq, iif(author = '', text, author || ': ' || text) AS text FROM spans AS rows",
}


@dataclass(frozen=True, slots=True)
class Missing:
    """Rows of one kind without a vector of one model, oldest first."""

    kind: str
    rows: tuple[int, ...]
    texts: tuple[str, ...]


def register(db: sqlite3.Connection, model: str, dim: int) -> None:
    """Make a model known, so that vectors of it can be kept."""
    db.execute(
        "INSERT INTO embedders (model, dim) VALUES (?, ?) ON CONFLICT (model) DO NOTHING",
        (model, dim),
    )


def models(db: sqlite3.Connection) -> list[tuple[str, int]]:
    """Models that have vectors here, with their dimensions, the newest first."""
    rows = db.execute(
        "SELECT model, dim FROM embedders WHERE EXISTS"
        " (SELECT 1 FROM embeddings WHERE embedder = embedders.seq) ORDER BY seq DESC"
    )
    return [(row[0], row[1]) for row in rows]


def missing(db: sqlite3.Connection, model: str, kind: str, after: int, limit: int) -> Missing:
    """The next rows without a vector, behind row `after`."""
    rows = db.execute(
        f"{_TEXTS[kind]} WHERE seq > ? AND NOT EXISTS (SELECT 1 FROM embeddings JOIN embedders"
        " ON embedders.seq = embedder WHERE model = ? AND kind = ? AND owner = rows.seq)"
        " ORDER BY seq LIMIT ?",
        (after, model, kind, limit),
    ).fetchall()
    return Missing(kind, tuple(row[0] for row in rows), tuple(row[1] for row in rows))


def keep(
    db: sqlite3.Connection, model: str, kind: str, rows: Sequence[int], vectors: Vectors
) -> None:
    """Store vectors. A row that was erased meanwhile stays without."""
    from stoker.memories.recall.vectors import encode  # noqa: PLC0415

    (embedder,) = db.execute("SELECT seq FROM embedders WHERE model = ?", (model,)).fetchone()
    db.executemany(
        "INSERT INTO embeddings (embedder, kind, owner, vector)"
        f" SELECT ?, ?, seq, ? FROM {kind}s WHERE seq = ?"
        " ON CONFLICT (embedder, kind, owner) DO NOTHING",
        (
            (embedder, kind, code.tobytes(), row)
            for row, code in zip(rows, encode(vectors), strict=True)
        ),
    )


def drop(db: sqlite3.Connection, model: str, limit: int) -> int:
    """Remove up to `limit` vectors of a model that nobody reads any more; returns how many."""
    cursor = db.execute(
        "DELETE FROM embeddings WHERE seq IN (SELECT embeddings.seq FROM embeddings"
        " JOIN embedders ON embedders.seq = embedder WHERE model = ? LIMIT ?)",
        (model, limit),
    )
    return cursor.rowcount
