"""What does keeping the history cost, and how large does it become?

    python benchmarks/bench_history.py            # two hours of it in some seconds
    python benchmarks/bench_history.py --quick    # a tenth of the time, to see that it runs

A whole fabric with 64 requests running, others waiting, 32 tenants and 20 finished requests a
second, looked at every two seconds of a clock that is set forward by hand. The figure is the CPU
time of the process: looking, counting, encoding, SQLite, putting coarser steps together.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from stoker.config import Config, HistoryConfig
from stoker.core.errors import StokerError
from stoker.core.work import Priority, RequestId, Usage
from stoker.fabric import Fabric
from stoker.history.document import Wanted, history_document
from stoker.history.file import HISTORY_FILE, HistoryFile
from stoker.history.historian import LOOK_EVERY_S, Historian
from stoker.runtime.meter import Finished
from stoker.testing.fake_engine import FakeEngine, FakeTiming
from stoker.testing.job_store import InMemoryJobStore

HOURS = 2.0
FINISHED_PER_S = 20
TENANTS = 32
SLOW = FakeTiming(decode_s=600.0)


class HandClock:
    """A clock that somebody sets forward."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1_700_000_000.0 + self.now


async def main(hours: float) -> None:
    clock, chance = HandClock(), random.Random(1)
    config = Config(history=HistoryConfig(enabled=False))
    engine = FakeEngine(slots=64, kv_tokens=400_000)
    with TemporaryDirectory() as folder:
        async with Fabric.assemble(
            config, engine=engine, store=InMemoryJobStore(), clock=clock
        ) as fabric:
            await fabric.wait_ready()
            engine.timing = SLOW
            calls = [
                asyncio.ensure_future(answered(fabric, number % TENANTS)) for number in range(96)
            ]
            await asyncio.sleep(0.5)
            path = Path(folder) / HISTORY_FILE
            file = HistoryFile(path, max_bytes=64 * 2**20, retention_s=60 * 86_400.0)
            await file.open()
            parts, overview = fabric._parts, fabric._overview  # noqa: SLF001 - as in `assemble`
            historian = Historian(file, parts, overview, fabric.log, clock, None)
            looks = int(hours * 3600 / LOOK_EVERY_S)
            began = time.process_time()
            for _ in range(looks):
                clock.now += LOOK_EVERY_S
                finish_some(fabric, clock.now, chance)
                await historian.look()
            cpu_s = time.process_time() - began
            print_cost(cpu_s, looks, path, hours)
            await print_reading(file, clock.wall())
            await file.close()
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)


async def answered(fabric: Fabric, tenant: int) -> None:
    with suppress(StokerError):
        await fabric.run_p1({"prompt": "x" * 4000, "max_tokens": 500, "user": f"tenant{tenant}"})


def finish_some(fabric: Fabric, now: float, chance: random.Random) -> None:
    """Requests that ended since the last look, as the calls would have said."""
    meter = fabric._parts.default.meter  # noqa: SLF001 - where calls tell it
    for number in range(int(FINISHED_PER_S * LOOK_EVERY_S)):
        ttft_s = chance.lognormvariate(-1, 1)
        meter.note(
            Finished(
                at=now,
                id=RequestId(f"req_{number}"),
                tenant="",
                priority=Priority(number % 3),
                queued_s=ttft_s / 2,
                ttft_s=ttft_s,
                e2e_s=4 * ttft_s,
                usage=Usage(500, 120),
                itl_s=ttft_s / 20,
            )
        )


def print_cost(cpu_s: float, looks: int, path: Path, hours: float) -> None:
    size = sum(part.stat().st_size for part in path.parent.iterdir())
    print("| a look, ms | of a core | KB an hour |")
    print("|---:|---:|---:|")
    share = cpu_s / (looks * LOOK_EVERY_S)
    print(f"| {1000 * cpu_s / looks:.2f} | {share:.3%} | {size / 1024 / hours:.0f} |")


async def print_reading(file: HistoryFile, now: float) -> None:
    print("\n| Read | ms | steps |")
    print("|---|---:|---:|")
    for name, since in (("the last hour", 3600.0), ("all of it", 86_400.0)):
        began = time.perf_counter()
        document = await file.read(
            lambda db, since=since: history_document(db, Wanted(now - since, now), file.kept)
        )
        took_s = time.perf_counter() - began
        print(f"| {name} | {1000 * took_s:.0f} | {len(document['box']['at'])} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    asyncio.run(main(HOURS / 10 if parser.parse_args().quick else HOURS))
