"""Does the search find the turns that answer a question, in ten long conversations (LoCoMo)?

    python benchmarks/bench_locomo.py PATH/locomo10.json        # or LOCOMO=PATH; about two minutes
    python benchmarks/bench_locomo.py PATH --embedder static    # one of: none, static, minilm
    python benchmarks/bench_locomo.py PATH --straight           # tiles put into the store unchecked
    python benchmarks/bench_locomo.py PATH --keep FOLDER        # vectors of texts, for the next run

The data set's own observations are the extraction's answers, and go through the whole pipeline:
guards, dates, merging. `--straight` tells what that costs. R@k is the share of a
question's evidence turns among the first k distinct turns that the hits point at, over the 1,536
questions that have an answer; a session counts as found by its first turn, over all questions.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kept_vectors import KeptVectors
from locomo import ADVERSARIAL, Conversation, Question, conversations
from locomo_pipeline import replay, turns_of
from locomo_store import filled

from stoker.memories.recall.embedders import Embedder, packaged
from stoker.memories.recall.hits import SearchRequest
from stoker.memories.recall.recall import Recall
from stoker.memories.store.sqlite import MEMORIES_FILE, SqliteMemoryStore
from stoker.memories.tiles import SpanId

DEPTHS = (1, 5, 10, 20, 50)
TARGETS = {"static": (74.0, 88.0), "minilm": (77.0, 90.0)}
SESSION_TARGET = 93.0
NOW = 1_750_000_000.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One question, and what came back: turns and sessions, each once, in order."""

    conversation: int
    question: Question
    turns: tuple[str, ...]
    took_s: float


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", nargs="?", default=os.environ.get("LOCOMO"))
    parser.add_argument("--embedder", choices=["none", "static", "minilm"], action="append")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--straight", action="store_true")
    way.add_argument("--without-tiles", action="store_true")
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    if options.path is None:
        sys.exit("name the file: bench_locomo.py PATH/locomo10.json, or LOCOMO=PATH")
    data = conversations(Path(options.path))
    print_header()
    is_met = True
    guards: Counter[str] = Counter()
    for name in options.embedder or ["none", "static", "minilm"]:
        with tempfile.TemporaryDirectory() as folder:
            if options.straight or options.without_tiles:
                findings = await asked_straight(
                    Path(folder), embedder(name, options.keep), data, with_tiles=options.straight
                )
            else:
                findings, guards = await asked_after_replay(
                    Path(folder), embedder(name, options.keep), data
                )
            is_met &= print_rows(name, findings, is_judged=not options.without_tiles)
    if guards:
        print("\nwhat became of the observations:", dict(guards.most_common()))
    if not is_met:
        sys.exit("a target was missed")


def embedder(name: str, kept_in: Path | None) -> Embedder | None:
    """The embedder of that name; what it made of texts in earlier runs is in the folder."""
    if name == "none":
        return None
    found = packaged(name)
    if kept_in is None:
        return found
    kept_in.mkdir(parents=True, exist_ok=True)
    return KeptVectors(found, kept_in / f"{name}.sqlite3")


async def asked_straight(
    folder: Path, embedder: Embedder | None, data: Sequence[Conversation], *, with_tiles: bool
) -> list[Finding]:
    async with filled(folder, data, with_tiles=with_tiles) as store:
        recall = await opened(store.lanes, folder, embedder)
        findings = [each async for each in ask(recall, store.turns, data)]
        await recall.close()
        return findings


async def asked_after_replay(
    folder: Path, embedder: Embedder | None, data: Sequence[Conversation]
) -> tuple[list[Finding], Counter[str]]:
    store = SqliteMemoryStore(folder / MEMORIES_FILE)
    await store.open()
    recall = await opened(store, folder, embedder)
    guards = await replay(store, recall, data)
    while await recall.embed_missing():
        pass
    findings = [each async for each in ask(recall, turns_of(data), data)]
    await recall.close()
    await store.close()
    return findings, guards


async def opened(store: SqliteMemoryStore, folder: Path, embedder: Embedder | None) -> Recall:
    """With a vector for all that is there."""
    recall = Recall(store, folder, embedder)
    await recall.open()
    while await recall.embed_missing():
        pass
    return recall


async def ask(
    recall: Recall, turns: Mapping[SpanId, str], data: Sequence[Conversation]
) -> AsyncIterator[Finding]:
    """Every question that has evidence, within its own conversation."""
    for number, conversation in enumerate(data):
        for question in conversation.questions:
            begun = time.perf_counter()
            request = SearchRequest(question.text, conversation.name, limit=2 * DEPTHS[-1])
            answer = await recall.search(request, now=NOW)
            took_s = time.perf_counter() - begun
            found = (turns[hit.span_id] for hit in answer.hits if hit.span_id is not None)
            yield Finding(number, question, tuple(dict.fromkeys(found)), took_s)


def print_header() -> None:
    print("| embedder | conversations | " + " | ".join(f"R@{depth}" for depth in DEPTHS), end="")
    print(" | session R@10 | search p50 ms |")
    print("|---|---|" + "--:|" * (len(DEPTHS) + 2))


def print_rows(name: str, findings: Sequence[Finding], *, is_judged: bool) -> bool:
    """Tuned on, reported on, all; whether the targets hold on all."""
    parts = (
        ("0–4, tuned on", [each for each in findings if each.conversation < 5]),
        ("5–9", [each for each in findings if each.conversation >= 5]),
        ("all", findings),
    )
    for label, part in parts:
        answerable = [each for each in part if each.question.category != ADVERSARIAL]
        recalls = [recall_at(depth, answerable) for depth in DEPTHS]
        sessions = session_recall(10, part)
        took_ms = statistics.median(each.took_s for each in part) * 1000
        figures = " | ".join(f"{figure:.1f}" for figure in (*recalls, sessions, took_ms))
        print(f"| {name} | {label} | {figures} |", flush=True)
    if not is_judged or name not in TARGETS:
        return True
    at_10, at_50 = TARGETS[name]
    return recalls[2] >= at_10 and recalls[4] >= at_50 and sessions >= SESSION_TARGET


def recall_at(depth: int, findings: Iterable[Finding]) -> float:
    return 100 * statistics.fmean(
        len(each.question.evidence & set(each.turns[:depth])) / len(each.question.evidence)
        for each in findings
    )


def session_recall(depth: int, findings: Iterable[Finding]) -> float:
    return 100 * statistics.fmean(_sessions_found(depth, each) for each in findings)


def _sessions_found(depth: int, finding: Finding) -> float:
    wanted = {_session(turn) for turn in finding.question.evidence}
    found = list(dict.fromkeys(_session(turn) for turn in finding.turns))[:depth]
    return len(wanted & set(found)) / len(wanted)


def _session(turn: str) -> str:
    return turn.partition(":")[0]


if __name__ == "__main__":
    asyncio.run(main())
