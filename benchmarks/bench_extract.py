"""What a tiny real model's claims are worth: `python benchmarks/bench_extract.py`.

Gold conversations go in chunks through the embedded engine (SmolLM2-135M), and its answers through
parsing, splitting and guards; what is accepted is held against the gold. Ends with 1 if an answer
is lost or anything ungrounded is accepted.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from stoker.engines.embedded import EmbeddedEngine, EmbeddedSettings
from stoker.memories import extract
from stoker.memories.answers import NextStep, Outcome
from stoker.memories.extract import FULL, SMALL, Line, Variant
from stoker.memories.grounding import Evidence, ungrounded
from stoker.memories.guards import Verdict, judge, tally
from stoker.memories.lexical import canonical
from stoker.testing.conversations import conversations

LINES_PER_CHUNK = 6


@dataclass(slots=True)
class Result:
    outcomes: Counter[str] = field(default_factory=Counter)
    verdicts: list[Verdict] = field(default_factory=list)
    accepted: list[tuple[Verdict, Line]] = field(default_factory=list)
    calls: int = 0
    output_tokens: int = 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=40)
    parser.add_argument("--variant", choices=[each.name for each in (SMALL, FULL)])
    parser.add_argument("--limit-s", type=float, help="report what is done by then")
    options = parser.parse_args()
    chosen = [each for each in (SMALL, FULL) if options.variant in {None, each.name}]
    return asyncio.run(measure(options.chunks, chosen, options.limit_s))


async def measure(count: int, variants: Sequence[Variant], limit_s: float | None) -> int:
    chunks = chunks_of(count)
    gold = gold_of(chunks)
    is_good = True
    with tempfile.TemporaryDirectory() as folder:
        engine = EmbeddedEngine(EmbeddedSettings(slots=2), data=Path(folder))
        await engine.start()
        try:
            for variant in variants:
                started = time.perf_counter()
                result = Result()
                with suppress(TimeoutError):
                    async with asyncio.timeout(limit_s):
                        await run(engine.url, chunks, variant, result)
                is_good &= report(variant, result, time.perf_counter() - started, gold)
        finally:
            await engine.stop()
    return 0 if is_good else 1


def chunks_of(count: int) -> list[tuple[Line, ...]]:
    """Chunks as the planner makes them of a chat: some turns, with speakers and days."""
    found: list[tuple[Line, ...]] = []
    for told in conversations(count=20):
        lines = [
            Line(
                turn.id,
                turn.text,
                turn.author,
                said_on=datetime.fromtimestamp(turn.said_at, UTC).date(),
            )
            for turn in told.turns
        ]
        found += [
            tuple(lines[start : start + LINES_PER_CHUNK])
            for start in range(0, len(lines), LINES_PER_CHUNK)
        ]
    return found[:count]


def gold_of(chunks: Sequence[tuple[Line, ...]]) -> list[tuple[str, str]]:
    """The turn and the words of each fact that these chunks tell."""
    turns = {line.span_id for chunk in chunks for line in chunk}
    facts = (fact for told in conversations(count=20) for fact in told.facts)
    return [(fact.turn_id, fact.quote) for fact in facts if fact.turn_id in turns]


async def run(
    url: str, chunks: Sequence[tuple[Line, ...]], variant: Variant, result: Result
) -> None:
    waiting = asyncio.Queue[tuple[Line, ...]]()
    for chunk in chunks:
        waiting.put_nowait(chunk)
    async with aiohttp.ClientSession() as session:

        async def work() -> None:
            while not waiting.empty():
                chunk = waiting.get_nowait()
                for half in await ask(session, url, chunk, variant, result):
                    waiting.put_nowait(half)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(work())


async def ask(
    session: aiohttp.ClientSession,
    url: str,
    chunk: tuple[Line, ...],
    variant: Variant,
    result: Result,
) -> tuple[tuple[Line, ...], ...]:
    """Take one answer in; the halves to ask again, if it was cut off."""
    body = extract.request(chunk, variant=variant)
    async with session.post(f"{url}/v1/chat/completions", json=body) as response:
        answer = await response.json()
    choice = answer["choices"][0]
    result.calls += 1
    result.output_tokens += answer["usage"]["completion_tokens"]
    text, reason = choice["message"]["content"] or "", choice["finish_reason"]
    claims, parsed = extract.read(text, chunk, variant, finish_reason=reason)
    result.outcomes[parsed.outcome.value] += 1
    print(f"\r{variant.name}: {result.calls} calls", end="", file=sys.stderr, flush=True)
    verdicts = judge(claims, chunk)
    result.verdicts += verdicts
    by_id = {line.span_id: line for line in chunk}
    result.accepted += [(each, by_id[each.span_id]) for each in verdicts if each.guard.is_accepted]
    if parsed.next_step(sum(len(line.text) for line in chunk)) is NextStep.SPLIT:
        return extract.split(chunk) or ()
    return ()


def report(
    variant: Variant, result: Result, took_s: float, gold: Sequence[tuple[str, str]]
) -> bool:
    total = sum(result.outcomes.values())
    shares = ", ".join(
        f"{outcome.value} {result.outcomes[outcome.value] / max(1, total):.0%}"
        for outcome in Outcome
    )
    print(
        f"\n{variant.name}: {result.calls} calls, {result.output_tokens} output "
        f"tokens, {took_s:.0f} s; answers {shares}\n\n| verdict | claims |\n|---|---|"
    )
    for guard, count in tally(result.verdicts).most_common():
        print(f"| {guard} | {count} |")
    made_up = [each.statement for each, line in result.accepted if is_made_up(each, line)]
    forms = [canonical(each.statement) for each, _ in result.accepted]
    print(
        f"\naccepted: {len(forms)}, different ones {len(set(forms))}; "
        f"with an ungrounded number or name: {len(made_up)} {made_up[:3]}"
    )
    told = [
        (turn, quote)
        for turn, quote in gold
        if any(line.span_id == turn and quote in verdict.quote for verdict, line in result.accepted)
    ]
    right = [
        verdict
        for verdict, line in result.accepted
        if any(line.span_id == turn and quote in verdict.quote for turn, quote in gold)
    ]
    print(
        f"of {len(gold)} facts of the gold {len(told)} found; of the accepted {len(right)} are one"
    )
    for verdict, line in result.accepted[:6]:
        print(f"- {verdict.statement}  ← {line.author}: {line.text}")
    return 0 < total == result.calls and not made_up


def is_made_up(verdict: Verdict, line: Line) -> bool:
    """Checked once more, against nothing but the line itself, its author and what it dates."""
    when = "" if verdict.when is None else verdict.statement
    evidence = Evidence((line.text, when), (line.author,), line.said_on)
    found = ungrounded(verdict.statement, evidence)
    return found is not None and found[0].value != "low_grounding"


if __name__ == "__main__":
    sys.exit(main())
