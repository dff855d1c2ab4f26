"""What people and other jobs feel of an import: nothing, or what a peer's client does.

`python benchmarks/bench_memories_interference.py` runs the embedded engine under the same load in
three arms: P0 chats at random moments and one P1 caller beside a backlog of P2 jobs, without an
import; with one; and with a peer's way of ingesting, 32 extraction calls at once straight to the
engine. Rounds of the arms follow each other in turn, so that what else the machine does meets all
of them; `--keep FILE` adds what earlier runs measured. With `--scripted` the engine is one of fixed
timing in this process; with `--instant-prompts` too, it reads the import's prompts in no time, and
only Stoker's own part is left. `--virtual` leaves that out instead: a scripted engine on a clock
that jumps, so that only what is decided counts, whatever else the machine does.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import click
import msgspec

from stoker.config import Config
from stoker.core.work import JobId, Priority, RequestId
from stoker.engine_config import EngineConfig
from stoker.fabric import Fabric
from stoker.memories.extract import SMALL, Line, request
from stoker.memories.ports import TENANT
from stoker.memories_parts import build_memory_store
from stoker.ports import Addressed, EngineCall
from stoker.runtime.clock import SystemClock
from stoker.testing.fake_engine import FakeEngine, FakeTiming
from stoker.testing.virtual_time import VirtualClock, run_virtual
from stoker.wiring import build_store

ROOT = Path(__file__).parents[1]
PEER_CALLS = 32
_BACKLOG_MIN = 24
_CHAT_TOKENS = 24
_CALL_TOKENS = 48
_JOB_TOKENS = 64
_BEAT_S = 0.005
_THREAD_S = 0.002
"""What a look into SQLite takes; longer work, as checking and embedding, takes virtual time."""


class Arm(msgspec.Struct):
    """What was measured in one arm, over all of its rounds."""

    name: str
    ttft_ms: list[float] = []
    call_tokens: int = 0
    job_tokens: int = 0
    """Of other people's background jobs."""
    memory_tokens: int = 0
    """Of the import's."""
    seconds: float = 0.0
    extractions: int = 0
    lags_ms: list[float] = []
    """By how much each beat of this process's event loop came late."""

    def row(self, reference: Arm) -> str:
        times = [_percentile(self.ttft_ms, percent) for percent in (50, 95, 99)]
        rates = [
            tokens / max(self.seconds, 1e-9)
            for tokens in (self.call_tokens, self.job_tokens, self.job_tokens + self.memory_tokens)
        ]
        figures = [
            f"{len(self.ttft_ms)}",
            *(f"{time_ms:.0f}" for time_ms in times),
            *(f"{rate:.1f}" for rate in rates),
            f"{self.extractions}",
            f"{_percentile(self.lags_ms, 99):.1f}",
        ]
        return f"| {self.name} | {' | '.join(figures)} |"


@dataclass(frozen=True, slots=True)
class Setting:
    """What all arms have in common."""

    seconds: float
    has_backlog: bool
    is_scripted: bool
    has_instant_prompts: bool = False
    is_virtual: bool = False


@click.command()
@click.option("--rounds", default=3, show_default=True)
@click.option("--seconds", default=60.0, show_default=True, help="Of each arm in each round.")
@click.option("--every", default=2.0, show_default=True, help="Mean seconds between chats.")
@click.option("--seed", default=1, show_default=True)
@click.option("--backlog/--no-backlog", "has_backlog", default=True, help="P1 and other P2 too.")
@click.option("--peer/--no-peer", "has_peer", default=True, help="The arm of 32 direct calls.")
@click.option("--scripted", is_flag=True, help="An engine of fixed timing.")
@click.option("--instant-prompts", is_flag=True, help="It reads prompts in no time.")
@click.option("--virtual", is_flag=True, help="A scripted engine on virtual time.")
@click.option("--keep", type=click.Path(path_type=Path), help="Add to what is in FILE.")
def main(
    rounds: int, seconds: float, every: float, seed: int, keep: Path | None, *,
    has_backlog: bool, has_peer: bool, scripted: bool, instant_prompts: bool, virtual: bool,
) -> None:  # fmt: skip
    """Run the arms in turn and compare."""
    setting = Setting(seconds, has_backlog, scripted or virtual, instant_prompts, virtual)
    names = ["without an import", "with an import", *(["32 direct calls"] if has_peer else [])]
    arms = [Arm(name) for name in names]
    measuring = _run(arms, rounds, every, random.Random(seed), setting)
    if virtual:
        run_virtual(measuring, thread_s=_THREAD_S)
    else:
        asyncio.run(measuring)
    if keep is not None:
        arms = _added(arms, keep)
    print(
        "| arm | chats | TTFT p50 ms | p95 | p99 | P1 tokens/s | other P2 tokens/s"
        " | all P2 tokens/s | extractions | loop late, p99 ms |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for arm in arms:
        print(arm.row(arms[0]))
    if len(arms[0].ttft_ms) > 1 and len(arms[1].ttft_ms) > 1:
        print(_compared(arms[0], arms[1]))


def _added(arms: list[Arm], file: Path) -> list[Arm]:
    known = {arm.name: arm for arm in arms}
    if file.exists():
        for before in msgspec.json.decode(file.read_bytes(), type=list[Arm]):
            arm = known.setdefault(before.name, Arm(before.name))
            arm.ttft_ms += before.ttft_ms
            arm.lags_ms += before.lags_ms
            for field in ("call_tokens", "job_tokens", "memory_tokens", "seconds", "extractions"):
                setattr(arm, field, getattr(arm, field) + getattr(before, field))
    file.write_bytes(msgspec.json.encode(list(known.values())))
    return list(known.values())


def _compared(without: Arm, with_import: Arm) -> str:
    """The ratios that have targets, those of times with the range that chance alone leaves."""
    chance = random.Random(1)
    parts = []
    for percent in (50, 95, 99):
        ratio = _percentile(with_import.ttft_ms, percent) / _percentile(without.ttft_ms, percent)
        drawn = sorted(
            _percentile(chance.choices(with_import.ttft_ms, k=len(with_import.ttft_ms)), percent)
            / _percentile(chance.choices(without.ttft_ms, k=len(without.ttft_ms)), percent)
            for _ in range(1000)
        )
        parts.append(f"TTFT p{percent} {ratio:.3f} ({drawn[25]:.2f} to {drawn[975]:.2f})")
    for name, field in (("P1", "call_tokens"), ("other P2", "job_tokens")):
        before, after = (getattr(arm, field) / arm.seconds for arm in (without, with_import))
        if before:
            parts.append(f"{name} {after / before:.3f}")
    return f"with an import, to without: {', '.join(parts)}"


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
async def _served(data: Path, setting: Setting) -> AsyncIterator[Fabric]:
    config = Config(data=data, engine=EngineConfig(embedded_slots=8, embedded_threads=1))
    if not setting.is_scripted:
        async with Fabric.open(config) as fabric:
            yield fabric
        return
    read_s = 0.0 if setting.has_instant_prompts else 0.0005
    timing = FakeTiming(prefill_s_per_token=read_s, decode_s=0.02, decode_s_per_sequence=0.002)
    engine = FakeEngine(slots=8, natural_tokens=_JOB_TOKENS, timing=timing)
    store, memories = build_store(config), build_memory_store(config)
    clock = VirtualClock() if setting.is_virtual else SystemClock()
    async with Fabric.assemble(
        config, engine=engine, store=store, clock=clock, memories=memories
    ) as fabric:
        yield fabric


@dataclass(slots=True)
class Done:
    """What callers got in one round."""

    call_tokens: int = 0
    direct_extractions: int = 0


async def _round(arm: Arm, data: Path, gaps: list[float], setting: Setting) -> None:
    async with _served(data, setting) as fabric:
        await fabric.wait_ready()
        done = Done()
        async with asyncio.TaskGroup() as tasks:
            background = []
            if setting.has_backlog:
                background += [tasks.create_task(_backlog(fabric))]
                background += [tasks.create_task(_calls(fabric, done))]
            if arm.name == "with an import":
                await _begin_import(fabric)
            if arm.name == "32 direct calls":
                background += [tasks.create_task(_peer(fabric, done, n)) for n in range(PEER_CALLS)]
            await asyncio.sleep(8.0)  # until all of it runs
            if not setting.is_virtual:
                background += [tasks.create_task(_beat(arm))]
            before, began = await _counted(fabric, done), _now()
            await _chats(fabric, arm, gaps, until=began + setting.seconds)
            after = await _counted(fabric, done)
            arm.seconds += _now() - began
            for name in ("call_tokens", "job_tokens", "memory_tokens", "extractions"):
                setattr(arm, name, getattr(arm, name) + after[name] - before[name])
            for task in background:
                task.cancel()


async def _counted(fabric: Fabric, done: Done) -> dict[str, int]:
    """So far, by the names of an arm's fields."""
    others, ours = await _job_tokens(fabric)
    work = await fabric.memories.work()
    return {
        "call_tokens": done.call_tokens,
        "job_tokens": others,
        "memory_tokens": ours,
        "extractions": work.total - work.left + done.direct_extractions,
    }


async def _beat(arm: Arm) -> None:
    """How late the event loop is, every few milliseconds."""
    while True:
        began = _now()
        await asyncio.sleep(_BEAT_S)
        arm.lags_ms.append(1000 * (_now() - began - _BEAT_S))


async def _chats(fabric: Fabric, arm: Arm, gaps: list[float], *, until: float) -> None:
    """People ask now and then; each waits for the whole answer, as a person reads it."""
    for number, gap in enumerate(gaps):
        await asyncio.sleep(gap)
        if _now() > until:
            return
        body = {
            "messages": [{"role": "user", "content": f"Tell me about lighthouse {number}."}],
            "max_tokens": _CHAT_TOKENS,
            "stream": True,
        }
        began = _now()
        is_first = True
        async for _ in fabric.run_p0(body):
            if is_first:
                arm.ttft_ms.append(1000 * (_now() - began))
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


async def _calls(fabric: Fabric, done: Done) -> None:
    """An ordinary caller that asks one question after the other."""
    for number in itertools.count():
        body = {
            "messages": [{"role": "user", "content": f"Describe harbour {number} in one line."}],
            "max_tokens": _CALL_TOKENS,
        }
        answer = await fabric.run_p1(body)
        done.call_tokens += answer["usage"]["completion_tokens"]


async def _job_tokens(fabric: Fabric) -> tuple[int, int]:
    """Output tokens of finished jobs: other people's, and the memory server's."""
    others, ours, before = 0, 0, None
    while True:
        page = await fabric.jobs.list_jobs(limit=1000, before=before)
        for job in page:
            tokens = job.usage.output_tokens if job.usage else 0
            others, ours = (
                (others, ours + tokens) if job.tenant == TENANT else (others + tokens, ours)
            )
        if len(page) < 1000:
            return others, ours
        before = JobId(page[-1].id)


async def _begin_import(fabric: Fabric) -> None:
    view = await fabric.memories.begin_import("bench")
    files = sorted((ROOT / "docs").rglob("*.md"))
    for file in files:
        await fabric.memories.add_upload(view.id, file.read_bytes(), file.as_uri())


async def _peer(fabric: Fabric, done: Done, worker: int) -> None:
    """One of 32 workers that extract by themselves, as memory servers do today."""
    engine = fabric.engine
    texts = await asyncio.to_thread(_texts)
    if isinstance(engine, FakeEngine):
        await _peer_of_script(engine, texts, done, worker)
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
            done.direct_extractions += 1


async def _peer_of_script(engine: FakeEngine, texts: list[str], done: Done, worker: int) -> None:
    number = worker
    while True:
        body = msgspec.json.encode(request([Line("s", texts[number % len(texts)])], variant=SMALL))
        call = EngineCall(RequestId(f"peer-{number}"), "/v1/chat/completions", body, Priority.P1)
        async with engine.send(call) as answer:
            async for _ in answer.chunks():
                pass
        number += PEER_CALLS
        done.direct_extractions += 1


def _texts() -> list[str]:
    files = sorted((ROOT / "docs").rglob("*.md"))
    whole = "\n\n".join(file.read_text() for file in files)
    return [whole[start : start + 2500] for start in range(0, len(whole), 2500)]


def _now() -> float:
    return asyncio.get_running_loop().time()


def _percentile(values: Sequence[float], percent: float) -> float:
    if len(values) < 2:
        return values[0] if values else float("nan")
    return statistics.quantiles(values, n=100, method="inclusive")[int(percent) - 1]


if __name__ == "__main__":
    main()
