"""A store in a fresh file."""

import sqlite3

import pytest

from stoker.memories.store.sqlite import MEMORIES_FILE, SCHEMA, SqliteMemoryStore


@pytest.fixture
async def store(tmp_path):
    store = SqliteMemoryStore(tmp_path / MEMORIES_FILE)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def db():
    """The bare schema, for tests of single statements."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.row_factory = sqlite3.Row
    for script in SCHEMA.migrations:
        connection.executescript(script)
    yield connection
    connection.close()
