"""A fabric with a memory server whose model says what it is scripted to say."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from stoker.config import Config, JobsConfig, MemoriesConfig
from stoker.core.policy import Policy
from stoker.fabric import Fabric
from stoker.memories.store.sqlite import MEMORIES_FILE, SqliteMemoryStore
from stoker.ports import EngineCall
from stoker.runtime.clock import SystemClock
from stoker.store.sqlite import SqliteJobStore
from stoker.testing.fake_engine import FakeEngine, FakeTiming

FAST = FakeTiming(prefill_s_per_token=0.0, decode_s=0.0005, decode_s_per_sequence=0.0)
_LINE = re.compile(r"^\[(\d+)\] (.*)$", re.MULTILINE)


def lines_of(call: EngineCall) -> list[tuple[int, str]]:
    """The numbered lines that an extraction asks about."""
    messages = json.loads(call.body).get("messages", [{"content": ""}])
    text = messages[-1]["content"].split("<text>")[-1]
    return [(int(number), line) for number, line in _LINE.findall(text)]


def parrot(call: EngineCall) -> str:
    """Every line as a fact of its own, word for word."""
    entries = [
        {"q": number, "quote": line[:120], "s": "other", "k": "fact", "t": line, "when": None}
        for number, line in lines_of(call)
    ]
    return json.dumps({"c": entries})


@asynccontextmanager
async def served(
    data: Path, script: Callable[[EngineCall], str] = parrot, **memories: object
) -> AsyncGenerator[Fabric]:
    """A fabric over `data` with a scripted engine; `fabric.engine.calls` has what it was asked."""
    engine = FakeEngine(slots=4, natural_tokens=1, timing=FAST, context_tokens=100_000)
    engine.script = script
    config = Config(
        data=data,
        policy=Policy(ramp_s=0.0, p0_linger_s=0.0, p0_reserved_slots=0, p1_reserved_slots=0),
        jobs=JobsConfig(first_delay_s=0.01, max_attempts=2),
        memories=MemoriesConfig(**{"small_model": False, "embedder": "off", **memories}),
    )
    async with Fabric.assemble(
        config,
        engine=engine,
        store=SqliteJobStore(data / "jobs.sqlite3"),
        clock=SystemClock(),
        memories=SqliteMemoryStore(data / MEMORIES_FILE),
    ) as fabric:
        yield fabric


async def remember(fabric: Fabric, text: str, uri: str = "note.md"):
    """Import one text and wait until it has become tiles."""
    view = await fabric.memories.begin_import("test")
    await fabric.memories.add_upload(view.id, text.encode(), uri)
    return await fabric.memories.wait_import(view.id, poll_s=0.01)
