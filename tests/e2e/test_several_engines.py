"""Two real engines behind one real process: each has its work, and P0 on one holds the other."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from tests.e2e.service import Service, stoker, until

pytestmark = pytest.mark.embedded

ENGINES = ("--engine", "big=embedded", "--engine", "small=embedded")
SMALL = {"embedded_slots": 2, "embedded_context_tokens": 512, "embedded_threads": 1}


async def test_people_on_one_engine_and_a_backlog_on_the_other(tmp_path):
    settings = {
        f"engines__{name}__{key}": value
        for name in ("big", "small")
        for key, value in SMALL.items()
    }
    service = Service(tmp_path, *ENGINES, **settings, log__events="full", policy__ramp_s=0)
    async with service.running(), aiohttp.ClientSession(service.url) as session:
        await until(lambda: both_ready(service), limit_s=90)
        jobs = [await enqueue(session, number) for number in range(2)]
        await until(lambda: is_running(service, "small"))

        answer = await ask(session, "big")
        state = await service.state()
        done = [await finished(session, job) for job in jobs]
        models = [one["id"] for one in (await service.get("/v1/models"))[1]["data"]]

        assert answer["usage"]["completion_tokens"] > 0
        assert state["engines"]["small"]["scheduler"]["preemptions"] > 0, "P0 on big was felt there"
        assert [(one["status"], one["engine"]) for one in done] == [("completed", "small")] * 2
        assert {"big", "small"} <= set(models)
        assert await service.stop() == 0

    for name in ("big", "small"):
        events = service.data / "engines" / name / "events.jsonl"
        code, said, errors = await stoker(tmp_path, "replay", str(events))
        assert code == 0, said + errors


async def both_ready(service: Service) -> bool:
    _, ready = await service.get("/readyz")
    return all(one["status"] == "ready" for one in ready["engines"].values())


async def is_running(service: Service, name: str) -> bool:
    classes = (await service.state())["engines"][name]["scheduler"]["classes"]
    return classes["p2"]["running"] > 0


async def enqueue(session: aiohttp.ClientSession, number: int) -> str:
    body = {"model": "small", "prompt": f"Chapter {number}. It was", "max_tokens": 40}
    async with session.post("/v1/p2", json=body) as response:
        assert response.status == 202, await response.text()
        return (await response.json())["job_id"]


async def ask(session: aiohttp.ClientSession, model: str) -> dict:
    body = {"model": model, "prompt": "The sea is", "max_tokens": 8}
    async with asyncio.timeout(60), session.post("/v1/p0", json=body) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def finished(session: aiohttp.ClientSession, job_id: str) -> dict:
    async with asyncio.timeout(120), session.get(f"/v1/p2/{job_id}?wait=100") as response:
        return await response.json()
