"""An embedder for tests: a random direction for each word, added up. Exact, small, no wheel."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from stoker.memories.recall.vectors import Vectors, normalised


class WordEmbedder:
    def __init__(self, model_id: str = "words-64", dim: int = 64) -> None:
        self.model_id = model_id
        self.dim = dim
        self.embedded: list[str] = []
        self.is_closed = False

    async def embed(self, texts: Sequence[str]) -> Vectors:
        self.embedded += texts
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        for at, text in enumerate(texts):
            for word in re.findall(r"\w+", text.casefold()):
                seed = zlib.crc32(f"{self.model_id} {word}".encode())
                rows[at] += np.random.default_rng(seed).standard_normal(self.dim).astype(np.float32)
        return normalised(rows)

    async def embed_query(self, text: str, weights: Mapping[str, float]) -> Vectors:
        return (await self.embed([text]))[0]

    def close(self) -> None:
        self.is_closed = True
