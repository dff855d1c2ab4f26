"""The vectors of one model: a scan over one bit a dimension, then bytes for the nearest.

1,000,000 vectors of 256 dimensions are 32 MB of bits in RAM and 276 MB on the disk, mapped.
docs/adr/0019 has the libraries that were measured beside it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stoker.memories.recall.segment import ERASED, Segment
from stoker.memories.recall.vectors import Codes, Vectors, encode, signs, words_of

_CANDIDATES_MIN = 2_048
"""How many of the nearest by bits are compared by bytes. 512 found all of the true ten nearest
among a million vectors in clusters. Real ones are less tidy; four times as many cost little."""
_OF_MANY_MIN = 512
"""The same for many searches in a row, for tiles that are to be compared: a few are enough."""
_BLOCK = 65_536
"""Rows per step of the scan: its three buffers stay in a core's second cache."""
_FAR = np.uint16(65_535)
_HIDDEN = np.uint8(1)
_GONE = np.uint8(2)


@dataclass(frozen=True, slots=True)
class Nearest:
    """Owners by falling cosine."""

    owners: NDArray[np.int64]
    cosines: NDArray[np.float32]


def scope_code(scope: str) -> int:
    """A scope as 32 bits. Two scopes may share a code: the database has the last word."""
    return int.from_bytes(hashlib.blake2b(scope.encode(), digest_size=4).digest(), "little")


class VectorIndex:
    """Append, hide, erase, search. Not for several threads at once."""

    def __init__(self, path: Path, model: str, dim: int) -> None:
        self.model = model
        self.dim = dim
        self._segment = Segment(path, model, dim)
        self._columns = np.empty((words_of(dim), 0), dtype=np.uint64)
        self._owners = np.empty(0, dtype=np.int64)
        self._scopes = np.empty(0, dtype=np.uint32)
        self._flags = np.empty(0, dtype=np.uint8)
        self._distances = np.empty(0, dtype=np.uint16)
        self._reserve(self._segment.count)
        at = 0
        for chunk in self._segment.chunks():
            self._fill(at, chunk["owner"], chunk["scope"], chunk["codes"])
            at += len(chunk)

    def __len__(self) -> int:
        return self._segment.count

    @property
    def last(self) -> tuple[int, int] | None:
        """`seq` and owner of the newest row."""
        return self._segment.last()

    @property
    def erasure(self) -> int:
        return self._segment.erasure

    def append(
        self, seqs: NDArray[np.int64], owners: NDArray[np.int64], scopes: NDArray[np.uint32],
        codes: Codes,
    ) -> None:  # fmt: skip
        """Add rows, in order of `seq`."""
        at = len(self)
        self._segment.append(seqs, owners, scopes, codes)
        self._reserve(len(self))
        self._fill(at, owners, scopes, codes)

    def hide(self, owners: NDArray[np.int64], *, is_hidden: bool) -> None:
        """Leave rows out of ordinary searches, or let them in again."""
        rows = self._rows(owners)
        if is_hidden:
            self._flags[rows] |= _HIDDEN
        else:
            self._flags[rows] &= ~_HIDDEN

    def erase(self, owners: NDArray[np.int64], erasure: int) -> None:
        """Blank rows for good, in RAM and on the disk."""
        rows = self._rows(owners)
        self._segment.erase(rows, erasure)
        self._columns[:, rows] = 0
        self._owners[rows] = ERASED
        self._flags[rows] |= _GONE

    def clear(self) -> None:
        """Forget everything."""
        self._segment.clear()

    def sync(self) -> None:
        """Make it survive a crash; without it, the database has to be read again."""
        self._segment.sync()

    def close(self) -> None:
        self._segment.close()

    def search(
        self, query: Vectors, limit: int, *, scope: int | None = None, with_hidden: bool = False
    ) -> Nearest:
        """The nearest `limit` owners. `query` is one normalised row."""
        rows = self._candidates(
            query, max(_CANDIDATES_MIN, 4 * limit), scope, with_hidden=with_hidden
        )
        (found,) = self._nearest(query[None, :], rows, limit)
        return found

    def search_all(self, queries: Vectors, limit: int, *, scope: int) -> list[Nearest]:
        """The same for many rows of one scope, which share the reading where all is compared."""
        wanted = max(_OF_MANY_MIN, 4 * limit)
        if len(self) <= wanted:
            rows = self._candidates(queries[0], wanted, scope, with_hidden=False)
            return self._nearest(queries, rows, limit)
        return [
            found
            for query in queries
            for found in self._nearest(
                query[None, :], self._candidates(query, wanted, scope, with_hidden=False), limit
            )
        ]

    def _nearest(self, queries: Vectors, rows: NDArray[np.int64], limit: int) -> list[Nearest]:
        codes = self._segment.codes(rows).astype(np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", codes, codes))
        # Not `@`: BLAS would wake its threads, and they spin beside whatever else the box does.
        all_cosines = np.einsum("ij,kj->ki", codes, queries) / np.maximum(lengths, 1)
        owners = self._owners[rows]
        found = []
        for cosines in all_cosines:
            best = _largest(cosines, limit)
            # The owner breaks ties, so that equal texts come in the same order every time.
            order = best[np.lexsort((owners[best], -cosines[best]))[:limit]]
            found.append(Nearest(owners[order], cosines[order].astype(np.float32)))
        return found

    def _candidates(
        self, query: Vectors, wanted: int, scope: int | None, *, with_hidden: bool
    ) -> NDArray[np.int64]:
        count = len(self)
        barred = _GONE if with_hidden else _GONE | _HIDDEN
        if count <= wanted:
            allowed = (self._flags[:count] & barred) == 0
            if scope is not None:
                allowed &= self._scopes[:count] == scope
            return np.flatnonzero(allowed)
        self._scan(signs(encode(query[None, :]))[0], scope, barred)
        return _smallest(self._distances[:count], wanted)

    def _scan(self, query: NDArray[np.uint64], scope: int | None, barred: np.uint8) -> None:
        count = len(self)
        differing = np.empty(_BLOCK, dtype=np.uint64)
        ones = np.empty(_BLOCK, dtype=np.uint8)
        for start in range(0, count, _BLOCK):
            stop = min(start + _BLOCK, count)
            size = stop - start
            distances = self._distances[start:stop]
            distances[:] = 0
            for column, word in zip(self._columns, query, strict=True):
                np.bitwise_xor(column[start:stop], word, out=differing[:size])
                np.bitwise_count(differing[:size], out=ones[:size])
                distances += ones[:size]
            is_out = (self._flags[start:stop] & barred) != 0
            if scope is not None:
                is_out |= self._scopes[start:stop] != scope
            distances[is_out] = _FAR

    def _rows(self, owners: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.flatnonzero(np.isin(self._owners[: len(self)], owners))

    def _reserve(self, count: int) -> None:
        held = len(self._owners)
        if count <= held:
            return
        more = max(count, held * 5 // 4) - held
        self._columns = np.pad(self._columns, ((0, 0), (0, more)))
        self._owners = np.pad(self._owners, (0, more))
        self._scopes = np.pad(self._scopes, (0, more))
        self._flags = np.pad(self._flags, (0, more))
        self._distances = np.empty(held + more, dtype=np.uint16)

    def _fill(
        self, at: int, owners: NDArray[np.int64], scopes: NDArray[np.uint32], codes: Codes
    ) -> None:
        rows = slice(at, at + len(owners))
        self._columns[:, rows] = signs(codes).T
        self._owners[rows] = owners
        self._scopes[rows] = scopes
        self._flags[rows] = np.where(owners == ERASED, _GONE, 0)


def _largest(cosines: NDArray[np.float32], wanted: int) -> NDArray[np.int64]:
    """Where the largest are, and all that equal the last of them; in no order."""
    if len(cosines) <= wanted:
        return np.arange(len(cosines))
    return np.flatnonzero(cosines >= np.partition(cosines, -wanted)[-wanted])


def _smallest(distances: NDArray[np.uint16], wanted: int) -> NDArray[np.int64]:
    """Where the smallest are, at least `wanted` of them if there are so many; in no order.

    A partition of a million numbers takes 10 ms: a sample guesses the bound, a count mends it.
    """
    sample = np.sort(distances[:: max(1, len(distances) // 4_096)])
    place = int(len(sample) * wanted / len(distances)) + 1
    bound = int(sample[min(place, len(sample) - 1)])
    bound = min(bound, int(_FAR) - 1)
    found = np.flatnonzero(distances <= bound)
    while len(found) < wanted and bound < _FAR - 1:
        bound = min(bound + 2, int(_FAR) - 1) if bound < 4_096 else int(_FAR) - 1
        found = np.flatnonzero(distances <= bound)
    if len(found) > 2 * wanted:
        nearest = np.argpartition(distances[found], wanted - 1)[:wanted]
        return found[nearest]
    return found
