"""What people and other background jobs feel of an import: nothing, or what a peer's client does.

`python benchmarks/bench_memories_interference.py` runs the embedded engine under the same load in
three arms: P0 chats at random moments beside a backlog of P2 jobs, without an import; with one; and
with a peer's way of ingesting, 32 extraction calls at once straight to the engine. Rounds of the
arms follow each other in turn, so that what else the machine does meets all of them. With
`--scripted` the engine is one of fixed timing in this process: then only Stoker's part is measured.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import click
import msgspec

from stoker.config import Config, EngineConfig
from stoker.core.work import JobId, Priority, RequestId
from stoker.fabric import Fabric
from stoker.memories.extract import SMALL, Line, request
from stoker.memories.ports import TENANT
from stoker.memories_parts import build_memory_store
from stoker.ports import Addressed, EngineCall
from stoker.runtime.clock import SystemClock
from stoker.testing.fake_engine import FakeEngine, FakeTiming
from stoker.wiring import build_store

ROOT = Path(__file__).parents[1]
PEER_CALLS = 32
_BACKLOG_MIN = 24
_CHAT_TOKENS = 24
_JOB_TOKENS = 64


@dataclass(slots=True)
class Arm:
    name: str
    ttft_ms: list[float] = field(default_factory=list)
    job_tokens: int = 0
    seconds: float = 0.0
    extractions: int = 0

    def row(self, reference: Arm) -> str:
        p50, p99 = _percentile(self.ttft_ms, 50), _percentile(self.ttft_ms, 99)
        rate = self.job_tokens / max(self.seconds, 1e-9)
        base = reference.job_tokens / max(reference.seconds, 1e-9)
        return (
            f"| {self.name} | {len(self.ttft_ms)} | {p50:.0f} | {p99:.0f}"
            f" | {p50 / _percentile(reference.ttft_ms, 50):.3f}"
            f" | {p99 / _percentile(reference.ttft_ms, 99):.3f}"
            f" | {rate:.1f} | {rate / base if base else float('nan'):.3f} | {self.extractions} |"
        )


@dataclass(frozen=True, slots=True)
class Setting:
    """What all arms have in common."""

    seconds: float
    has_backlog: bool
    is_scripted: bool


@click.command()
@click.option("--rounds", default=3, show_default=True)
@click.option("--seconds", default=60.0, show_default=True, help="Of each arm in each round.")
@click.option("--every", default=4.0, show_default=True, help="Mean seconds between chats.")
@click.option("--seed", default=1, show_default=True)
@click.option("--backlog/--no-backlog", "has_backlog", default=True, help="Other P2 jobs too.")
@click.option("--scripted", is_flag=True, help="An engine of fixed timing.")
def main(
    rounds: int, seconds: float, every: float, seed: int, *, has_backlog: bool, scripted: bool
) -> None:
    """Run the arms in turn and compare."""
    setting = Setting(seconds, has_backlog=has_backlog, is_scripted=scripted)
    arms = [Arm("without an import"), Arm("with an import"), Arm("32 direct calls")]
    asyncio.run(_run(arms, rounds, every, random.Random(seed), setting))
    print(
        "| arm | chats | TTFT p50 ms | p99 ms | p50 to without | p99 to without"
        " | P2 tokens/s | to without | extractions |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for arm in arms:
        print(arm.row(arms[0]))


async def _run(
    arms: list[Arm],
    rounds: int,
    every: float,
    chance: random.Random,
    setting: Setting,
) -> None:
    for number in range(rounds):
        # The same moments in every arm of a round.
        gaps = [chance.expovariate(1 / every) for _ in range(int(4 * setting.seconds / every))]
        for arm in arms:
            with tempfile.TemporaryDirectory() as folder:
                await _round(arm, Path(folder), gaps, setting)
            print(f"round {number + 1}, {arm.name}: {len(arm.ttft_ms)} chats", flush=True)


@asynccontextmanager
async def _served(data: Path, *, is_scripted: bool) -> AsyncIterator[Fabric]:
    config = Config(data=data, engine=EngineConfig(embedded_slots=8, embedded_threads=1))
    if not is_scripted:
        async with Fabric.open(config) as fabric:
            yield fabric
        return
    timing = FakeTiming(prefill_s_per_token=0.0005, decode_s=0.02, decode_s_per_sequence=0.002)
    engine = FakeEngine(slots=8, natural_tokens=_JOB_TOKENS, timing=timing)
    store, memories = build_store(config), build_memory_store(config)
    async with Fabric.assemble(
        config, engine=engine, store=store, clock=SystemClock(), memories=memories
    ) as fabric:
        yield fabric


async def _round(arm: Arm, data: Path, gaps: list[float], setting: Setting) -> None:
    async with _served(data, is_scripted=setting.is_scripted) as fabric:
        await fabric.wait_ready()
        async with asyncio.TaskGroup() as tasks:
            background = [tasks.create_task(_backlog(fabric))] if setting.has_backlog else []
            if arm.name == "with an import":
                await _begin_import(fabric)
            if arm.name == "32 direct calls":
                background += [tasks.create_task(_peer(fabric, arm, n)) for n in range(PEER_CALLS)]
            await asyncio.sleep(8.0)  # until all of it runs
            before, began = await _job_tokens(fabric, TENANT), time.perf_counter()
            done_before = (await fabric.memories.work()).total - (await fabric.memories.work()).left
            await _chats(fabric, arm, gaps, until=began + setting.seconds)
            arm.job_tokens += await _job_tokens(fabric, TENANT) - before
            arm.seconds += time.perf_counter() - began
            work = await fabric.memories.work()
            if arm.name == "with an import":
                arm.extractions += work.total - work.left - done_before
            for task in background:
                task.cancel()


async def _chats(fabric: Fabric, arm: Arm, gaps: list[float], *, until: float) -> None:
    """People ask now and then; each waits for the whole answer, as a person reads it."""
    for number, gap in enumerate(gaps):
        await asyncio.sleep(gap)
        if time.perf_counter() > until:
            return
        body = {
            "messages": [{"role": "user", "content": f"Tell me about lighthouse {number}."}],
            "max_tokens": _CHAT_TOKENS,
            "stream": True,
        }
        began = time.perf_counter()
        is_first = True
        async for _ in fabric.run_p0(body):
            if is_first:
                arm.ttft_ms.append(1000 * (time.perf_counter() - began))
                is_first = False


async def _backlog(fabric: Fabric) -> None:
    """Other people's background jobs: there are always some waiting."""
    number = 0
    while True:
        counts = await fabric.jobs.counts(tenant="")
        waiting = sum(n for state, n in counts.items() if not state.is_final)
        for _ in range(max(0, _BACKLOG_MIN - waiting)):
            number += 1
            text = f"Summarise report {number}: " + "the pump in hall 7 was serviced. " * 20
            await fabric.enqueue_p2(
                {"messages": [{"role": "user", "content": text}], "max_tokens": _JOB_TOKENS}
            )
        await asyncio.sleep(0.2)


async def _job_tokens(fabric: Fabric, but_of: str) -> int:
    """Output tokens of finished jobs that are not the memory server's."""
    total, before = 0, None
    while True:
        page = await fabric.jobs.list_jobs(limit=1000, before=before)
        total += sum(j.usage.output_tokens for j in page if j.usage and j.tenant != but_of)
        if len(page) < 1000:
            return total
        before = JobId(page[-1].id)


async def _begin_import(fabric: Fabric) -> None:
    view = await fabric.memories.begin_import("bench")
    files = sorted((ROOT / "docs").rglob("*.md"))
    for file in files:
        await fabric.memories.add_upload(view.id, file.read_bytes(), file.as_uri())


async def _peer(fabric: Fabric, arm: Arm, worker: int) -> None:
    """One of 32 workers that extract by themselves, as memory servers do today."""
    engine = fabric.engine
    texts = await asyncio.to_thread(_texts)
    if isinstance(engine, FakeEngine):
        await _peer_of_script(engine, texts, arm, worker)
        return
    assert isinstance(engine, Addressed)
    # 32 at once wait for minutes.
    patient = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=patient) as session:
        number = worker
        while True:
            text = texts[number % len(texts)]
            number += PEER_CALLS
            body = request([Line("s", text)], variant=SMALL)
            async with session.post(
                f"{engine.url}/v1/chat/completions", data=msgspec.json.encode(body),
                headers={"content-type": "application/json"},
            ) as response:  # fmt: skip
                await response.read()
            arm.extractions += 1


async def _peer_of_script(engine: FakeEngine, texts: list[str], arm: Arm, worker: int) -> None:
    number = worker
    while True:
        body = msgspec.json.encode(request([Line("s", texts[number % len(texts)])], variant=SMALL))
        call = EngineCall(RequestId(f"peer-{number}"), "/v1/chat/completions", body, Priority.P1)
        async with engine.send(call) as answer:
            async for _ in answer.chunks():
                pass
        number += PEER_CALLS
        arm.extractions += 1


def _texts() -> list[str]:
    files = sorted((ROOT / "docs").rglob("*.md"))
    whole = "\n\n".join(file.read_text() for file in files)
    return [whole[start : start + 2500] for start in range(0, len(whole), 2500)]


def _percentile(values: list[float], percent: float) -> float:
    if len(values) < 2:
        return values[0] if values else float("nan")
    return statistics.quantiles(values, n=100, method="inclusive")[int(percent) - 1]


if __name__ == "__main__":
    main()
