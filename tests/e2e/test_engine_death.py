"""`kill -9` of the embedded engine under mixed load: everybody is told, background work goes on."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from stoker.client import Client
from tests.e2e.service import Service, until

pytestmark = pytest.mark.embedded

LONG = {
    "messages": [{"role": "user", "content": "Tell me everything about the sea."}],
    "max_tokens": 2_000,
    "ignore_eos": True,
}


async def test_callers_are_told_and_background_work_completes_after_the_restart(tmp_path):
    service = Service(
        tmp_path,
        engine__embedded_threads=1,
        policy__ramp_s=0,
        policy__p2_during_p0=8,  # All three classes are to be in the engine when it dies.
        jobs__first_delay_s=0.2,
    )
    streams: dict[str, list[dict]] = {"/v1/p0": [], "/v1/p1": []}
    async with (
        asyncio.timeout(120),
        service.running(),
        Client(service.url) as client,
        aiohttp.ClientSession(service.url) as session,
    ):
        await service.wait_ready()
        jobs = [await client.enqueue_p2({"prompt": "Once", "max_tokens": 60}) for _ in range(3)]
        await until(lambda: are_running(service, p0=0, p1=0, p2=1))
        async with asyncio.TaskGroup() as group:
            whole = [group.create_task(ask(session, path)) for path in streams]
            for path, frames in streams.items():
                group.create_task(stream(session, path, into=frames))
            await until(lambda: are_running(service, p0=2, p1=2, p2=1))
            await until(lambda: have_begun(streams))

            engine = service.engine_process()
            assert engine is not None
            engine.kill()

            await until(lambda: is_unready(service), every_s=0.005)
        await service.wait_ready()
        results = [await client.await_job(job, timeout_s=60) for job in jobs]
        afterwards = await client.run_p0({"prompt": "Again", "max_tokens": 4})

    for status, document in (task.result() for task in whole):
        assert status == 502
        assert document["error"]["code"] in {"engine_interrupted", "engine_unreachable"}
        assert "Error(" not in document["error"]["message"], "words, not a repr"
    for frames in streams.values():
        assert frames[-1]["error"]["code"] == "engine_interrupted"
        assert "choices" in frames[0]
    assert all(result["choices"][0]["text"] for result in results)
    assert afterwards["choices"]
    completed = service.rows("SELECT count(*) FROM jobs WHERE state = 'completed'")
    assert completed == [(len(jobs),)]
    assert "Traceback" not in service.log


async def are_running(service: Service, **at_least: int) -> bool:
    running = dict(zip(("p0", "p1", "p2"), await service.classes("running"), strict=True))
    return all(running[name] >= count for name, count in at_least.items())


async def have_begun(streams: dict[str, list[dict]]) -> bool:
    return all(streams.values())


async def is_unready(service: Service) -> bool:
    return not await service.is_ready()


async def ask(session: aiohttp.ClientSession, path: str) -> tuple[int, dict]:
    async with session.post(path, json=LONG) as response:
        return response.status, await response.json()


async def stream(session: aiohttp.ClientSession, path: str, *, into: list[dict]) -> None:
    async with session.post(path, json=LONG | {"stream": True}) as response:
        assert response.status == 200, await response.text()
        async for line in response.content:
            if line.startswith(b"data: {"):
                into.append(json.loads(line[5:]))  # noqa: PERF401 - watched as it grows
