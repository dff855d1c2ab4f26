"""How fast are background jobs accepted over HTTP, each durable before its 202?

    python benchmarks/bench_enqueue.py            # about half a minute
    python benchmarks/bench_enqueue.py --quick    # a tenth of the size, to see that it runs

A real `stoker serve` with its SQLite store in a temporary folder. Its engine is down: the jobs are
stored, and stay. Prints one markdown table.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parent))
from callers import PLAIN, Arm, p50_p99
from served import Served, stoker

DISCARD_PORT = 9
CLIENTS = (1, 32)
ROUNDS = 5
ROUND_S = 2.0
TARGET_PER_S = 1_000

Row = tuple[str, str, str, str, float]


async def enqueues(served: Served, clients: int, *, rounds: int) -> Row:
    rates = []
    async with Arm("", served, "/v1/p2", PLAIN, clients) as arm:
        for _ in range(rounds):
            before, busy_s = len(arm.seen.totals), arm.busy_s
            await arm.keep_busy(ROUND_S)
            rates.append((len(arm.seen.totals) - before) / (arm.busy_s - busy_s))
    rate = statistics.median(rates)
    p50, p99 = p50_p99(arm.seen.totals)
    name = f"{clients} at once, median of {rounds}"
    return name, f"{rate:,.0f}/s", f"{p50:.2f} / {p99:.2f} ms", f"{arm.cpu_us:.0f} µs", rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    rounds = 1 if parser.parse_args().quick else ROUNDS
    with stoker(DISCARD_PORT, slots=1, is_ready_awaited=False) as served:
        rows = [uvloop.run(enqueues(served, clients, rounds=rounds)) for clients in CLIENTS]
        rss_mb = served.rss_mb
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores; {rss_mb:.0f} MB resident\n")
    print("| Clients of `POST /v1/p2` | Jobs | p50 / p99 | CPU per job |")
    print("|---|---:|---:|---:|")
    for name, jobs, latency, cpu, _ in rows:
        print(f"| {name} | {jobs} | {latency} | {cpu} |")
    *_, rate = rows[-1]
    print(f"\nTarget with {CLIENTS[-1]} clients: ≥ {TARGET_PER_S:,}/s")
    if rate < TARGET_PER_S:
        sys.exit("the target was missed")


if __name__ == "__main__":
    main()
