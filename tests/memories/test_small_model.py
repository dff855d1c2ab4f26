"""The whole memory server on the real embedded engine, with a model far too small for it."""

import pytest

from stoker.config import Config, EngineConfig
from stoker.fabric import Fabric
from stoker.memories.records import StageState
from stoker.memories.tiles import Status, canonical

pytestmark = [pytest.mark.embedded, pytest.mark.slow]

TEXT = """The harbour of Port Ellen has 14 berths for fishing boats and one for the ferry.

Mira Olsen repaired the harbour crane in the spring of 2024. It can lift 40 tonnes again.
"""


async def test_every_answer_ends_and_nothing_false_becomes_active(tmp_path):
    config = Config(data=tmp_path, engine=EngineConfig(embedded_threads=1))
    async with Fabric.open(config) as fabric:
        memories = fabric.memories
        view = await memories.begin_import("small")
        await memories.add_upload(view.id, TEXT.encode(), "harbour.md")
        view = await memories.wait_import(view.id)
        tiles = await memories.store.read(_tiles)

    assert view.is_done
    assert view.work.left == 0
    assert set(view.work.by_state) <= {StageState.DONE, StageState.QUARANTINED}
    assert view.work.output_tokens > 0
    active = [statement for statement, status in tiles if status is Status.ACTIVE]
    numbers = {word.strip(".,") for statement in active for word in statement.split()}
    assert {word for word in numbers if word.isdecimal()} <= {"14", "2024", "40"}
    assert len({canonical(statement) for statement in active}) == len(active)


def _tiles(db):
    rows = db.execute("SELECT statement, status FROM tiles JOIN tile_heads ON tile = tiles.seq")
    return [(row["statement"], Status(row["status"])) for row in rows]
