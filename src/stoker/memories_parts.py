"""The memory server inside a service: its store, and its work as background jobs of the fabric."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager

import structlog

from stoker.assembly import Assembly
from stoker.config import Config, MemoriesConfig
from stoker.core.errors import ConfigError, Conflict, NotFound
from stoker.core.work import JobId
from stoker.engine_config import EngineConfig
from stoker.engine_embeddings import EngineVectors
from stoker.memories.ports import TENANT, BackgroundJobs, NewWork
from stoker.memories.recall.embedders import STATIC, Embedder, packaged
from stoker.memories.recall.recall import Recall
from stoker.memories.remembering import Remembering
from stoker.memories.service import Memories
from stoker.memories.settings import MemoriesSettings
from stoker.memories.store.sqlite import MEMORIES_FILE, SqliteMemoryStore
from stoker.ports import Clock, Job, JobStore
from stoker.runtime.submitting import P2Submission

log = structlog.get_logger("stoker.memories")

_SMALL_CONTEXT_TOKENS = 4096
"""Below this, the full prompt leaves too little room for text and answer."""


def build_memory_store(config: Config) -> SqliteMemoryStore | None:
    """The tiles' own file in the data folder, if the memory server is wanted."""
    return SqliteMemoryStore(config.data / MEMORIES_FILE) if config.memories.enabled else None


@asynccontextmanager
async def remembering(
    config: Config, store: SqliteMemoryStore | None, parts: Assembly, jobs: JobStore, clock: Clock
) -> AsyncGenerator[Memories | None]:
    """Run the memory server while the block lasts. To be entered before the parts run.

    What finished while nobody was there is taken over first: after that, old jobs may be deleted.
    """
    if store is None:
        yield None
        return
    await store.open()
    try:
        settings = settings_of(config)
        # Reading a model's table takes half a second, in which others may be served.
        embedder = await asyncio.to_thread(embedder_of, config)
        handler = Remembering(store, settings, Recall(store, config.data, embedder))
        await handler.recall.open()
        try:
            memories = Memories(store, FabricJobs(parts, jobs), clock, settings, handler)
            parts.housekeeping.before_prune(memories.collect)
            loops = [memories.run(), memories.count()]
            if config.memories.embedder == "engine":
                vectors = EngineVectors(parts, jobs, clock)
                loops.append(_embed_by_engine(config, store, handler, vectors))
            async with _running(*loops):
                yield memories
        finally:
            await handler.recall.close()
    finally:
        await store.close()


@asynccontextmanager
async def _running(*loops: Coroutine[None, None, None]) -> AsyncGenerator[None]:
    error: Exception | None = None
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(loop, name="memories") for loop in loops]
        try:
            yield
        except Exception as caught:  # noqa: BLE001 - the caller's own; raised again below
            error = caught
        finally:
            for task in running:
                task.cancel()
    if error is not None:  # as it was, not wrapped in the group's
        raise error


async def _embed_by_engine(
    config: Config, store: SqliteMemoryStore, handler: Remembering, vectors: EngineVectors
) -> None:
    """Search by words until the engine is there and has said how long its vectors are."""
    model = config.memories.embedding_model or config.engine.model or ""
    recall = Recall(store, config.data, await vectors.connect(model))
    await recall.open()
    before, handler.recall = handler.recall, recall
    await before.close()


def embedder_of(config: Config) -> Embedder | None:
    """The embedder that is wanted. Raises `ConfigError` for one that is not installed."""
    name = config.memories.embedder
    if name in {"off", "engine"}:  # the engine's comes later, when the engine is there
        return None
    if name != "auto":
        return packaged(name)
    try:
        return packaged(STATIC)
    except ConfigError as error:
        log.warning("memories_without_vectors", reason=str(error))
        return None


def settings_of(config: Config) -> MemoriesSettings:
    """What the memory server is told of the configuration."""
    wanted = config.memories
    engine = _engine(config, wanted)
    return MemoriesSettings(
        does_extract=wanted.extract,
        model=wanted.model or engine.model,
        is_small=_is_small(engine, wanted),
        is_strict_openai=engine.kind == "openai",
        has_assistants=wanted.extract_assistants,
        jobs_ahead_max=wanted.jobs_ahead_max,
    )


def _engine(config: Config, wanted: MemoriesConfig) -> EngineConfig:
    """The engine that the model leads to, as far as the configuration tells; else the default."""
    engines = config.all_engines()
    for name, engine in engines.items():
        if wanted.model and wanted.model in (name, engine.model, *engine.models):
            return engine
    return next(iter(engines.values()))


def _is_small(engine: EngineConfig, wanted: MemoriesConfig) -> bool:
    if wanted.small_model is not None:
        return wanted.small_model
    is_packaged = engine.url is None and engine.gguf is None
    context = engine.context_tokens or (
        engine.embedded_context_tokens if engine.url is None else _SMALL_CONTEXT_TOKENS
    )
    return is_packaged or context < _SMALL_CONTEXT_TOKENS


class FabricJobs(BackgroundJobs):
    """The fabric's background jobs, under the memory server's own name."""

    def __init__(self, parts: Assembly, store: JobStore) -> None:
        self._parts = parts
        self._store = store

    async def submit(self, work: Sequence[NewWork]) -> list[JobId]:
        submissions = [P2Submission(one.body, one.key, tenant=TENANT) for one in work]
        return [one.id for one in await self._parts.submitter.submit(submissions)]

    async def get(self, id: JobId) -> Job:
        return await self._store.get(id)

    async def result(self, id: JobId) -> bytes | None:
        return await self._store.result(id)

    async def cancel(self, id: JobId) -> None:
        try:
            await self._parts.cancel(id)
        except (NotFound, Conflict):
            return  # it is over already, which is as good

    def on_change(self, callback: Callable[[Iterable[JobId]], None]) -> None:
        self._parts.waiters.on_change(callback)
