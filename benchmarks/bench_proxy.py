"""What does Stoker add between a client and its engine?

    python benchmarks/bench_proxy.py            # all of it, about two minutes
    python benchmarks/bench_proxy.py --quick    # a tenth of the size, to see that it runs

A real `stoker serve` process in front of a scripted engine that answers at once: what is measured
is Stoker alone, from the client's socket to the client's socket. Straight and through Stoker take
turns within one run, call by call or half second by half second, so that the machine's moods hit
all; so does a bare proxy on the same libraries, which is what any proxy in Python costs. One table
each for whole answers, for streams, and for many paced streams.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parent))
from served import CHAT, Served, bare_proxy, engine, stoker

FRAMES = 20
PACED_FRAMES = 60
GAP_MS = 50
STALL_MS = 200
"""A gap between two chunks of one stream that a reader sees as a hitch; four times the engine's."""
PAIRS = 2_000
SLICES = 8
SLICE_S = 1.0
STREAMS = (16, 64, 256)
ADDED = ("added p50", "added p99")
PATHS = ("/v1/p1", CHAT)

_MESSAGES = (
    b'"model":"m","messages":[{"role":"system","content":"be brief"},'
    b'{"role":"user","content":"' + b"word " * 40 + b'"}],"temperature":0.7'
)
PLAIN = b"{%b}" % _MESSAGES
STREAM = b'{%b,"stream":true,"max_tokens":%d}' % (_MESSAGES, FRAMES)
PACED = b'{%b,"stream":true,"max_tokens":%d,"gap_ms":%d}' % (_MESSAGES, PACED_FRAMES, GAP_MS)


# ---------------------------------------------------------------------------- the client


@dataclass(slots=True)
class Seen:
    """What clients saw. Times are milliseconds."""

    totals: list[float] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)
    """From the request to the first frame of a stream."""
    delays: list[float] = field(default_factory=list)
    """From the engine's write of a frame to its arrival."""
    worst_gaps: list[float] = field(default_factory=list)
    """The longest silence within each stream."""


class Caller(asyncio.Protocol):
    """One keep-alive connection that makes a call at a time and notes what it sees."""

    def __init__(self, path: str, body: bytes, seen: Seen) -> None:
        head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(body)}\r\n\r\n"
        self._request = head.encode() + body
        self._seen = seen
        self._tail = b""
        self._whole_bytes = self._bytes = 0
        self._first_at: float | None = None
        self._last_at = self._worst_gap = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    async def call(self) -> None:
        self._answered = asyncio.get_running_loop().create_future()
        self._bytes = self._whole_bytes = 0
        self._tail, self._first_at, self._worst_gap = b"", None, 0.0
        began = time.perf_counter()
        self._transport.write(self._request)
        await self._answered
        self._seen.totals.append((time.perf_counter() - began) * 1000)
        if self._first_at is not None:
            self._seen.firsts.append((self._first_at - began) * 1000)
            self._seen.worst_gaps.append(self._worst_gap * 1000)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if self._bytes == 0:
            assert data[9:11] == b"20", data
            head, _, _ = data.partition(b"\r\n\r\n")
            length = _LENGTH.search(head)
            self._whole_bytes = len(head) + 4 + int(length[1]) if length else 0
        self._bytes += len(data)
        if self._whole_bytes == 0:
            self._note_frames(data, now)
        self._tail = (self._tail + data)[-7:]
        is_whole = self._bytes >= self._whole_bytes if self._whole_bytes else self._tail == _LAST
        if is_whole:
            self._answered.set_result(None)

    def _note_frames(self, data: bytes, now: float) -> None:
        sent = _SENT.findall(data)
        if not sent:
            return
        self._seen.delays.extend((now - float(at)) * 1000 for at in sent)
        if self._first_at is None:
            self._first_at = now
        else:
            self._worst_gap = max(self._worst_gap, now - self._last_at)
        self._last_at = now

    def connection_lost(self, error: Exception | None) -> None:
        if not self._answered.done():
            self._answered.set_exception(error or ConnectionError("closed in mid-answer"))

    def close(self) -> None:
        self._transport.close()


_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_SENT = re.compile(rb'"sent":([\d.]+)\}')
_LAST = b"\r\n0\r\n\r\n"


class Arm:
    """One way to the engine, with a number of connections to it."""

    def __init__(self, name: str, served: Served, path: str, body: bytes, count: int) -> None:
        self.name, self.served, self.seen = name, served, Seen()
        self._make = lambda: Caller(path, body, self.seen)
        self._count = count
        self._callers: list[Caller] = []
        self.busy_s = self.cpu_s = 0.0

    async def __aenter__(self) -> Arm:
        loop = asyncio.get_running_loop()
        for _ in range(self._count):
            _, caller = await loop.create_connection(self._make, "127.0.0.1", self.served.port)
            self._callers.append(caller)
        await asyncio.gather(*(caller.call() for caller in self._callers))  # pools are warm now
        for seen in (self.seen.totals, self.seen.firsts, self.seen.delays, self.seen.worst_gaps):
            seen.clear()
        return self

    async def __aexit__(self, *_: object) -> None:
        for caller in self._callers:
            caller.close()

    async def once(self) -> None:
        """Every connection makes one call."""
        await self._timed(lambda caller: caller.call())

    async def keep_busy(self, seconds: float) -> None:
        """Every connection calls again and again."""
        until = time.perf_counter() + seconds

        async def repeat(caller: Caller) -> None:
            while time.perf_counter() < until:
                await caller.call()

        await self._timed(repeat)

    async def _timed(self, act: Callable[[Caller], Awaitable[None]]) -> None:
        began, cpu = time.perf_counter(), self.served.cpu_s
        await asyncio.gather(*(act(caller) for caller in self._callers))
        self.busy_s += time.perf_counter() - began
        self.cpu_s += self.served.cpu_s - cpu

    @property
    def pace(self) -> list[str]:
        """Calls per second, and CPU time of the served process per call in µs."""
        return [f"{len(self.seen.totals) / self.busy_s:,.0f}", f"{self.cpu_us:.0f}"]

    @property
    def cpu_us(self) -> float:
        return self.cpu_s / len(self.seen.totals) * 1e6


# ---------------------------------------------------------------------------- what is measured


async def whole_answers(ways: list[tuple[str, Served, str]], scale: int) -> Iterator[list[str]]:
    rows = []
    for connections in (1, 32):
        arms = await measured(ways, PLAIN, connections, scale)
        for arm in arms:
            p50, p99 = added(arm.seen.totals, arms[0].seen.totals)
            cells = [arm.name, str(connections), *quantiles(arm.seen.totals), p50, p99]
            rows.append([*cells, *arm.pace])
    return iter(rows)


async def streams(ways: list[tuple[str, Served, str]], scale: int) -> Iterator[list[str]]:
    rows = []
    for connections in (1, 32):
        arms = await measured(ways, STREAM, connections, scale)
        for arm in arms:
            p50, p99 = added(arm.seen.firsts, arms[0].seen.firsts)
            cells = [arm.name, str(connections), *quantiles(arm.seen.firsts), p50, p99]
            rows.append([*cells, *quantiles(arm.seen.totals), *arm.pace])
    return iter(rows)


async def paced_streams(ways: list[tuple[str, Served, str]], scale: int) -> Iterator[list[str]]:
    rows = []
    for count in STREAMS:
        arms = [Arm(name, served, path, PACED, count) for name, served, path in ways]
        for arm in arms:  # not both at once: the point is how many one carries
            async with arm:
                for _ in range(max(1, 3 // scale)):
                    await arm.once()
            straight, seen = arms[0].seen.delays, arm.seen
            smooth = sum(gap <= STALL_MS for gap in seen.worst_gaps)
            cells = [arm.name, str(count), *quantiles(seen.delays), *added(seen.delays, straight)]
            first_p99, cpu = quantiles(seen.firsts)[1], f"{arm.cpu_us / PACED_FRAMES:.0f}"
            rows.append([*cells, first_p99, f"{smooth} of {len(seen.worst_gaps)}", cpu])
    return iter(rows)


async def measured(
    ways: list[tuple[str, Served, str]], body: bytes, connections: int, scale: int
) -> list[Arm]:
    """All ways in turn: call by call where there is one connection, slice by slice where many."""
    arms = [Arm(name, served, path, body, connections) for name, served, path in ways]
    for arm in arms:
        await arm.__aenter__()
    for _ in range(PAIRS // scale if connections == 1 else max(2, SLICES // scale)):
        for arm in arms:
            await (arm.once() if connections == 1 else arm.keep_busy(SLICE_S))
    for arm in arms:
        await arm.__aexit__()
    return arms


def quantiles(values: list[float]) -> list[str]:
    return [f"{p50_p99(values)[0]:.2f}", f"{p50_p99(values)[1]:.2f}"]


def added(values: list[float], straight: list[float]) -> list[str]:
    if values is straight:
        return ["–", "–"]
    pairs = zip(p50_p99(values), p50_p99(straight), strict=True)
    return [f"{with_us - without:+.2f}" for with_us, without in pairs]


def p50_p99(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return statistics.median(ordered), ordered[len(ordered) * 99 // 100]


# ---------------------------------------------------------------------------- output


def table(title: str, columns: list[str], rows: Iterator[list[str]]) -> None:
    print(f"\n### {title}\n")
    for row in (columns, ["---"] + ["---:"] * (len(columns) - 1)):
        print("| " + " | ".join(row) + " |")
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    scale = 10 if parser.parse_args().quick else 1
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()}")
    with (
        engine() as straight,
        bare_proxy(straight.port) as bare,
        stoker(straight.port, slots=400) as through,
    ):
        ways = [("engine alone", straight, CHAT), ("bare proxy", bare, CHAT)]
        ways += [(f"Stoker, {path}", through, path) for path in PATHS]
        pace = ["calls/s", "CPU µs/call"]
        table(
            "Whole answers (ms)",
            ["through", "at once", "p50", "p99", *ADDED, *pace],
            uvloop.run(whole_answers(ways, scale)),
        )
        table(
            f"Streams of {FRAMES} frames, all at once (ms)",
            ["through", "at once", "TTFT p50", "p99", *ADDED, "whole p50", "p99", *pace],
            uvloop.run(streams(ways, scale)),
        )
        smooth = f"without a gap > {STALL_MS} ms"
        table(
            f"Streams of a frame each {GAP_MS} ms (delay per frame, ms)",
            ["through", "streams", "p50", "p99", *ADDED, "TTFT p99", smooth, "CPU µs/frame"],
            uvloop.run(paced_streams(ways[:3], scale)),
        )
        print(f"\nStoker's resident size after all this: {through.rss_mb:.0f} MB")


if __name__ == "__main__":
    main()
