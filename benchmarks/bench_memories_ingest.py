"""How many tiles a second does the memory server make, apart from the model's own time?

    python benchmarks/bench_memories_ingest.py                # static and MiniLM, some minutes
    python benchmarks/bench_memories_ingest.py --quick        # a fifth of it
    python benchmarks/bench_memories_ingest.py --embedder static

Seeded conversations go through the whole pipeline: cut, planned, asked about, the answers stored,
guarded, dated, embedded, merged and committed, and the verbatim text embedded too. The model is a
script that answers at once. `tiles` are those that it brought; the rate per second of processor
time does not depend as much on who else uses the cores.

The floor beside each row is what nobody gets under with these parts: the same spans and statements
embedded and written into three bare tables with full text, by `executemany`, one commit for each
conversation. Nothing is cut, checked, dated, compared, linked or logged.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from stoker.core.errors import NotFound
from stoker.core.jobs import JobState
from stoker.core.work import JobId, Usage
from stoker.memories.ports import NewWork
from stoker.memories.recall.embedders import Embedder, packaged
from stoker.memories.recall.recall import Recall
from stoker.memories.recall.vectors import encode
from stoker.memories.remembering import Remembering
from stoker.memories.service import Memories
from stoker.memories.settings import MemoriesSettings
from stoker.memories.sources import Document
from stoker.memories.sources.documents import Block
from stoker.memories.store.sqlite import MEMORIES_FILE, SqliteMemoryStore
from stoker.memories.tiles import Role, SpanKind
from stoker.ports import Job
from stoker.runtime.clock import SystemClock
from stoker.testing.conversations import Conversation, Script, conversations

TARGETS = {"static": 2_000.0, "minilm": 80.0}


class Answering(Protocol):
    """What answers instead of a model."""

    def answer(self, body: Mapping[str, object]) -> str: ...


class InstantJobs:
    """Background jobs that are over when they are submitted."""

    def __init__(self, script: Answering) -> None:
        self._script = script
        self._answers: dict[JobId, bytes] = {}
        self._told: list[Callable[[Iterable[JobId]], None]] = []
        self.spent_s = 0.0
        """What the script itself took: a model's time, not ours."""

    async def submit(self, work: Sequence[NewWork]) -> list[JobId]:
        begun = time.process_time()
        ids = [JobId(one.key) for one in work]
        for id, one in zip(ids, work, strict=True):
            text = self._script.answer(json.loads(one.body))
            choice = {"message": {"content": text}, "finish_reason": "stop"}
            self._answers[id] = json.dumps({"choices": [choice]}).encode()
        self.spent_s += time.process_time() - begun
        asyncio.get_running_loop().call_soon(self._tell, ids)
        return ids

    async def get(self, id: JobId) -> Job:
        if id not in self._answers:
            raise NotFound(f"job {id}: no such job")
        return Job(
            id=id, state=JobState.COMPLETED, endpoint="/v1/chat/completions", family="", key=None,
            batch=None, attempts=1, max_attempts=1, preemptions=0, run_at=None, deadline_at=None,
            created_at=0.0, started_at=0.0, finished_at=0.0, error=None, usage=Usage(0, 0, 0),
            is_cancel_requested=False,
        )  # fmt: skip

    async def result(self, id: JobId) -> bytes | None:
        return self._answers[id]

    async def cancel(self, id: JobId) -> None:
        """They are over."""

    def on_change(self, callback: Callable[[Iterable[JobId]], None]) -> None:
        self._told.append(callback)

    def _tell(self, ids: Sequence[JobId]) -> None:
        for callback in self._told:
            callback(ids)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--embedder", choices=["none", *TARGETS], action="append")
    parser.add_argument("--conversations", type=int)
    options = parser.parse_args()
    rate = "tiles/s | per processor second"
    print(f"| embedder | spans | tiles | {rate} | target | floor: {rate} |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    is_met = True
    for name in options.embedder or ["none", *TARGETS]:
        count = options.conversations or (10 if options.quick else 50)
        told = conversations(count=count)
        spans, tiles, wall_s, processor_s = await ingested(name, told)
        floor = await bare(None if name == "none" else packaged(name), told)
        target = TARGETS.get(name)
        shown = "" if target is None else f"≥ {target:,.0f}"
        rates = f"{tiles / wall_s:,.0f} | {tiles / processor_s:,.0f}"
        least = f"{floor[0]:,.0f} | {floor[1]:,.0f}"
        print(f"| {name} | {spans:,} | {tiles:,} | {rates} | {shown} | {least} |", flush=True)
        is_met &= target is None or tiles / wall_s >= target
    if not is_met and not options.quick:
        sys.exit("a target was missed")


async def ingested(embedder: str, told: Sequence[Conversation]) -> tuple[int, int, float, float]:
    """Spans, tiles, seconds, and seconds of processor time."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = SqliteMemoryStore(folder / MEMORIES_FILE)
        await store.open()
        recall = Recall(store, folder, None if embedder == "none" else packaged(embedder))
        await recall.open()
        jobs = InstantJobs(Script(told))
        settings = MemoriesSettings()
        handler = Remembering(store, settings, recall)
        memories = Memories(store, jobs, SystemClock(), settings, handler)
        documents = [document(conversation) for conversation in told]
        begun, spent = time.perf_counter(), time.process_time()
        view = await memories.begin_import("benchmark")
        for each in documents:
            await memories.add_reading(view, each)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(memories.run())
            await memories.wait_import(view.id, poll_s=0.05)
            while await recall.embed_missing():
                pass
            running.cancel()
        wall_s = time.perf_counter() - begun - jobs.spent_s
        processor_s = time.process_time() - spent - jobs.spent_s
        stats = await store.stats()
        await recall.close()
        await store.close()
        return stats.spans, sum(stats.tiles.values()), wall_s, processor_s


async def bare(embedder: Embedder | None, told: Sequence[Conversation]) -> tuple[float, float]:
    """Tiles a second, and per second of processor time, with nothing but what must be written."""
    with tempfile.TemporaryDirectory() as name:
        db = sqlite3.connect(Path(name) / "floor.sqlite3", isolation_level=None)
        db.executescript(_FLOOR)
        if embedder is not None:
            await embedder.embed(["it is loaded"])
        begun, spent = time.perf_counter(), time.process_time()
        for conversation in told:
            turns = [f"{turn.author}: {turn.text}" for turn in conversation.turns]
            texts = dict.fromkeys((*turns, *(fact.dated for fact in conversation.facts)))
            vectors = [b""] * len(texts)
            if embedder is not None:
                vectors = [code.tobytes() for code in encode(await embedder.embed(list(texts)))]
            db.execute("BEGIN IMMEDIATE")
            (last,) = db.execute("SELECT coalesce(max(seq), 0) FROM texts").fetchone()
            rows = list(enumerate(texts, start=last + 1))
            db.executemany("INSERT INTO texts (seq, text) VALUES (?, ?)", rows)
            db.executemany("INSERT INTO texts_fts (rowid, text) VALUES (?, ?)", rows)
            db.executemany(
                "INSERT INTO vectors (owner, vector) VALUES (?, ?)",
                [(seq, vector) for (seq, _), vector in zip(rows, vectors, strict=True)],
            )
            db.execute("COMMIT")
        wall_s, processor_s = time.perf_counter() - begun, time.process_time() - spent
        db.close()
    if embedder is not None:
        embedder.close()
    tiles = len({fact.dated for conversation in told for fact in conversation.facts})
    return tiles / wall_s, tiles / processor_s


_FLOOR = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE texts (seq INTEGER PRIMARY KEY, text TEXT NOT NULL);
    CREATE VIRTUAL TABLE texts_fts USING fts5 (
        text, content = 'texts', content_rowid = 'seq',
        tokenize = 'porter unicode61 remove_diacritics 2'
    );
    CREATE TABLE vectors (owner INTEGER PRIMARY KEY, vector BLOB NOT NULL);
"""


def document(conversation: Conversation) -> Document:
    """As a chat reader reads it."""
    blocks = tuple(
        Block(
            turn.text,
            SpanKind.TURN,
            Role.USER,
            turn.author,
            turn.said_at,
            f"session {turn.session}",
        )
        for turn in conversation.turns
    )
    return Document(f"bench:{conversation.id}", "chat", conversation.id, blocks, "bench/1")


if __name__ == "__main__":
    asyncio.run(main())
