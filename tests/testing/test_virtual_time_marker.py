import asyncio

import pytest

from stoker.testing.virtual_time import VirtualTimeLoop


@pytest.mark.virtual_time
async def test_a_marked_test_sleeps_an_hour_at_once() -> None:
    loop = asyncio.get_running_loop()

    await asyncio.sleep(3600)

    assert loop.time() == 3600


async def test_an_unmarked_test_runs_on_the_real_clock() -> None:
    assert not isinstance(asyncio.get_running_loop(), VirtualTimeLoop)
