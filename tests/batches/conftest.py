"""A real service on a real socket, its data in a folder, in front of a scripted engine."""

from __future__ import annotations

import asyncio
import io
import json
from contextlib import asynccontextmanager

import pytest
from openai import AsyncOpenAI

from stoker.api.serve import listening
from stoker.config import BatchesConfig, Config, JobsConfig
from stoker.core.policy import Policy
from stoker.fabric import EngineSetup, Fabric
from stoker.runtime.clock import SystemClock
from stoker.store.sqlite import SqliteJobStore
from stoker.testing.fake_engine import FakeEngine, FakeTiming

CHAT = "/v1/chat/completions"
FAST = FakeTiming(prefill_s_per_token=0.0, decode_s=0.0005, decode_s_per_sequence=0.0)
SLOW = FakeTiming(prefill_s_per_token=0.0, decode_s=0.1, decode_s_per_sequence=0.0)
FINAL = ("completed", "failed", "expired", "cancelled")


class MovableClock(SystemClock):
    """The machine's clock, whose wall can be set ahead."""

    def __init__(self):
        self.ahead_s = 0.0

    def wall(self):
        return super().wall() + self.ahead_s


class Service:
    def __init__(self, fabric, engine, clock, url, client):
        self.fabric = fabric
        self.engine = engine
        self.clock = clock
        self.url = url
        self.client = client

    async def upload(self, lines, *, purpose="batch", name="in.jsonl", **options):
        """Upload bytes, or requests as one line each."""
        content = lines if isinstance(lines, bytes) else jsonl(lines)
        return await self.client.files.create(
            file=(name, io.BytesIO(content)), purpose=purpose, **options
        )

    async def create(self, lines, *, endpoint=CHAT, window="24h", **options):
        file = await self.upload(lines)
        return await self.client.batches.create(
            input_file_id=file.id, endpoint=endpoint, completion_window=window, **options
        )

    async def until(self, batch, *statuses, timeout_s=20.0):
        async with asyncio.timeout(timeout_s):
            while batch.status not in (statuses or FINAL):
                await asyncio.sleep(0.02)
                batch = await self.client.batches.retrieve(batch.id)
        return batch

    async def lines_of(self, file_id):
        if file_id is None:
            return []
        content = await self.client.files.content(file_id)
        return [json.loads(line) for line in content.text.split("\n") if line]


def a_line(number, text="hello", *, url=CHAT, **fields):
    body = {"model": "fake-model", "messages": [{"role": "user", "content": text}], **fields}
    return {"custom_id": f"request-{number}", "method": "POST", "url": url, "body": body}


def jsonl(lines):
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


@asynccontextmanager
async def a_service(folder, *, batches=None, others=None, **knobs):
    engine = FakeEngine(**{"slots": 8, "natural_tokens": 4, "timing": FAST, **knobs})
    clock = MovableClock()
    config = Config(
        data=folder,
        policy=Policy(ramp_s=0.0, p0_linger_s=0.0),
        jobs=JobsConfig(first_delay_s=0.01, max_attempts=2),
        batches=batches or BatchesConfig(),
    )
    store = SqliteJobStore(folder / "jobs.sqlite3")
    setups = {"fake": EngineSetup(engine), **others} if others else engine
    async with Fabric.assemble(config, engine=setups, store=store, clock=clock) as fabric:
        await fabric.wait_ready()
        async with (
            listening(fabric, port=0) as url,
            AsyncOpenAI(base_url=f"{url}/v1", api_key="unused") as client,
        ):
            yield Service(fabric, engine, clock, url, client)


@pytest.fixture
async def service(tmp_path):
    async with a_service(tmp_path) as service:
        yield service


@pytest.fixture
def kit():
    """The helpers above; test modules cannot import one another."""

    class Kit:
        service = staticmethod(a_service)
        line = staticmethod(a_line)
        jsonl = staticmethod(jsonl)
        slow = SLOW

    return Kit
