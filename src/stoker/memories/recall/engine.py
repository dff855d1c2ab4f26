"""The engine as the embedder: `/v1/embeddings` through the fabric, one small request a batch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
import numpy as np

from stoker.core.errors import EngineError
from stoker.memories.recall.vectors import Vectors, normalised, row_of

Infer = Callable[[bytes], Awaitable[bytes]]
"""An OpenAI body in, the engine's answer out. Raises `StokerError`."""

_TEXTS_PER_CALL = 32
_CHARS_MAX = 8_000
"""Most embedding models read 512 tokens, the long ones 8,192; an engine may refuse more."""


class _Embedding(msgspec.Struct):
    embedding: list[float]
    index: int = 0


class _Answer(msgspec.Struct):
    data: list[_Embedding]


class EngineEmbedder:
    """Vectors of the model that the engine has loaded; only questions are asked at once."""

    def __init__(self, model: str, dim: int, *, in_background: Infer, at_once: Infer) -> None:
        self.model_id = f"engine:{model}"
        self.dim = dim
        self._model = model
        self._in_background = in_background
        self._at_once = at_once

    @classmethod
    async def connect(cls, model: str, *, in_background: Infer, at_once: Infer) -> EngineEmbedder:
        """Ask once, to learn how long its vectors are. Raises `StokerError`."""
        probe = cls(model, 0, in_background=in_background, at_once=at_once)
        rows = await probe._ask(at_once, ["probe"])
        return cls(model, rows.shape[1], in_background=in_background, at_once=at_once)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder`."""
        parts = [
            await self._ask(self._in_background, texts[start : start + _TEXTS_PER_CALL])
            for start in range(0, len(texts), _TEXTS_PER_CALL)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.dim), dtype=np.float32)

    async def embed_query(self, text: str, weights: Mapping[str, float]) -> Vectors:
        """See `Embedder`."""
        del weights  # a model that reads sentences knows by itself which words matter
        return row_of(await self._ask(self._at_once, [text]))

    def close(self) -> None:
        """Nothing of it is ours."""

    async def _ask(self, infer: Infer, texts: Sequence[str]) -> Vectors:
        # An empty text is refused by some engines; a space means as little.
        body = {"model": self._model, "input": [text[:_CHARS_MAX] or " " for text in texts]}
        try:
            answer = msgspec.json.decode(await infer(msgspec.json.encode(body)), type=_Answer)
            ordered = sorted(answer.data, key=lambda each: each.index)
            rows = np.array([each.embedding for each in ordered], dtype=np.float32)
        except (msgspec.DecodeError, ValueError) as error:
            raise EngineError(f"embeddings of {self._model}: no vectors in it ({error})") from error
        if rows.ndim != 2 or len(rows) != len(texts) or self.dim not in {0, rows.shape[1]}:
            raise EngineError(
                f"embeddings of {self._model}: {rows.shape} came back for {len(texts)} texts; "
                "is another model loaded?"
            )
        return normalised(rows)
