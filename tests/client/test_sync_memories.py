"""`SyncClient.memories` against a real memory server: all that `Client.memories` can do."""

from __future__ import annotations

import inspect
import json
import time
from contextlib import asynccontextmanager

import pytest

from stoker.api.serve import listening
from stoker.client import SyncClient
from stoker.client.blocking_memories import SyncMemoriesClient
from stoker.client.memories import MemoriesClient
from stoker.core.errors import InvalidRequest, NotFound
from tests.in_a_thread import in_a_thread
from tests.memories.scripted import served

NOTES = b"The harbour of Port Ellen has 14 berths.\n\nMira repaired the harbour crane in 2024.\n"


@asynccontextmanager
async def serving(folder):
    async with served(folder) as fabric, listening(fabric, port=0) as url:
        yield url


@pytest.fixture
def memories(tmp_path):
    """A service with a loop of its own: the caller blocks."""
    with in_a_thread(serving(tmp_path)) as url, SyncClient(url) as client:
        yield client.memories


def until_done(memories, id):
    deadline = time.monotonic() + 20
    while not (view := memories.get_import(id))["is_done"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return view


def public(kind):
    return {
        name: str(inspect.signature(method))
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


def test_it_has_every_method_of_the_asynchronous_one_with_the_same_arguments():
    asynchronous, blocking = public(MemoriesClient), public(SyncMemoriesClient)

    exported = asynchronous.pop("export").replace("AsyncIterator", "Generator")
    assert blocking.pop("export") == exported
    assert blocking == asynchronous


@pytest.mark.slow
def test_what_was_uploaded_is_found_and_becomes_tiles(memories):
    begun = memories.begin_import("notes")
    outcome = memories.upload(NOTES, "notes.md", import_id=begun["id"])
    view = until_done(memories, begun["id"])

    hits = memories.search("how many berths are there", kinds=["fact"], limit=1)["data"]

    assert outcome["outcomes"][0]["status"] == "imported"
    assert (view["label"], view["tiles"]) == ("notes", 2)
    assert [hit["statement"] for hit in hits] == ["The harbour of Port Ellen has 14 berths."]
    assert [one["id"] for one in memories.imports()] == [begun["id"]]
    assert [one["uri"] for one in memories.sources()] == ["upload:notes.md"]
    assert memories.stats()["tiles"] == {"active": 2}
    assert memories.quarantine() == []
    assert memories.retry() == 0


@pytest.mark.slow
def test_a_statement_is_added_looked_at_and_erased(memories):
    added = memories.add("The staging database is on port 5433.", subject="staging")

    tile = memories.tile(added["id"])
    gone = memories.forget(added["id"])

    assert tile["statement"] == "The staging database is on port 5433."
    assert tile["history"][0]["status"] == "active"
    assert gone["tiles"] == 1
    with pytest.raises(NotFound):
        memories.tile(added["id"])
    with pytest.raises(InvalidRequest):
        memories.forget("nonsense")


@pytest.mark.slow
def test_an_import_is_paused_and_resumed(memories):
    id = memories.begin_import()["id"]

    assert memories.steer(id, "pause")["state"] == "paused"
    assert memories.steer(id, "resume")["state"] == "running"


@pytest.mark.slow
def test_an_export_comes_in_pieces_and_is_read_back(memories):
    memories.add("The staging database is on port 5433.")

    whole = b"".join(memories.export())
    pieces = memories.export(format="markdown")
    first = next(pieces)
    pieces.close()  # hangs up

    assert all(json.loads(line) for line in whole.splitlines())
    assert first.startswith(b"# Memories")
    assert memories.restore(whole) == 0
