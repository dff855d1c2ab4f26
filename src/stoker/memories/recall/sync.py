"""A vector index that follows its table: what is new, what no longer holds, what was erased."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stoker.memories.recall.index import Nearest, VectorIndex, scope_code
from stoker.memories.recall.vectors import Vectors

_ROWS_PER_READ = 8_192
_ROWS_UNSAFE_MAX = 20_000
"""So many rows may have to be read again after a crash: less than a second's work."""

_NEW = """
    SELECT embeddings.seq, owner, scope, vector FROM embeddings
    JOIN {table} ON {table}.seq = embeddings.owner
    WHERE embedder = ? AND embeddings.kind = ? AND embeddings.seq > ?
    ORDER BY embeddings.seq LIMIT ?
"""


class SyncedIndex:
    """The embeddings of one model and one kind (`tile` or `span`), as an index beside the table."""

    def __init__(self, folder: Path, model: str, dim: int, kind: str) -> None:
        self.model = model
        self.kind = kind
        safe = "".join(letter if letter.isalnum() else "-" for letter in model)
        self._index = VectorIndex(folder / f"{safe}.{kind}s.vectors", model, dim)
        self._embedder: int | None = None
        self._state_seen = 0
        self._safe_rows = len(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def refresh(self, db: sqlite3.Connection) -> None:
        """Bring it to what the connection sees."""
        if self._embedder is None and not self._begin(db):
            return
        self._erase(db)
        self._append(db)
        if self.kind == "tile":
            self._hide(db)

    def search(
        self, query: Vectors, limit: int, *, scope: str | None, with_hidden: bool
    ) -> Nearest:
        """The nearest owners; whoever asks checks them against the table."""
        code = None if scope is None else scope_code(scope)
        return self._index.search(query, limit, scope=code, with_hidden=with_hidden)

    def search_all(self, queries: Vectors, limit: int, *, scope: str) -> list[Nearest]:
        """The same for many queries, among what is not hidden in a scope."""
        return self._index.search_all(queries, limit, scope=scope_code(scope))

    def sync(self) -> None:
        """Make it survive a crash as it is."""
        self._index.sync()
        self._safe_rows = len(self._index)

    def close(self) -> None:
        self._index.close()

    def _begin(self, db: sqlite3.Connection) -> bool:
        row = db.execute("SELECT seq FROM embedders WHERE model = ?", (self.model,)).fetchone()
        if row is None:
            return False
        self._embedder = row[0]
        if not self._belongs(db):
            self._index.clear()
            self._safe_rows = 0
        return True

    def _belongs(self, db: sqlite3.Connection) -> bool:
        """Whether the newest row is what the table has there; another database's would differ."""
        last = self._index.last
        if last is None:
            return self._index.erasure == 0
        (erasure,) = db.execute("SELECT coalesce(max(seq), 0) FROM embedding_erasures").fetchone()
        if erasure < self._index.erasure:
            return False
        seq, owner = last
        row = db.execute(
            "SELECT owner FROM embeddings WHERE seq = ? AND embedder = ? AND kind = ?",
            (seq, self._embedder, self.kind),
        ).fetchone()
        if row is not None:
            return owner in {row[0], -1}
        gone = db.execute(
            "SELECT 1 FROM embedding_erasures WHERE embedder = ? AND kind = ? AND owner = ?",
            (self._embedder, self.kind, owner),
        ).fetchone()
        return owner == -1 or gone is not None

    def _erase(self, db: sqlite3.Connection) -> None:
        rows = db.execute(
            "SELECT seq, embedder, kind, owner FROM embedding_erasures WHERE seq > ? ORDER BY seq",
            (self._index.erasure,),
        ).fetchall()
        if not rows:
            return
        owners = [row[3] for row in rows if (row[1], row[2]) == (self._embedder, self.kind)]
        self._index.erase(_array(owners), rows[-1][0])
        self.sync()

    def _append(self, db: sqlite3.Connection) -> None:
        query = _NEW.format(table=f"{self.kind}s")
        last = self._index.last
        seen = 0 if last is None else last[0]
        while True:
            rows = db.execute(query, (self._embedder, self.kind, seen, _ROWS_PER_READ)).fetchall()
            if not rows:
                break
            seen = rows[-1][0]
            codes = np.frombuffer(b"".join(row[3] for row in rows), dtype=np.int8)
            scopes = [scope_code(row[2]) for row in rows]
            self._index.append(
                _array([row[0] for row in rows]),
                _array([row[1] for row in rows]),
                np.array(scopes, dtype=np.uint32),
                codes.reshape(len(rows), self._index.dim),
            )
        if len(self._index) - self._safe_rows > _ROWS_UNSAFE_MAX:
            self.sync()

    def _hide(self, db: sqlite3.Connection) -> None:
        (newest,) = db.execute("SELECT coalesce(max(seq), 0) FROM tile_states").fetchone()
        if newest == self._state_seen:
            return
        if self._state_seen == 0:
            changed = db.execute(
                "SELECT tile, 1 FROM tile_heads"
                " WHERE status IN ('superseded', 'merged', 'retracted', 'quarantined')"
            ).fetchall()
        else:
            changed = db.execute(
                "SELECT tile, status <> 'active' FROM tile_heads WHERE tile IN"
                " (SELECT tile FROM tile_states WHERE seq > ?)",
                (self._state_seen,),
            ).fetchall()
        self._state_seen = newest
        for is_hidden in (False, True):
            owners = [row[0] for row in changed if bool(row[1]) is is_hidden]
            if owners:
                self._index.hide(_array(owners), is_hidden=is_hidden)


def _array(numbers: Sequence[int]) -> NDArray[np.int64]:
    return np.array(numbers, dtype=np.int64)
