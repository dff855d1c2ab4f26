"""The numbers of the memory server: counted now and then, and only when something has changed."""

import asyncio

import pytest

from stoker.core.errors import StoreError
from stoker.core.work import Usage
from stoker.memories.meters import CENSUS_EVERY_S, Meters
from stoker.memories.records import Census

pytestmark = pytest.mark.virtual_time


class LoopClock:
    def monotonic(self):
        return asyncio.get_running_loop().time()

    def wall(self):
        return 1e9 + self.monotonic()


class Store:
    """Counts how often it is counted."""

    def __init__(self, takes_s=0.0):
        self.changes = 0
        self.asked = []
        self.is_broken = False
        self.takes_s = takes_s

    async def census(self, model):
        await asyncio.sleep(self.takes_s)
        self.asked.append((asyncio.get_running_loop().time(), model))
        if self.is_broken:
            raise StoreError("the disk is gone")
        return Census({}, len(self.asked), {}, {}, {}, 0)


@pytest.fixture
async def counting():
    """Meters that count a store, and the model that is in use."""
    store, meters, model = Store(), Meters(), ["m"]
    task = asyncio.ensure_future(meters.count(store, LoopClock(), lambda: model[0]))
    yield store, meters, model
    task.cancel()


async def test_nothing_is_counted_while_nothing_changes(counting):
    store, meters, _ = counting

    await asyncio.sleep(10 * CENSUS_EVERY_S)

    assert len(store.asked) == 1
    assert meters.census.documents_open == 1


async def test_a_change_is_seen_within_the_interval_and_many_at_once(counting):
    store, meters, _ = counting
    await asyncio.sleep(1)
    store.changes += 1000

    await asyncio.sleep(CENSUS_EVERY_S)

    assert len(store.asked) == 2
    assert meters.census.documents_open == 2


async def test_another_embedder_is_a_change(counting):
    store, _, model = counting
    await asyncio.sleep(1)
    model[0] = "n"

    await asyncio.sleep(CENSUS_EVERY_S)

    assert [name for _, name in store.asked] == ["m", "n"]


async def test_a_store_that_fails_is_asked_again(counting):
    store, meters, _ = counting
    await asyncio.sleep(1)
    store.is_broken, store.changes = True, 1
    await asyncio.sleep(2 * CENSUS_EVERY_S)
    as_before = meters.census.documents_open
    store.is_broken = False

    await asyncio.sleep(CENSUS_EVERY_S)

    assert as_before == 1
    assert meters.census.documents_open == len(store.asked) == 4


async def test_a_long_census_is_taken_so_much_less_often():
    store, meters = Store(takes_s=1.0), Meters()

    async def write():
        while True:
            store.changes += 1
            await asyncio.sleep(1.0)

    tasks = [
        asyncio.ensure_future(meters.count(store, LoopClock(), lambda: "m")),
        asyncio.ensure_future(write()),
    ]
    await asyncio.sleep(1000)
    for task in tasks:
        task.cancel()

    assert len(store.asked) == 10  # one second in a hundred


async def test_tokens_add_up_and_each_search_is_told():
    meters, told = Meters(), []
    meters.on_search(told.append)

    meters.answered(Usage(prompt_tokens=100, output_tokens=20))
    meters.answered(None)
    meters.answered(Usage(prompt_tokens=1, output_tokens=2))
    meters.searched(0.25)

    assert (meters.prompt_tokens, meters.output_tokens, told) == (101, 22, [0.25])
