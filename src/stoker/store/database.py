"""Opening a database file: settings, checks, migrations. Knows nothing of what is in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from stoker.core.errors import StoreError
from stoker.store.faults import StoreDamaged, store_error
from stoker.store.folder_lock import folder_lock


@dataclass(frozen=True, slots=True)
class Schema:
    """What a file is for, and how its tables come about."""

    label: str
    """What error messages call it."""
    application_id: int
    """In the file's header: a foreign database is refused instead of migrated."""
    migrations: Sequence[str]
    """Scripts in order; a database of version n has had the first n."""
    is_folder_owner: bool
    """Whether its writer holds the data folder's lock. One file of a folder does it for all."""


# A full check reads the whole file, 0.1 s for this size on a laptop's disk. In a larger file damage
# is met when the page is read, with the same message.
_CHECKED_BYTES_MAX = 64 * 2**20

_WRITER_SETTINGS = (
    "PRAGMA journal_mode = WAL",
    # FULL syncs the write-ahead log at every commit. NORMAL would lose the last commits in a power
    # cut, and a job that was acknowledged with 202 must not be lost. Group commit pays for it.
    "PRAGMA synchronous = FULL",
    # macOS: a plain fsync stops at the drive's cache; elsewhere these two do nothing.
    "PRAGMA fullfsync = ON",
    "PRAGMA checkpoint_fullfsync = ON",
    "PRAGMA foreign_keys = ON",
    "PRAGMA cache_size = -65536",
    # Copy the log back every 16 MB rather than 4: hot pages (counts, index heads) go back once for
    # four times as many commits. After a bulk import the log shrinks to its usual size again.
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA journal_size_limit = 67108864",
)
# Each statement that fires a trigger keeps the pages as they were before it. In a large transaction
# they went to a file, ten writes for each job of a bulk. Migrations sort too much for the RAM.
_AFTER_MIGRATION = "PRAGMA temp_store = MEMORY"
_READER_SETTINGS = ("PRAGMA query_only = ON", "PRAGMA cache_size = -8192")


@contextmanager
def writer_session(
    path: Path, schema: Schema, busy_timeout_s: float
) -> Iterator[sqlite3.Connection]:
    """The one connection that writes: folder locked, schema current. Raises `StoreError`."""
    with ExitStack() as stack:
        if schema.is_folder_owner:
            stack.enter_context(folder_lock(path.parent))
        connection = stack.enter_context(_connection(path, schema, busy_timeout_s))
        try:
            _check_ours(connection, path, schema)
            for setting in _WRITER_SETTINGS:
                connection.execute(setting)
            _check_pages(connection, path, schema)
            _migrate(connection, path, schema)
            connection.execute(_AFTER_MIGRATION)
        except sqlite3.Error as error:
            raise store_error(error, path, schema.label) from error
        yield connection


@contextmanager
def reader_session(
    path: Path, schema: Schema, busy_timeout_s: float
) -> Iterator[sqlite3.Connection]:
    """A connection that only reads; in WAL mode it waits for no writer."""
    with _connection(path, schema, busy_timeout_s) as connection:
        for setting in _READER_SETTINGS:
            connection.execute(setting)
        yield connection


@contextmanager
def reading_only(path: Path, schema: Schema, busy_timeout_s: float) -> Iterator[sqlite3.Connection]:
    """A connection to a file that others may be writing, or that cannot be written at all.

    Nothing is created and nothing migrated. Raises `StoreError`.
    """
    for options in ("mode=ro", "mode=ro&immutable=1"):  # the latter for a folder without permission
        try:
            uri = f"{path.absolute().as_uri()}?{options}"
            connection = sqlite3.connect(
                uri, uri=True, timeout=busy_timeout_s, isolation_level=None
            )
            connection.execute("SELECT count(*) FROM sqlite_schema")
        except sqlite3.Error as error:
            failure = error
            continue
        break
    else:
        raise store_error(failure, path, schema.label) from failure
    try:
        connection.row_factory = sqlite3.Row
        _check_ours(connection, path, schema)
        if _number(connection, "PRAGMA user_version") != len(schema.migrations):
            raise StoreError(
                f"{schema.label} {path}: written by another version of Stoker; read it with that"
            )
        yield connection
    finally:
        connection.close()


@contextmanager
def _connection(path: Path, schema: Schema, busy_timeout_s: float) -> Iterator[sqlite3.Connection]:
    try:
        # isolation_level=None: transactions begin where we say so, never by guess of the driver.
        connection = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None)
    except sqlite3.Error as error:
        raise store_error(error, path, schema.label) from error
    try:
        connection.row_factory = sqlite3.Row
        yield connection
    finally:
        connection.close()


def _check_ours(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    application = _number(connection, "PRAGMA application_id")
    has_tables = _number(connection, "SELECT count(*) FROM sqlite_schema") > 0
    if application != schema.application_id and (application != 0 or has_tables):
        raise StoreError(
            f"{schema.label} {path}: this SQLite database is not Stoker's; "
            "move it away, or name another folder with --data"
        )


def _check_pages(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    if path.stat().st_size > _CHECKED_BYTES_MAX:
        return
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        found = " ".join(verdict.split())
        raise StoreDamaged(
            f"{schema.label} {path}: the database is damaged; "
            f"restore a backup, or move the file away to start empty ({found})"
        )


def _migrate(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    version = _number(connection, "PRAGMA user_version")
    scripts = schema.migrations
    if version > len(scripts):
        raise StoreError(
            f"{schema.label} {path}: written by a newer Stoker (schema {version}, this one knows "
            f"{len(scripts)}); upgrade Stoker, or name another folder with --data"
        )
    for number, script in enumerate(scripts[version:], version + 1):
        try:
            # Script and version in one transaction: a crash leaves the one schema or the other.
            connection.executescript(
                f"BEGIN IMMEDIATE; {script}; PRAGMA application_id = {schema.application_id};"
                f"PRAGMA user_version = {number}; COMMIT;"
            )
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _number(connection: sqlite3.Connection, sql: str) -> int:
    return int(connection.execute(sql).fetchone()[0])
