"""`history.sqlite3`: one writer, a reader that never waits for it, and a size that it never passes.

It is worth less than the service: a damaged file is put aside, a full disk loses samples, and
neither is anybody else's problem.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from stoker.core.errors import StoreError
from stoker.history.happenings import Happening
from stoker.history.levels import EngineSamples, append, levels, roll
from stoker.history.slow import KEPT_PER_CLASS, SLOWEST_KEPT_S, SlowRequest
from stoker.store import database
from stoker.store.faults import StoreDamaged
from stoker.store.lanes import Lane, start_both, stop_both
from stoker.store.queries import migrations
from stoker.store.transactions import group_commit, one_by_one

log = structlog.get_logger("stoker.history")

HISTORY_FILE = "history.sqlite3"
SCHEMA = database.Schema(
    label="history",
    application_id=0x53746F48,  # `StoH`
    migrations=migrations(resources.files("stoker.history") / "sql"),
    is_folder_owner=False,  # the job store of the same folder holds the lock
)

_GROUP_MAX = 16
_LOG_PAGES = 200
"""Of the write-ahead log, before it is copied back: it counts towards the size."""
_LOG_PAGE_BYTES = 4096 + 24
_BUSY_TIMEOUT_S = 5.0
_FULL_SHARE = 0.9
"""At this share of the size the oldest is thrown away, until `_TRIMMED_SHARE` is left."""
_TRIMMED_SHARE = 0.8
_BITES_MAX = 200
_WHILE_S = 600
_THIN_OUT = """
DELETE FROM slowest WHERE number IN (
    SELECT number FROM (
        SELECT number, row_number() OVER (
            PARTITION BY engine, class, cast(at / ?2 AS INTEGER) ORDER BY felt_s DESC
        ) AS place FROM slowest WHERE at >= ?1
    ) WHERE place > ?3
)
"""

T = TypeVar("T")


class HistoryFile:
    """The file of one data folder. Methods raise `StoreError`."""

    def __init__(self, path: Path, *, max_bytes: int, retention_s: float) -> None:
        self.path = path
        self.kept = levels(retention_s)
        self._retention_s = retention_s
        self._file_bytes = max_bytes - _LOG_PAGES * _LOG_PAGE_BYTES
        self._start_lanes()

    async def open(self) -> None:
        """Open it, or begin a new one where it is damaged; that one is put aside."""
        try:
            await self._open()
        except StoreDamaged as error:
            self._put_aside(error)
            await self._open()

    async def close(self) -> None:
        await stop_both(self._writer, self._reader)

    async def begin_anew(self, error: StoreDamaged) -> None:
        """Damage was met while it was in use: put it aside and go on with an empty one."""
        await self.close()
        self._put_aside(error)
        await self._open()

    async def write(
        self,
        at: int,
        samples: EngineSamples,
        happenings: Sequence[Happening],
        slowest: Sequence[SlowRequest],
    ) -> None:
        """What one period of the finest step has brought, in one transaction."""

        def operation(db: sqlite3.Connection) -> None:
            append(db, at, samples, self.kept)
            db.executemany(
                "INSERT INTO happenings (at, kind, engine, text, fields) VALUES (?, ?, ?, ?, ?)",
                [(one.at, one.kind, one.engine, one.text, _json(one.fields)) for one in happenings],
            )
            db.executemany(
                "INSERT INTO slowest (at, engine, class, felt_s, request) VALUES (?, ?, ?, ?, ?)",
                [(one.at, one.engine, one.label, one.felt_s, _json(one)) for one in slowest],
            )

        await self._writer.submit(operation)

    async def roll(self, now: float) -> None:
        """Make the coarser steps, and keep to the time and the size that are allowed."""
        await self._writer.submit(lambda db: self._roll(db, now))

    async def read(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run it on the reading connection."""
        return await self._reader.submit(operation)

    def _roll(self, db: sqlite3.Connection, now: float) -> None:
        roll(db, now, self.kept)
        db.execute("DELETE FROM happenings WHERE at < ?", (now - self._retention_s,))
        kept_s = min(self._retention_s, SLOWEST_KEPT_S)
        db.execute("DELETE FROM slowest WHERE at < ?", (now - kept_s,))
        db.execute(_THIN_OUT, (now - 2 * _WHILE_S, _WHILE_S, KEPT_PER_CLASS))
        self._trim(db)

    def _trim(self, db: sqlite3.Connection) -> None:
        """Throw the oldest away, a bite of each kind at a time, while there is too much."""
        if _used_bytes(db) <= _FULL_SHARE * self._file_bytes:
            return
        for _ in range(_BITES_MAX):
            if _used_bytes(db) <= _TRIMMED_SHARE * self._file_bytes:
                return
            for level in self.kept:
                _bite(db, "samples", "step_s = ?", (level.step_s,))
            _bite(db, "happenings", "1", ())
            _bite(db, "slowest", "1", ())

    async def _open(self) -> None:
        self._start_lanes()
        await start_both(self._writer, self._reader)

    def _start_lanes(self) -> None:
        path = self.path
        self._writer = Lane(
            "stoker-history-writer",
            self._session,
            group_commit(path, SCHEMA.label),
            group_max=_GROUP_MAX,
        )
        self._reader = Lane(
            "stoker-history-reader",
            lambda: database.reader_session(path, SCHEMA, _BUSY_TIMEOUT_S),
            one_by_one(path, SCHEMA.label),
            group_max=_GROUP_MAX,
        )

    @contextmanager
    def _session(self) -> Iterator[sqlite3.Connection]:
        with database.writer_session(self.path, SCHEMA, _BUSY_TIMEOUT_S) as db:
            # A crash of ours loses nothing; a power cut may lose the last seconds, and spares the
            # jobs' own syncs of the disk.
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES // 2}")
            db.execute(f"PRAGMA journal_size_limit = {_LOG_PAGES * _LOG_PAGE_BYTES}")
            page_bytes = int(db.execute("PRAGMA page_size").fetchone()[0])
            pages = int(db.execute("PRAGMA page_count").fetchone()[0])
            if pages * page_bytes > self._file_bytes:  # it was allowed more in an earlier life
                self._trim(db)
                db.execute("VACUUM")
            # Nothing above can fail to keep it below; this is for the case that it does.
            db.execute(f"PRAGMA max_page_count = {max(1, self._file_bytes // page_bytes)}")
            yield db

    def _put_aside(self, error: StoreError) -> None:
        aside = self.path.with_name(self.path.name + ".damaged")
        for end in ("", "-wal", "-shm"):
            part = self.path.with_name(self.path.name + end)
            if part.exists():
                part.replace(aside.with_name(aside.name + end))
        log.warning("history_put_aside", file=str(aside), error=str(error))


@contextmanager
def reading_only(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to somebody's file that changes nothing, also while a service writes it.

    Raises `StoreError`.
    """
    with database.reading_only(path, SCHEMA, _BUSY_TIMEOUT_S) as db:
        yield db


def _used_bytes(db: sqlite3.Connection) -> int:
    page_bytes, pages, free = (
        int(db.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_size", "page_count", "freelist_count")
    )
    return page_bytes * (pages - free)


def _bite(db: sqlite3.Connection, table: str, where: str, values: tuple[object, ...]) -> None:
    """Delete the oldest twentieth of some rows."""
    [count] = db.execute(f"SELECT count(*) FROM {table} WHERE {where}", values).fetchone()
    if count:
        cut = db.execute(
            f"SELECT at FROM {table} WHERE {where} ORDER BY at LIMIT 1 OFFSET ?",
            (*values, max(0, count // 20 - 1)),
        ).fetchone()[0]
        db.execute(f"DELETE FROM {table} WHERE {where} AND at <= ?", (*values, cut))


def _json(document: object) -> str:
    return msgspec.json.encode(document, enc_hook=str).decode()
