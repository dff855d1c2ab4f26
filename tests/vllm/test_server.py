"""What we take for granted about real vLLM: it answers, and its `priority` orders its queue."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest

SLOTS = 32


@pytest.fixture
async def session(vllm) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(base_url=vllm.url) as session:
        yield session


def chat(model: str, *, max_tokens: int, priority: int = 0) -> dict[str, object]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": "Name the three primary colours."}],
        "max_tokens": max_tokens,
        "priority": priority,
        "ignore_eos": True,
        "temperature": 0,
    }


async def complete(session: aiohttp.ClientSession, body: dict[str, object]) -> dict:
    async with session.post("/v1/chat/completions", json=body) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def gauge(session: aiohttp.ClientSession, name: str) -> float:
    async with session.get("/metrics") as response:
        match = re.search(rf"^vllm:{name}{{.*}} (\S+)$", await response.text(), re.MULTILINE)
    assert match is not None, f"vLLM has no gauge {name}"
    return float(match[1])


async def until(session: aiohttp.ClientSession, name: str, at_least: float) -> None:
    async with asyncio.timeout(60):
        while await gauge(session, name) < at_least:  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.05)


async def test_a_chat_completion_has_text_and_usage(vllm, session) -> None:
    answer = await complete(session, chat(vllm.model, max_tokens=8))

    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens"] == 8


async def test_a_lower_priority_number_overtakes_the_queue_inside_vllm(vllm, session) -> None:
    order: list[str] = []

    async def run(name: str, priority: int) -> None:
        await complete(session, chat(vllm.model, max_tokens=1, priority=priority))
        order.append(name)

    async with asyncio.TaskGroup() as group:
        # Lengths differ, so that slots come free one after the other; long, so that a fast machine
        # has all of them running at once.
        blockers = [
            group.create_task(
                complete(session, chat(vllm.model, max_tokens=240 + 4 * number, priority=2))
            )
            for number in range(SLOTS)
        ]
        await until(session, "num_requests_running", SLOTS)
        background = [group.create_task(run("background", 2)) for _ in range(8)]
        await until(session, "num_requests_waiting", len(background))
        await group.create_task(run("urgent", 0))
        for task in (*blockers, *background):
            task.cancel()

    # First come, first served would have made it the ninth; two slots may come free in one step.
    assert order.index("urgent") <= 2, order
