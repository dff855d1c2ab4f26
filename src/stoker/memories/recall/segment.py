"""The file behind a vector index: records that are only appended, and a note of how many are safe.

The database is the truth and this is derived from it. After a crash, whatever was appended since
the last note is cut off and read from the database again, so a torn record is never looked at.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stoker.memories.recall.vectors import Codes

ERASED = -1
"""The owner of a record whose text was erased; its codes are zero."""
_FORMAT = 1
_RECORDS_PER_READ = 16_384


@dataclass(frozen=True, slots=True)
class Note:
    """What is known to be on the disk."""

    format: int
    model: str
    dim: int
    records: int
    erasure: int
    """Up to which row of the database's list of erasures the records are zeroed."""


class Segment:
    """Records of one model and one kind: `seq`, `owner`, `scope`, `codes`."""

    def __init__(self, path: Path, model: str, dim: int) -> None:
        self._path = path
        self._note_path = path.with_suffix(".json")
        self._dtype = np.dtype(
            [("seq", "<i8"), ("owner", "<i8"), ("scope", "<u4"), ("codes", "i1", (dim,))]
        )
        self._empty = Note(_FORMAT, model, dim, records=0, erasure=0)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.erasure = 0
        self.count = 0
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._resume()
        self._map = self._mapped()

    def append(
        self, seqs: NDArray[np.int64], owners: NDArray[np.int64], scopes: NDArray[np.uint32],
        codes: Codes,
    ) -> None:  # fmt: skip
        """Add records. They survive a crash from the next `sync` on."""
        records = np.empty(len(seqs), dtype=self._dtype)
        records["seq"], records["owner"], records["scope"] = seqs, owners, scopes
        records["codes"] = codes
        self._file.seek(self.count * self._dtype.itemsize)
        self._file.write(records.tobytes())
        self._file.flush()
        self.count += len(seqs)
        self._map = self._mapped()

    def codes(self, rows: NDArray[np.int64]) -> Codes:
        """The codes of some records."""
        found: Codes = self._map["codes"][rows]
        return found

    def last(self) -> tuple[int, int] | None:
        """`seq` and `owner` of the last record."""
        if self.count == 0:
            return None
        return int(self._map["seq"][self.count - 1]), int(self._map["owner"][self.count - 1])

    def chunks(self) -> Iterator[NDArray[np.void]]:
        """All records in order. Read, not mapped: pages that are looked at once stay out of RSS."""
        self._file.seek(0)
        left = self.count
        while left > 0:
            size = min(left, _RECORDS_PER_READ)
            data = self._file.read(size * self._dtype.itemsize)
            yield np.frombuffer(data, dtype=self._dtype)
            left -= size

    def erase(self, rows: NDArray[np.int64], erasure: int) -> None:
        """Overwrite records whose text was erased, up to that erasure of the database."""
        blank = np.zeros(1, dtype=self._dtype)
        for row in rows:
            blank["seq"], blank["owner"] = self._map["seq"][row], ERASED
            self._file.seek(int(row) * self._dtype.itemsize)
            self._file.write(blank.tobytes())
        self._file.flush()
        self.erasure = erasure

    def clear(self) -> None:
        """Forget everything: it belonged to another database."""
        self.count, self.erasure = 0, 0
        self.sync()
        self._map = self._mapped()

    def sync(self) -> None:
        """Make what was appended safe: the records first, then the note that counts them."""
        self._file.truncate(self.count * self._dtype.itemsize)
        os.fsync(self._file.fileno())
        note = Note(_FORMAT, self._empty.model, self._empty.dim, self.count, self.erasure)
        fresh = self._note_path.with_suffix(".json.new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(asdict(note), file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._note_path)

    def close(self) -> None:
        self.sync()
        self._file.close()

    def _resume(self) -> None:
        note = self._read_note()
        held = self._path.stat().st_size // self._dtype.itemsize
        # Fewer records than the note says: somebody else touched the file. Begin anew.
        if note.records <= held:
            self.count, self.erasure = note.records, note.erasure
        self._file.truncate(self.count * self._dtype.itemsize)

    def _read_note(self) -> Note:
        try:
            note = Note(**json.loads(self._note_path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return self._empty
        known = (self._empty.format, self._empty.model, self._empty.dim)
        return note if (note.format, note.model, note.dim) == known else self._empty

    def _mapped(self) -> NDArray[np.void]:
        if self.count == 0:
            return np.empty(0, dtype=self._dtype)
        return np.memmap(self._path, dtype=self._dtype, mode="r", shape=(self.count,))
