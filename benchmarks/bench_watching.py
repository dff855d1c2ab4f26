"""What does it cost to be watched: ten dashboards and a Prometheus that scrapes every second?

    python benchmarks/bench_watching.py            # about five minutes
    python benchmarks/bench_watching.py --quick    # a minute, to see that it runs

A real `stoker serve` before a scripted engine. Watched and unwatched stretches take turns, so that
whatever else the machine does falls on both. Watchers and callers are in this process.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil

VIEWERS = 10
AGENTS = 12
TOKENS = 60
P0_EVERY_S = 0.4
SETTLE_S = 2.0


@dataclass(slots=True)
class Stretch:
    """What one stretch of time saw."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    answers: int = 0
    ttft_s: list[float] = field(default_factory=list)

    @property
    def cpu_share(self) -> float:
        return self.cpu_s / self.seconds


class Load:
    """Agents one call after the other, and somebody who asks now and then."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.answers = 0
        self.ttft_s: list[float] = []

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(AGENTS):
                tasks.create_task(self._agent())
            tasks.create_task(self._people())

    async def _agent(self) -> None:
        while True:
            await self._ask("/v1/p1", TOKENS)
            self.answers += 1

    async def _people(self) -> None:
        while True:
            await asyncio.sleep(P0_EVERY_S)
            self.ttft_s.append(await self._ask("/v1/p0", 4))

    async def _ask(self, path: str, tokens: int) -> float:
        body = {
            "messages": [{"role": "user", "content": "hello"}],
            "max_tokens": tokens,
            "stream": True,
        }
        began, first = time.perf_counter(), 0.0
        async with self.session.post(path, json=body) as answer:
            async for line in answer.content:
                if not first and b'"content"' in line:
                    first = time.perf_counter() - began
        return first


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Address and process of a service before a scripted engine."""
    engine = subprocess.Popen(
        [sys.executable, "-m", "stoker.testing.fake_server", "--slots", "16", "--token-ms", "20"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert engine.stdout is not None
    url = engine.stdout.readline().decode().strip()
    options = ("--engine", url, "--kind", "vllm", "--port", "0", "--data", str(folder))
    stoker = subprocess.Popen(
        [sys.executable, "-m", "stoker", "serve", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert stoker.stdout is not None
    try:
        yield stoker.stdout.readline().decode().split()[-1], psutil.Process(stoker.pid)
    finally:
        for process in (stoker, engine):
            process.terminate()
            process.wait()


async def follow(session: aiohttp.ClientSession, seen: Counter[str]) -> None:
    async with session.get("/v1/fabric/live") as answer:
        async for data in answer.content.iter_any():
            seen["frames"] += data.count(b"event: snapshot")


async def scrape(session: aiohttp.ClientSession) -> None:
    while True:
        async with session.get("/metrics") as answer:
            await answer.read()
        await asyncio.sleep(1.0)


@asynccontextmanager
async def watched(
    session: aiohttp.ClientSession, *, viewers: int, is_scraped: bool
) -> AsyncIterator[None]:
    seen: Counter[str] = Counter()
    tasks = [asyncio.ensure_future(follow(session, seen)) for _ in range(viewers)]
    if is_scraped:
        tasks.append(asyncio.ensure_future(scrape(session)))
    try:
        await asyncio.sleep(SETTLE_S)
        before, began = seen["frames"], time.perf_counter()
        yield
        frames = (seen["frames"] - before) / (time.perf_counter() - began)
        assert frames >= 0.8 * viewers, f"{frames:.1f} frames/s reached {viewers} viewers"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def measure(process: psutil.Process, seconds: float, load: Load | None) -> Stretch:
    def cpu_s() -> float:
        times = process.cpu_times()
        return float(times.user + times.system)

    before = (load.answers, len(load.ttft_s)) if load else (0, 0)
    began, cpu_before = time.perf_counter(), cpu_s()
    await asyncio.sleep(seconds)
    stretch = Stretch(time.perf_counter() - began, cpu_s() - cpu_before)
    if load is not None:
        stretch.answers = load.answers - before[0]
        stretch.ttft_s = load.ttft_s[before[1] :]
    return stretch


ARMS = {
    "nobody": (0, False),
    "ten dashboards": (VIEWERS, False),
    "ten dashboards, scraped": (VIEWERS, True),
}


async def turns(
    session: aiohttp.ClientSession,
    process: psutil.Process,
    *,
    rounds: int,
    seconds: float,
    load: Load | None,
) -> dict[str, list[Stretch]]:
    """Each arm in turn, again and again."""
    found: dict[str, list[Stretch]] = {name: [] for name in ARMS}
    for _ in range(rounds):
        for name, (viewers, is_scraped) in ARMS.items():
            async with watched(session, viewers=viewers, is_scraped=is_scraped):
                found[name].append(await measure(process, seconds, load))
    return found


def print_table(title: str, found: dict[str, list[Stretch]], *, has_load: bool) -> None:
    print(f"\n{title}\n")
    columns = ["of a core", "more than nobody"]
    columns += ["answers/s", "ratio", "P0 TTFT p50 ms", "p95 ms"] if has_load else []
    print(f"| Watched by | {' | '.join(columns)} |")
    print("|---|" + "---:|" * len(columns))
    alone = found["nobody"]
    for name, stretches in found.items():
        share = statistics.median(one.cpu_share for one in stretches)
        pairs = zip(stretches, alone, strict=True)
        more = statistics.median(one.cpu_share - other.cpu_share for one, other in pairs)
        cells = [f"{share:.2%}", f"{more:+.2%}"]
        if has_load:
            rates = [one.answers / one.seconds for one in stretches]
            ratios = [
                one.answers / one.seconds / (other.answers / other.seconds)
                for one, other in zip(stretches, alone, strict=True)
            ]
            ttft = sorted(1000 * value for one in stretches for value in one.ttft_s)
            cells += [
                f"{statistics.median(rates):.1f}",
                f"{statistics.median(ratios):.3f}",
                f"{statistics.median(ttft):.1f}",
                f"{ttft[int(0.95 * (len(ttft) - 1))]:.1f}",
            ]
        print(f"| {name} | {' | '.join(cells)} |")


async def main(*, is_quick: bool) -> None:
    rounds, seconds = (1, 6.0) if is_quick else (5, 12.0)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as (url, process):
        async with (
            aiohttp.ClientSession(
                url,
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(None),
            ) as session,
        ):
            await asyncio.sleep(5)
            idle = await turns(
                session, process, rounds=max(1, rounds - 2), seconds=seconds, load=None
            )
            load = Load(session)
            sending = asyncio.ensure_future(load.run())
            await asyncio.sleep(5)
            busy = await turns(session, process, rounds=rounds, seconds=seconds, load=load)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
    print_table("Idle", idle, has_load=False)
    print_table("Busy", busy, has_load=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    asyncio.run(main(is_quick=parser.parse_args().quick))
