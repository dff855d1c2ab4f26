"""The engine under measurement: where it is, what its counters say, and that it is left empty."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from stoker.core.errors import EngineError
from stoker.core.events import EngineSample
from stoker.engines.detect import connect
from stoker.engines.embedded import EmbeddedEngine, EmbeddedSettings
from stoker.ports import Engine

from .calls import COMPLETIONS, Answered, Ask, opened_session, stream
from .loads import Prompts
from .stats import Series, Window, growth_per_s, mean_of

SAMPLE_S = 0.5


@dataclass(frozen=True, slots=True)
class Target:
    url: str
    model: str
    kind: str
    engine: Engine

    @property
    def completions(self) -> str:
        return f"{self.url}{COMPLETIONS}"

    @property
    def has_priority(self) -> bool:
        return self.kind == "vllm"


@asynccontextmanager
async def target_at(url: str | None) -> AsyncIterator[Target]:
    """The engine at `url`, or an embedded llama.cpp for as long as it is wanted."""
    async with AsyncExitStack() as stack:
        engine: Engine
        if url is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            embedded = EmbeddedEngine(EmbeddedSettings(), data=folder)
            await embedded.start()
            engine, url, kind = embedded, embedded.url, "llamacpp"
        else:
            engine = await connect(url)
            await engine.start()
            kind = engine.traits.name
        stack.push_async_callback(engine.stop)
        models = msgspec.json.decode((await engine.models())[1])
        await engine.capacity()  # some need it to tell their KV cache's share
        yield Target(url.rstrip("/"), models["data"][0]["id"], kind, engine)


async def settle(target: Target, limit_s: float = 60.0) -> None:
    """Let the engine finish or drop what the last arm left in it."""
    deadline = time.perf_counter() + limit_s
    while time.perf_counter() < deadline:
        sample = await sample_of(target)
        if sample is not None and not sample.running and not sample.waiting:
            return
        await asyncio.sleep(0.2)


async def sample_of(target: Target) -> EngineSample | None:
    """Its gauges now; `None` where it is too busy to say."""
    try:
        return await target.engine.sample()
    except EngineError:
        return None


async def measured_prompts(target: Target, *, is_text: bool) -> Prompts:
    """Prompts for this engine; for text, one call tells how many tokens a word is."""
    if not is_text:
        return Prompts(is_text=False)
    words = 256
    ask = Ask(Prompts(is_text=True).draw(random.Random(0), words), 1)
    async with opened_session() as session:
        body = ask.body(target.model, is_streamed=True)
        answer = await stream(session, target.completions, body, Answered(time.perf_counter()))
    if answer.error is not None or not answer.prompt_tokens:
        raise SystemExit(f"{target.url} does not answer as it should: {answer.error}")
    return Prompts(is_text=True, tokens_per_word=answer.prompt_tokens / words)


@dataclass(slots=True)
class Gauges:
    """The engine's page, read twice a second."""

    samples: list[tuple[float, EngineSample]] = field(default_factory=list)

    def series(self, name: str) -> Series:
        """One counter over time."""
        return [
            (at, float(value))
            for at, sample in self.samples
            if (value := getattr(sample, name)) is not None
        ]

    def per_s(self, name: str, window: Window) -> float | None:
        return growth_per_s(self.series(name), window)

    def mean(self, name: str, window: Window) -> float | None:
        return mean_of(getattr(sample, name) for at, sample in self.samples if at in window)

    def cached_share(self, window: Window) -> float | None:
        """Of the prompt tokens that were asked for, those that the prefix cache had."""
        cached = self.per_s("prompt_tokens_cached_total", window)
        asked = self.per_s("prompt_tokens_total", window)
        return cached / asked if cached is not None and asked else None


@asynccontextmanager
async def watched(target: Target) -> AsyncIterator[Gauges]:
    """Reads the gauges until the block ends, once more at its end."""
    gauges = Gauges()

    async def read() -> None:
        sample = await sample_of(target)
        if sample is not None:
            gauges.samples.append((time.perf_counter(), sample))

    async def keep_reading() -> None:
        while True:
            await read()
            await asyncio.sleep(SAMPLE_S)

    async with asyncio.TaskGroup() as tasks:
        reader = tasks.create_task(keep_reading())
        try:
            yield gauges
        finally:
            reader.cancel()
            await read()
