"""SIGTERM to the real process: the running finish, background work goes back with its text."""

from __future__ import annotations

import asyncio
import signal

import pytest

from stoker.client import Client
from stoker.core.errors import NotFound
from tests.e2e.service import Service, fake_engine, until

pytestmark = pytest.mark.embedded


async def test_sigterm_lets_callers_finish_and_keeps_the_text_of_background_work(tmp_path):
    service = Service(tmp_path, engine__embedded_threads=1)
    async with asyncio.timeout(120), service.running(), Client(service.url) as client:
        await service.wait_ready()
        job_id = await client.enqueue_p2(
            {"prompt": "Once", "max_tokens": 2_000, "ignore_eos": True}
        )
        await until(lambda: has_shown_tokens(client, job_id))
        async with asyncio.TaskGroup() as group:
            running = group.create_task(
                collect(client.run_p1({"prompt": "One", "max_tokens": 60, "ignore_eos": True}))
            )
            await until(lambda: is_running(service, 1))

            service.signal(signal.SIGTERM)

        assert await service.wait_ended() == 0
        await service.wait_gone(service.lives[-1])

    chunks = running.result()
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    [(state, text, tokens)] = service.rows(
        "SELECT state, text, checkpoint_output_tokens FROM jobs LEFT JOIN checkpoints USING (seq)"
    )
    assert state == "available"
    assert len(text) > 5
    assert tokens > 2


async def test_sigterm_with_nothing_running_ends_at_once(tmp_path):
    async with fake_engine() as url:
        service = Service(tmp_path, "--engine", url)
        async with service.running():
            await service.wait_ready()

            service.signal(signal.SIGTERM)

            assert await service.wait_ended(limit_s=2) == 0
    assert "Traceback" not in service.log


async def has_shown_tokens(client: Client, job_id: str) -> bool:
    try:
        prediction = (await client.explain(job_id))["prediction"]
    except NotFound:
        return False  # Not claimed yet.
    return prediction is not None and prediction["tokens_seen"] > 10


async def is_running(service: Service, priority: int) -> bool:
    return (await service.classes("running"))[priority] > 0


async def collect(call) -> list[dict]:
    return [chunk async for chunk in call]
