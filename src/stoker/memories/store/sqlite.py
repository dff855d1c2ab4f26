"""One file beside the jobs: a writer with group commit, and readers that never wait for it.

What is done in a transaction is in the modules beside this one, by subject; each takes the
connection, so that several of them can be one commit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TypeVar

from stoker.store import database
from stoker.store.lanes import Lane
from stoker.store.queries import migrations
from stoker.store.transactions import group_commit, one_by_one

MEMORIES_FILE = "memories.sqlite3"

SCHEMA = database.Schema(
    label="memories",
    application_id=0x53746F4D,  # `StoM`
    migrations=migrations(resources.files("stoker.memories.store") / "sql"),
    is_folder_owner=False,  # the job store of the same folder holds the lock
)

_GROUP_MAX = 64
"""Transactions of an import are large; few are worth waiting for."""

T = TypeVar("T")


class SqliteMemoryStore:
    """The file and its two lanes."""

    def __init__(self, path: Path, *, busy_timeout_s: float = 5.0) -> None:
        self.path = path
        self._writer = Lane(
            "stoker-memories-writer",
            lambda: database.writer_session(path, SCHEMA, busy_timeout_s),
            group_commit(path, SCHEMA.label),
            group_max=_GROUP_MAX,
        )
        self._reader = Lane(
            "stoker-memories-reader",
            lambda: database.reader_session(path, SCHEMA, busy_timeout_s),
            one_by_one(path, SCHEMA.label),
            group_max=_GROUP_MAX,
        )

    async def open(self) -> None:
        """Open and migrate. Raises `StoreError`."""
        await self._writer.start()
        try:
            await self._reader.start()
        except BaseException:
            await self._writer.stop()
            raise

    async def close(self) -> None:
        # The reader first: the last connection to close folds the log back into the file.
        await self._reader.stop()
        await self._writer.stop()

    async def write(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run it in a transaction, all or nothing; on the disk when this returns."""
        return await self._writer.submit(operation)

    async def read(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run it on the reading connection."""
        return await self._reader.submit(operation)
