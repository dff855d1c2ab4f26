"""Float vectors, and the two codes that an index keeps of them: a bit and a byte a dimension."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""Rows of float32, of length one or zero."""
Codes = NDArray[np.int8]
Bits = NDArray[np.uint64]


def normalised(rows: Vectors) -> Vectors:
    """Rows of length one; a row of zeros stays one."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    scaled: Vectors = (rows / lengths).astype(np.float32, copy=False)
    return scaled


def row_of(rows: Vectors) -> Vectors:
    """The first row, alone."""
    row: Vectors = rows[0]
    return row


def encode(rows: Vectors) -> Codes:
    """A byte a dimension. The scale is lost and not needed: only angles are ever compared."""
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0)
    largest[largest == 0] = 1
    codes: Codes = np.rint(rows * (127 / largest)).astype(np.int8)
    return codes


def decode(codes: Codes) -> Vectors:
    """The rows again, normalised; each cosine within about 0.005."""
    return normalised(codes.astype(np.float32))


def stacked(rows: Sequence[Vectors]) -> Vectors:
    """Single rows as one array."""
    return np.stack(rows)


def among(rows: Vectors) -> Vectors:
    """The cosine of each row with the code of each, as an index would find it."""
    codes = encode(rows).astype(np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", codes, codes))
    cosines: Vectors = np.einsum("ij,kj->ki", codes, rows) / np.maximum(lengths, 1)
    return cosines


def by_cosine(*cosines: Vectors) -> list[int]:
    """Places in all of them together by falling cosine; of equals the first comes first."""
    order: list[int] = np.argsort(-np.concatenate(cosines), kind="stable").tolist()
    return order


def signs(codes: Codes) -> Bits:
    """A bit a dimension, packed into words of 64; a dimension that is missing is zero in all."""
    count, dim = codes.shape
    packed = np.zeros((count, words_of(dim) * 8), dtype=np.uint8)
    packed[:, : (dim + 7) // 8] = np.packbits(codes > 0, axis=1)
    return packed.view(np.uint64)


def words_of(dim: int) -> int:
    """How many words of 64 bits the signs of `dim` dimensions take."""
    return (dim + 63) // 64
