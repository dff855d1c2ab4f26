"""An embedder that keeps what it has made in a file, so that a benchmark's next run is cheap."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from stoker.memories.recall.embedders import Embedder
from stoker.memories.recall.vectors import Vectors


class KeptVectors:
    """Texts are looked up in `file` first. Questions too where their vectors need no weights."""

    def __init__(self, embedder: Embedder, file: Path) -> None:
        self._embedder = embedder
        self._db = sqlite3.connect(file, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("CREATE TABLE IF NOT EXISTS vectors (text TEXT PRIMARY KEY, vector BLOB)")

    @property
    def model_id(self) -> str:
        return self._embedder.model_id

    @property
    def dim(self) -> int:
        return self._embedder.dim

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One row per text; those that are new are made, and kept."""
        new = [text for text in dict.fromkeys(texts) if self._kept(text) is None]
        if new:
            made = await self._embedder.embed(new)
            rows = ((text, row.tobytes()) for text, row in zip(new, made, strict=True))
            self._db.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)
        found = [vector for text in texts if (vector := self._kept(text)) is not None]
        return np.array(found, dtype=np.float32).reshape(len(texts), self.dim)

    async def embed_query(self, text: str, weights: Mapping[str, float]) -> Vectors:
        """As the embedder does it, which may depend on what is in the store."""
        return await self._embedder.embed_query(text, weights)

    def close(self) -> None:
        self._embedder.close()
        self._db.close()

    def _kept(self, text: str) -> Vectors | None:
        row = self._db.execute("SELECT vector FROM vectors WHERE text = ?", (text,)).fetchone()
        return None if row is None else np.frombuffer(row[0], dtype=np.float32)
