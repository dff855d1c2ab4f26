"""A signal drains first: the running finish, newcomers are told, background work goes back."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from stoker.api.serve import serve
from stoker.client import Client
from stoker.core.errors import EngineInterrupted, Rejected
from stoker.core.jobs import JobState
from stoker.testing.fake_engine import FakeTiming

pytestmark = pytest.mark.slow

CHAT = {"messages": [{"role": "user", "content": "hello"}]}
STEADY = FakeTiming(prefill_s_per_token=0.0, decode_s=0.01, decode_s_per_sequence=0.0)


async def served(house, group):
    url = asyncio.get_running_loop().create_future()
    task = group.create_task(serve(house.fabric, announce=url.set_result))
    return task, await url


async def test_sigterm_lets_the_running_finish_and_refuses_the_rest(kit):
    config = kit.config({"port": 0})
    async with (
        kit.house_now(config, timing=STEADY, natural_tokens=40) as house,
        asyncio.TaskGroup() as group,
    ):
        task, url = await served(house, group)
        async with Client(url) as client:
            running = group.create_task(collected(client.run_p1(CHAT)))
            await kit.until(lambda: house.running == 1)

            os.kill(os.getpid(), signal.SIGTERM)
            await kit.until(lambda: house.fabric.snapshot().scheduler.is_draining)
            with pytest.raises(Rejected, match="shutting down"):
                await client.run_p0(CHAT)
            chunks = await running
        await task

    assert chunks[-1]["choices"][0]["finish_reason"]


async def test_what_takes_longer_than_the_drain_is_told_so(kit):
    config = kit.config({"port": 0, "drain_timeout_s": 0.2})
    async with kit.house_now(config, timing=STEADY, natural_tokens=5_000) as house:
        async with asyncio.TaskGroup() as group:
            task, url = await served(house, group)
            async with Client(url) as client:
                running = asyncio.ensure_future(collected(client.run_p1(CHAT)))
                await kit.until(lambda: house.running == 1)

                os.kill(os.getpid(), signal.SIGINT)
                with pytest.raises(EngineInterrupted):
                    await running
            await task

        assert house.running == 0


async def test_background_work_goes_back_to_the_store(kit):
    config = kit.config({"port": 0})
    async with kit.house_now(config, timing=STEADY, natural_tokens=5_000) as house:
        async with asyncio.TaskGroup() as group:
            task, url = await served(house, group)
            async with Client(url) as client:
                job_id = await client.enqueue_p2(CHAT)
                await kit.until(lambda: house.running == 1)
                os.kill(os.getpid(), signal.SIGTERM)
            await task

        job = await house.fabric.jobs.get(job_id)
        assert job.state is JobState.AVAILABLE


async def collected(call):
    return [chunk async for chunk in call]
