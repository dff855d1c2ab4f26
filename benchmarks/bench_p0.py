"""What does a person feel while a backlog runs, and what is left of the backlog's throughput?

    python benchmarks/bench_p0.py                       # the embedded llama.cpp
    python benchmarks/bench_p0.py --engine URL          # a running engine, e.g. vLLM
    python benchmarks/bench_p0.py --rounds 1 --seconds 30   # a quick look

The same P0 questions at the same moments in every arm; arms are interleaved, round by round. P0
comes in bursts (a person types, asks a few things, thinks): one third of the time. P2 is a backlog
without end. Arms:

- *P0 alone*: no backlog. The reference.
- *straight*: 32 P2 requests kept outstanding at the engine, P0 sent beside them.
- *priority*: the same, with the engine's own `priority` field (vLLM only).
- *cap N*: P2 kept at N outstanding, P0 beside them (and `priority` where the engine has it).
- *stoker*: P2 as stored jobs, P0 through `/v1/p0`, no lease taken.
- *stoker + lease*: the same, and each burst takes a lease when the person starts to type.

P2 tokens are read from the engine's own counters, P0's subtracted.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import msgspec
from real.service import stoker_in_front_of
from real.target import Target, settle, target_at

from stoker.client import Client

OUTSTANDING = 32
LEAD_S = 1.5
"""From the first key stroke, when a lease is taken, to the first question."""
BURST_S, PAUSE_S = 10.0, 20.0
SLACK_S = 60.0
"""A lease is given back when the burst is over; a slow last answer must not find it run out."""
ANSWER_TOKENS, SUMMARY_TOKENS = 24, 64


@dataclass(frozen=True, slots=True)
class Arm:
    name: str
    outstanding: int = 0
    """P2 requests kept at the engine directly; 0 = none, or Stoker's affair."""
    has_priority: bool = False
    is_stoker: bool = False
    has_lease: bool = False


@dataclass(slots=True)
class Seen:
    """What one arm showed, over all rounds."""

    ttft_s: list[float] = field(default_factory=list)
    e2e_s: list[float] = field(default_factory=list)
    p2_per_s: list[float] = field(default_factory=list)
    errors: int = 0


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--engine", help="address of a running engine; else the embedded one")
    parser.add_argument("--cap", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of one arm")
    parser.add_argument("--arms", help="comma-separated names; all by default")
    options = parser.parse_args()
    async with target_at(options.engine) as target:
        arms = [arm for arm in arms_for(target.kind, options.cap) if is_wanted(arm, options.arms)]
        seen = {arm.name: Seen() for arm in arms}
        for number in range(options.rounds):
            for arm in arms:
                print(f"round {number + 1}: {arm.name}", file=sys.stderr, flush=True)
                await run_arm(arm, target, options.seconds, seed=number, seen=seen[arm.name])
        print_table(target.kind, options, seen)


def arms_for(kind: str, cap: int) -> list[Arm]:
    honours = kind == "vllm"
    arms = [Arm("P0 alone"), Arm("straight", OUTSTANDING)]
    if honours:
        arms.append(Arm("priority", OUTSTANDING, has_priority=True))
    arms.append(Arm(f"cap {cap}", cap, has_priority=honours))
    arms.append(Arm("stoker", is_stoker=True))
    arms.append(Arm("stoker + lease", is_stoker=True, has_lease=True))
    return arms


def is_wanted(arm: Arm, names: str | None) -> bool:
    return names is None or arm.name in names.split(",")


# ---------------------------------------------------------------------------------- one arm


async def run_arm(arm: Arm, target: Target, seconds: float, *, seed: int, seen: Seen) -> None:
    url, model = target.url, target.model
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout()
            )
        )
        p0_url, client = f"{url}/v1/chat/completions", None
        if arm.is_stoker:
            service = await stack.enter_async_context(stoker_in_front_of(url))
            client = await stack.enter_async_context(Client(service))
            p0_url = f"{service}/v1/p0"
            await fill_backlog(client, model, count=int(seconds * 8))
        backlog = await stack.enter_async_context(kept_outstanding(session, url, model, arm))
        await asyncio.sleep(6.0)  # until the backlog runs as it will
        before, began_at = await output_tokens(target), time.perf_counter()
        p0_tokens = await ask_in_bursts(session, p0_url, model, arm, client, seconds, seed, seen)
        elapsed = time.perf_counter() - began_at
        made = await output_tokens(target) - before - p0_tokens
        if arm.is_stoker or arm.outstanding:
            seen.p2_per_s.append(made / elapsed)
        backlog.set()
    await settle(target)


async def fill_backlog(client: Client, model: str, count: int) -> None:
    for index in range(count):
        await client.enqueue_p2(summary(model, index))


@asynccontextmanager
async def kept_outstanding(
    session: aiohttp.ClientSession, url: str, model: str, arm: Arm
) -> AsyncIterator[asyncio.Event]:
    """A closed loop of P2 calls straight to the engine, until the event is set."""
    is_over = asyncio.Event()

    async def worker(number: int) -> None:
        serial = number
        while not is_over.is_set():
            body = summary(model, serial) | ({"priority": 10} if arm.has_priority else {})
            async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
                await answer.read()
            serial += OUTSTANDING

    async with asyncio.TaskGroup() as tasks:
        workers = [tasks.create_task(worker(number)) for number in range(arm.outstanding)]
        yield is_over
        for task in workers:
            task.cancel()


async def ask_in_bursts(
    session: aiohttp.ClientSession,
    p0_url: str,
    model: str,
    arm: Arm,
    client: Client | None,
    seconds: float,
    seed: int,
    seen: Seen,
) -> int:
    """The person: types, asks every two or three seconds for a while, thinks. Returns tokens."""
    chance = random.Random(seed)
    began_at, tokens = time.perf_counter(), 0
    while (now := time.perf_counter() - began_at) < seconds:
        burst_ends_at = now + LEAD_S + BURST_S
        async with AsyncExitStack() as stack:
            if client is not None and arm.has_lease:
                lease = await client.allocate_p0_priority(LEAD_S + BURST_S + SLACK_S)
                await stack.enter_async_context(lease)
            await asyncio.sleep(LEAD_S)
            while time.perf_counter() - began_at < burst_ends_at:
                tokens += await ask(session, p0_url, question(model, arm, chance), seen)
                await asyncio.sleep(chance.uniform(0.5, 2.0))
        await asyncio.sleep(max(0.0, burst_ends_at + PAUSE_S - (time.perf_counter() - began_at)))
    return tokens


async def ask(session: aiohttp.ClientSession, url: str, body: dict[str, object], seen: Seen) -> int:
    """One streamed question, timed by its asker."""
    began_at, first_at, tokens = time.perf_counter(), None, 0
    async with session.post(url, json=body) as answer:
        async for line in answer.content:
            if line.startswith(b"data: {") and b'"content":"' in line.replace(b" ", b""):
                first_at = first_at or time.perf_counter()
                tokens += 1
        if answer.status != 200 or first_at is None:
            seen.errors += 1
            return tokens
    seen.ttft_s.append(first_at - began_at)
    seen.e2e_s.append(time.perf_counter() - began_at)
    return tokens


async def output_tokens(target: Target) -> float:
    total = (await target.engine.sample()).output_tokens_total
    if total is None:
        raise SystemExit(f"{target.url} does not count its tokens")
    return total


# ---------------------------------------------------------------------------------- the words

DOCUMENTS = [
    module.__doc__ or ""
    for module in (argparse, asyncio, random, statistics, tempfile, time, sys, msgspec, aiohttp)
]
FILLER = " ".join(DOCUMENTS).split()
QUESTIONS = (
    "Name three rivers in Europe.",
    "What is a good name for a cat?",
    "Say hello in French and in Spanish.",
    "Why is the sky blue? One sentence.",
    "Give me a word that rhymes with stone.",
)


def summary(model: str, serial: int) -> dict[str, object]:
    """A different page each time, so that no prefix cache answers for the engine."""
    chance = random.Random(serial)
    start = chance.randrange(max(1, len(FILLER) - 180))
    text = f"[{serial}] " + " ".join(FILLER[start : start + 180])
    return {
        "model": model,
        "messages": [{"role": "user", "content": f"Summarise this page:\n{text}"}],
        "max_tokens": SUMMARY_TOKENS,
        "ignore_eos": True,
    }


def question(model: str, arm: Arm, chance: random.Random) -> dict[str, object]:
    text = f"{chance.choice(QUESTIONS)} ({chance.randrange(10_000)})"
    return {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": ANSWER_TOKENS,
        "ignore_eos": True,
        "stream": True,
    } | ({"priority": 0} if arm.has_priority else {})


def print_table(kind: str, options: argparse.Namespace, seen: dict[str, Seen]) -> None:
    print(f"\nEngine: {kind}; {options.rounds} rounds of {options.seconds:g} s an arm.\n")
    print("| arm | P0 n | TTFT p50 / p95 ms | × alone | E2E p50 ms | × alone | P2 tok/s | kept |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    alone = seen.get("P0 alone")
    most = max((statistics.median(s.p2_per_s) for s in seen.values() if s.p2_per_s), default=0.0)
    for name, one in seen.items():
        print(row(name, one, alone, most))
    if any(one.errors for one in seen.values()):
        sys.exit(f"failed questions: { {name: one.errors for name, one in seen.items()} }")


def row(name: str, one: Seen, alone: Seen | None, most: float) -> str:
    p50, p95 = share(one.ttft_s, 0.5), share(one.ttft_s, 0.95)
    e2e = share(one.e2e_s, 0.5)
    times = ("", "")
    if alone is not None and alone.ttft_s:
        times = (
            f"{p95 / share(alone.ttft_s, 0.95):.2f}",
            f"{e2e / share(alone.e2e_s, 0.5):.2f}",
        )
    p2 = statistics.median(one.p2_per_s) if one.p2_per_s else None
    kept = "–" if p2 is None else f"{100 * p2 / most:.0f} %"
    return (
        f"| {name} | {len(one.ttft_s)} | {1000 * p50:.0f} / {1000 * p95:.0f} | {times[0]} "
        f"| {1000 * e2e:.0f} | {times[1]} | {'–' if p2 is None else f'{p2:.0f}'} | {kept} |"
    )


def share(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(part * (len(ordered) - 1)))] if ordered else 0.0


if __name__ == "__main__":
    asyncio.run(main())
