"""Does the search find the turns that answer a question, in ten long conversations (LoCoMo)?

    python benchmarks/bench_locomo.py PATH/locomo10.json        # or LOCOMO=PATH; about two minutes
    python benchmarks/bench_locomo.py PATH --embedder static    # one of: none, static, minilm
    python benchmarks/bench_locomo.py PATH --tune               # weights, on conversations 0 to 4

The data set's own observations stand in for the extraction's answers. R@k is the share of a
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
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from locomo import ADVERSARIAL, Conversation, Question, conversations
from locomo_store import filled

from stoker.memories.recall.embedders import packaged
from stoker.memories.recall.hits import SearchRequest
from stoker.memories.recall.recall import Recall
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
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--without-tiles", action="store_true")
    options = parser.parse_args()
    if options.path is None:
        sys.exit("name the file: bench_locomo.py PATH/locomo10.json, or LOCOMO=PATH")
    data = conversations(Path(options.path))
    print_header()
    is_met = True
    for name in options.embedder or ["none", "static", "minilm"]:
        with tempfile.TemporaryDirectory() as folder:
            async with filled(Path(folder), data, with_tiles=not options.without_tiles) as store:
                embedder = None if name == "none" else packaged(name)
                recall = Recall(store.lanes, Path(folder), embedder)
                await recall.open()
                while await recall.embed_missing():
                    pass
                if options.tune:
                    from locomo_tune import tune  # noqa: PLC0415

                    await tune(recall, store, data)
                else:
                    findings = [each async for each in ask(recall, store.turns, data)]
                    is_met &= print_rows(name, findings, is_judged=not options.without_tiles)
                await recall.close()
    if not is_met:
        sys.exit("a target was missed")


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
