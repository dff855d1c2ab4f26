"""How fast is the durable job store, and does it stay fast with a million jobs waiting?

    python benchmarks/bench_store.py            # all of it, about two minutes
    python benchmarks/bench_store.py --quick    # a tenth of the size, to see that it runs

Prints one markdown table. The database lies in a temporary folder; name a disk with --folder.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import psutil

from stoker.core.work import JobId, Usage
from stoker.ports import NewJob
from stoker.store.sqlite import SqliteJobStore

CALLERS = 32
BODY = b'{"messages": [{"role": "user", "content": "' + b"x" * 900 + b'"}]}'
RESULT = b'{"choices": [{"message": {"content": "' + b"y" * 900 + b'"}}]}'
USAGE = Usage(prompt_tokens=250, output_tokens=250, cached_tokens=0)
CLAIMS = 1_000
FAMILIES = tuple(f"{index:016x}" for index in range(4))

Row = tuple[str, str, str, bool]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    scale = 10 if options.quick else 1
    folder = options.folder
    rows = [
        sync_row(folder),
        *await median_of(3, lambda: bulk_enqueue(folder, 100_000 // scale)),
        *await median_of(3, lambda: single_enqueues(folder, 20_000 // scale)),
        *await median_of(3, lambda: claim_and_complete(folder, 20_000 // scale)),
        *await many_waiting(folder, [1_000, 100_000 // scale, 1_000_000 // scale]),
    ]
    print_table(rows)
    if not all(is_met for *_, is_met in rows):
        sys.exit("a target was missed")


def sync_row(folder: Path | None) -> Row:
    """What one durable commit costs at the least, on this disk, now."""
    latencies_ms = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(200):
            file.write(bytes(8192))
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            latencies_ms.append(1e3 * (time.perf_counter() - started))
    return "one sync of this disk, median", f"{statistics.median(latencies_ms):.2f} ms", "", True


async def median_of(
    runs: int, measure: Callable[[], Awaitable[tuple[str, float, float]]]
) -> list[Row]:
    measured = [await measure() for _ in range(runs)]
    name, _, target = measured[0]
    rate = statistics.median(rate for _, rate, _ in measured)
    return [(f"{name}, median of {runs}", f"{rate:,.0f}/s", f"≥ {target:,.0f}/s", rate >= target)]


async def bulk_enqueue(folder: Path | None, count: int) -> tuple[str, float, float]:
    async with open_store(folder) as store:
        jobs = [new_job() for _ in range(count)]
        started = time.perf_counter()
        await store.enqueue(jobs, now=1.0)
        rate = count / (time.perf_counter() - started)
    return f"enqueue {count:,} jobs in one call", rate, 20_000


async def single_enqueues(folder: Path | None, count: int) -> tuple[str, float, float]:
    async def caller() -> None:
        for _ in range(count // CALLERS):
            await store.enqueue([new_job()], now=1.0)

    async with open_store(folder) as store:
        rate = await rate_of(caller, count // CALLERS * CALLERS)
    return f"enqueue one durable job per call, {CALLERS} callers", rate, 1_000


async def claim_and_complete(folder: Path | None, count: int) -> tuple[str, float, float]:
    async def worker() -> None:
        while held := await store.claim(1, lease_s=60.0, now=1.0):
            job = held[0]
            await store.complete(job.job.id, job.lease_id, result=RESULT, usage=USAGE, now=2.0)

    async with open_store(folder) as store:
        await store.enqueue([new_job() for _ in range(count)], now=1.0)
        rate = await rate_of(worker, count)
    return f"claim 1 and complete it, {CALLERS} workers", rate, 2_000


async def many_waiting(folder: Path | None, sizes: list[int]) -> list[Row]:
    """Claims with few and with many waiting, taken in turn: the disk's moods hit all alike."""
    latencies_ms: dict[int, list[float]] = {size: [] for size in sizes}
    async with AsyncExitStack() as stack:
        stores = {size: await stack.enter_async_context(open_store(folder)) for size in sizes}
        for size, store in stores.items():
            await fill(store, size)
        os.sync()
        family_ms: dict[int, list[float]] = {size: [] for size in sizes}
        for _ in range(CLAIMS):
            for size, store in stores.items():
                latencies_ms[size].append(await claim_latency_ms(store))
                family_ms[size].append(await claim_latency_ms(store, FAMILIES[-1]))
        return [
            *claim_rows("claim", latencies_ms),
            *claim_rows("claim of one family in four", family_ms),
            *await size_rows(stores[max(sizes)], max(sizes)),
        ]


async def fill(store: SqliteJobStore, size: int) -> None:
    step = min(size, 20_000)
    for _ in range(size // step):
        jobs = [new_job(FAMILIES[index % len(FAMILIES)]) for index in range(step)]
        await store.enqueue(jobs, now=1.0)


async def claim_latency_ms(store: SqliteJobStore, family: str = "") -> float:
    """Claim one and give it back, so that as many wait for the next claim."""
    started = time.perf_counter()
    (held,) = await store.claim(1, lease_s=60.0, now=1.0, family=family)
    latency_ms = 1e3 * (time.perf_counter() - started)
    await store.release(held.job.id, held.lease_id, checkpoint=None, is_preempted=False, now=1.0)
    return latency_ms


def claim_rows(what: str, latencies_ms: dict[int, list[float]]) -> list[Row]:
    rows: list[Row] = []
    first_p99: float | None = None
    for size, latencies in latencies_ms.items():
        ordered = sorted(latencies)
        p50, p99 = statistics.median(ordered), ordered[len(ordered) * 99 // 100]
        first_p99 = first_p99 or p99
        name = f"{what} p50 / p99, {size:,} waiting"
        rows.append((name, f"{p50:.2f} / {p99:.2f} ms", "p99 ≤ 2× first", p99 <= 2 * first_p99))
    return rows


async def size_rows(store: SqliteJobStore, size: int) -> list[Row]:
    gc.collect()
    rss_mb = psutil.Process().memory_info().rss / 1e6
    started = time.perf_counter()
    await store.counts()
    counts_ms = 1e3 * (time.perf_counter() - started)
    return [
        (f"resident size, {size:,} waiting", f"{rss_mb:.0f} MB", "< 300 MB", rss_mb < 300),
        (f"counts(), {size:,} waiting", f"{counts_ms:.2f} ms", "< 5 ms", counts_ms < 5),
    ]


async def rate_of(caller: Callable[[], Awaitable[None]], count: int) -> float:
    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return count / (time.perf_counter() - started)


def new_job(family: str = FAMILIES[0]) -> NewJob:
    return NewJob(
        id=JobId(f"job_{uuid4().hex}"), endpoint="/v1/chat/completions", body=BODY, family=family
    )


@asynccontextmanager
async def open_store(folder: Path | None) -> AsyncIterator[SqliteJobStore]:
    with tempfile.TemporaryDirectory(dir=folder, prefix="stoker-bench-") as place:
        store = SqliteJobStore(Path(place) / "jobs.sqlite3")
        await store.open()
        try:
            yield store
        finally:
            await store.close()


def print_table(rows: list[Row]) -> None:
    machine = f"{os.cpu_count()} cores, {platform.system()}; bodies of {len(BODY)} bytes"
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {machine}\n")
    print("| What | Measured | Target | Met |")
    print("|---|---:|---:|:-:|")
    for name, measured, target, is_met in rows:
        print(f"| {name} | {measured} | {target} | {'yes' if is_met else 'NO'} |")


if __name__ == "__main__":
    asyncio.run(main())
