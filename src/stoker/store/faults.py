"""What SQLite's errors mean for the person who runs Stoker: one line, and what to do."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from stoker.core.errors import StoreError


class StoreDamaged(StoreError):
    """The file is not what was written to it; another one would work."""


_PRIMARY_CODE = 0xFF  # the low byte of an extended SQLite error code

_ADVICE = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space and try again, nothing was lost",
    sqlite3.SQLITE_CORRUPT: (
        "the database is damaged; restore a backup, or move the file away to start empty"
    ),
    sqlite3.SQLITE_NOTADB: (
        "the file is not an SQLite database; move it away, or name another with --data"
    ),
    sqlite3.SQLITE_READONLY: "no permission to write; check the owner of the file and its folder",
    sqlite3.SQLITE_PERM: "no permission to write; check the owner of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that the folder exists and is writable",
    sqlite3.SQLITE_BUSY: "another program holds the database locked; close it and try again",
    sqlite3.SQLITE_LOCKED: "another program holds the database locked; close it and try again",
    sqlite3.SQLITE_IOERR: "the disk reported an error; check its health and the kernel log",
}

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def store_error(error: Exception, path: Path, label: str) -> StoreError:
    """Translate, naming the file and the way out; the cause stays chained."""
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
    advice = _ADVICE.get(code, "SQLite refused")
    kind = StoreDamaged if code in _DAMAGED else StoreError
    fault = kind(f"{label} {path}: {advice} ({error})")
    fault.__cause__ = error
    return fault
