"""What does Stoker add between a client and its engine, and what do other gateways add?

    just peers-setup && python benchmarks/bench_overhead.py    # all of it, about ten minutes
    python benchmarks/bench_overhead.py --quick                # a tenth of the size
    python benchmarks/bench_overhead.py --only stoker,sglang-router
    just wheel && python benchmarks/bench_overhead.py --wheel dist/*.whl   # beside the compiled one

A real `stoker serve` process, with everything that it does to a call (admission, prediction,
accounting, event log, disconnect watch), in front of a scripted engine that answers at once: what
is measured is the gateway alone, from the client's socket to the client's socket. All ways take
turns within one run, every 20 calls or every second, so that the machine's moods hit all. Without
the peers' venv, the peers are left out. Ends with a table of the targets, and with exit code 1 when
one is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parent))
import peers
from callers import PLAIN, STREAM, Arm, p50_p99, paced
from served import CHAT, FRAMES, Served, bare_proxy, engine, stoker

PACED_FRAMES = 40
GAP_MS = 50
STALL_MS = 200
"""A gap between two chunks of one stream that a reader sees as a hitch; four times the engine's."""
PACED_LIMIT_S = 20.0
"""For streams that take 2 s by themselves; then they are given up."""
CALLS_A_TURN = 20
ALONE, BARE, STOKER, COMPILED, SGLANG, VLLM, LITELLM = (
    "engine alone",
    "bare ASGI proxy",
    "stoker",
    "stoker, compiled",
    "sglang-router",
    "vllm-router",
    "litellm",
)
ADDED = ("added p50", "added p99")


@dataclass(slots=True)
class Results:
    """What the targets are judged by: the figures of each way, by name."""

    added_ms: dict[str, tuple[float, float]] = field(default_factory=dict)
    calls_per_s: dict[str, float] = field(default_factory=dict)
    ttft_added_ms: dict[str, float] = field(default_factory=dict)
    chunk_added_ms: dict[str, float] = field(default_factory=dict)
    smooth: dict[str, tuple[int, int]] = field(default_factory=dict)
    rss_mb: dict[str, float] = field(default_factory=dict)

    @property
    def judged(self) -> str:
        """Which of ours is held against the targets: the compiled one, if it ran."""
        return COMPILED if COMPILED in self.added_ms else STOKER


class Bench:
    def __init__(self, ways: dict[str, Served], scale: int) -> None:
        self._ways = ways
        self._scale = scale
        self.results = Results()

    async def one_by_one(self) -> Iterator[list[str]]:
        arms = await self._measured(PLAIN, 1, rounds=100)
        for arm in arms:
            p50, p99 = _added(arm.seen.totals, arms[0].seen.totals)
            self.results.added_ms[arm.name] = p50, p99
        return iter([[*_latency(arm, arms[0]), f"{arm.cpu_us:.0f}"] for arm in arms])

    async def many_at_once(self) -> Iterator[list[str]]:
        arms = await self._measured(PLAIN, 32, rounds=10)
        rows = []
        for arm in arms:
            self.results.calls_per_s[arm.name] = arm.pace
            low, high = min(arm.calls_per_s), max(arm.calls_per_s)
            pace = [f"{arm.pace:,.0f}", f"{low:,.0f} to {high:,.0f}"]
            rows.append([arm.name, *pace, *_quantiles(arm.seen.totals), f"{arm.cpu_us:.0f}"])
        return iter(rows)

    async def streams(self) -> Iterator[list[str]]:
        arms = await self._measured(STREAM, 16, rounds=10)
        rows = []
        for arm in arms:
            p50, p99 = _added(arm.seen.firsts, arms[0].seen.firsts)
            self.results.ttft_added_ms[arm.name] = p50
            cells = [arm.name, *_quantiles(arm.seen.firsts), *_signed(arm, arms[0], p50, p99)]
            rows.append([*cells, f"{arm.pace:,.0f}", f"{arm.cpu_us:.0f}"])
        return iter(rows)

    async def paced_streams(self, count: int) -> Iterator[list[str]]:
        body = paced(PACED_FRAMES, GAP_MS)
        arms = [Arm(name, served, CHAT, body, count) for name, served in self._ways.items()]
        for _ in range(max(1, 3 // self._scale)):
            for arm in arms:
                async with arm:
                    await arm.once(PACED_LIMIT_S)
        return iter([self._paced_row(arm, arms[0], count) for arm in arms])

    def _paced_row(self, arm: Arm, alone: Arm, count: int) -> list[str]:
        seen = arm.seen
        smooth = sum(gap <= STALL_MS for gap in seen.worst_gaps)
        total = len(seen.worst_gaps) + arm.unfinished
        if count == 256:
            self.results.smooth[arm.name] = smooth, total
        if not seen.totals:
            return [arm.name, *["–"] * 5, f"0 of {total}", "–"]
        p50, p99 = _added(seen.delays, alone.seen.delays)
        if count == 16:
            self.results.chunk_added_ms[arm.name] = p50
        cells = [arm.name, *_quantiles(seen.delays), *_signed(arm, alone, p50, p99)]
        cpu = arm.cpu_us / PACED_FRAMES
        return [*cells, f"{p50_p99(seen.firsts)[0]:.1f}", f"{smooth} of {total}", f"{cpu:.0f}"]

    def sizes(self) -> Iterator[list[str]]:
        for name, served in self._ways.items():
            self.results.rss_mb[name] = served.rss_mb
            yield [name, f"{served.rss_mb:.0f}"]

    async def _measured(self, body: bytes, connections: int, *, rounds: int) -> list[Arm]:
        """All ways in turn: some calls with one connection, a second with many."""
        arms = [Arm(name, served, CHAT, body, connections) for name, served in self._ways.items()]
        async with contextlib.AsyncExitStack() as stack:
            for arm in arms:
                await stack.enter_async_context(arm)
                await arm.warm_up()
            for _ in range(max(2, rounds // self._scale)):
                for arm in arms:
                    await (_some_calls(arm) if connections == 1 else arm.keep_busy(1.0))
        return arms


async def _some_calls(arm: Arm) -> None:
    for _ in range(CALLS_A_TURN):
        await arm.once()


# ---------------------------------------------------------------------------- targets


def targets(results: Results) -> Iterator[list[str]]:
    """Each target with what was measured; the last cell says whether it is met."""
    p50, p99 = results.added_ms[results.judged]
    yield _target("added at c=1, p50", "≤ 0.6 ms", f"{p50:.2f} ms", is_met=p50 <= 0.6)
    yield _target("added at c=1, p99", "≤ 2 ms", f"{p99:.2f} ms", is_met=p99 <= 2)
    smooth, total = results.smooth[results.judged]
    told = f"{smooth} of {total}"
    yield _target("256 streams without a stall", "all", told, is_met=smooth == total)
    routers = [name for name in (SGLANG, VLLM) if name in results.calls_per_s]
    if routers:
        best = max(results.calls_per_s[name] for name in routers)
        ours = results.calls_per_s[results.judged]
        told = f"{ours:,.0f} against {best:,.0f}"
        yield _target("calls/s at c=32", "≥ the faster Rust router", told, is_met=ours >= best)
        first = min(results.ttft_added_ms[name] for name in routers)
        ours = results.ttft_added_ms[results.judged]
        told = f"{ours:.1f} ms against {first:.1f} ms"
        yield _target("TTFT p50 added, 16 streams", "≤ 2 × it", told, is_met=ours <= 2 * first)
    if LITELLM in results.calls_per_s:
        for what, ratio in _against_litellm(results):
            yield _target(
                f"{what}, against LiteLLM", "≥ 10 ×", f"{ratio:.0f} ×", is_met=ratio >= 10
            )


def _against_litellm(results: Results) -> Iterator[tuple[str, float]]:
    for what, index in (("added p50", 0), ("added p99", 1)):
        ours = max(0.01, results.added_ms[results.judged][index])
        yield what, results.added_ms[LITELLM][index] / ours
    yield "calls/s at c=32", results.calls_per_s[results.judged] / results.calls_per_s[LITELLM]
    for what, figures in (
        ("TTFT p50 added", results.ttft_added_ms),
        ("chunk delay p50 added", results.chunk_added_ms),
    ):
        if LITELLM in figures:
            yield what, figures[LITELLM] / max(0.01, figures[results.judged])
    yield "resident size", results.rss_mb[LITELLM] / results.rss_mb[results.judged]


def _target(what: str, wanted: str, measured: str, *, is_met: bool) -> list[str]:
    return [what, wanted, measured, "met" if is_met else "**missed**"]


# ---------------------------------------------------------------------------- cells and output


def _latency(arm: Arm, alone: Arm) -> list[str]:
    p50, p99 = _added(arm.seen.totals, alone.seen.totals)
    return [arm.name, *_quantiles(arm.seen.totals), *_signed(arm, alone, p50, p99)]


def _quantiles(values: list[float]) -> list[str]:
    p50, p99 = p50_p99(values)
    return [f"{p50:.2f}", f"{p99:.2f}"]


def _added(values: list[float], alone: list[float]) -> tuple[float, float]:
    (p50, p99), (alone_p50, alone_p99) = p50_p99(values), p50_p99(alone)
    return p50 - alone_p50, p99 - alone_p99


def _signed(arm: Arm, alone: Arm, p50: float, p99: float) -> list[str]:
    return ["–", "–"] if arm is alone else [f"{p50:+.2f}", f"{p99:+.2f}"]


def table(title: str, columns: list[str], rows: Iterator[list[str]]) -> list[list[str]]:
    print(f"\n### {title}\n")
    for row in (columns, ["---"] + ["---:"] * (len(columns) - 1)):
        print("| " + " | ".join(row) + " |")
    shown = []
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)
        shown.append(row)
    return shown


def run(ways: dict[str, Served], scale: int) -> bool:
    """Print every table; true when no target is missed."""
    bench = Bench(ways, scale)
    cpu = "CPU µs/call"
    table(
        "Whole answers, one at a time (ms)",
        ["through", "p50", "p99", *ADDED, cpu],
        uvloop.run(bench.one_by_one()),
    )
    table(
        "Whole answers, 32 at once",
        ["through", "calls/s", "rounds", "p50 ms", "p99 ms", cpu],
        uvloop.run(bench.many_at_once()),
    )
    table(
        f"16 streams of {FRAMES} frames, all frames at once (TTFT, ms)",
        ["through", "p50", "p99", *ADDED, "streams/s", cpu],
        uvloop.run(bench.streams()),
    )
    for count in (16, 256):
        table(
            f"{count} streams of a frame each {GAP_MS} ms (delay per frame, ms)",
            ["through", "p50", "p99", *ADDED, "TTFT p50", f"no gap > {STALL_MS} ms", "µs/frame"],
            uvloop.run(bench.paced_streams(count)),
        )
    table("Resident size after all this", ["process", "MB"], bench.sizes())
    judged = table(
        f"Targets: {bench.results.judged}",
        ["what", "target", "measured", ""],
        targets(bench.results),
    )
    return all(row[-1] == "met" for row in judged)


PEERS = {SGLANG: peers.sglang_router, VLLM: peers.vllm_router, LITELLM: peers.litellm}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", help="names, with commas, of what to compare with")
    parser.add_argument("--wheel", type=Path, help="a compiled wheel, to run beside the sources")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",") if arguments.only else [BARE, *PEERS]
    if peers.venv() is None:
        print("The peers are not installed (just peers-setup): Stoker and the bare proxy alone.")
        wanted = [BARE]
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()}")
    with contextlib.ExitStack() as stack:
        alone = stack.enter_context(engine())
        ways = {ALONE: alone}
        if BARE in wanted:
            ways[BARE] = stack.enter_context(bare_proxy(alone.port))
        ways[STOKER] = stack.enter_context(stoker(alone.port, slots=400))
        if arguments.wheel is not None:
            unpacked = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            zipfile.ZipFile(arguments.wheel).extractall(unpacked)
            ways[COMPILED] = stack.enter_context(stoker(alone.port, slots=400, wheel=unpacked))
        for name, started in PEERS.items():
            if name in wanted:
                ways[name] = stack.enter_context(started(alone.port))
        is_good = run(ways, 10 if arguments.quick else 1)
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
