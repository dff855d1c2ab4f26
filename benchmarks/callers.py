"""Raw keep-alive connections that make calls and note what a client sees of them: latency, the
first frame of a stream, the delay of every frame, and silences. `Arm` is a number of them to one
address.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from served import CHAT, FRAMES, Served

_MESSAGES = (
    b'"model":"m","messages":[{"role":"system","content":"be brief"},'
    b'{"role":"user","content":"' + b"word " * 40 + b'"}],"temperature":0.7'
)
PLAIN = b"{%b}" % _MESSAGES
STREAM = b'{%b,"stream":true,"max_tokens":%d}' % (_MESSAGES, FRAMES)


def paced(frames: int, gap_ms: int) -> bytes:
    """A body that the scripted engine answers with a frame each `gap_ms`."""
    user = b'"user":"gap_ms=%d"' % gap_ms  # a field that every gateway passes on
    return b'{%b,"stream":true,"max_tokens":%d,%b}' % (_MESSAGES, frames, user)


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

    def clear(self) -> None:
        for values in (self.totals, self.firsts, self.delays, self.worst_gaps):
            values.clear()


class Caller(asyncio.Protocol):
    """One keep-alive connection that makes a call at a time and notes what it sees."""

    def __init__(self, path: str, body: bytes, seen: Seen) -> None:
        head = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer none\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self._request = head.encode() + body
        self._seen = seen
        self._tail = b""
        self._whole_bytes = self._bytes = 0
        self._answered: asyncio.Future[None] | None = None
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
            if data[9:11] != b"20":
                self._answered.set_exception(ConnectionError(data[:500]))
                return
            head, _, _ = data.partition(b"\r\n\r\n")
            length = _LENGTH.search(head)
            self._whole_bytes = len(head) + 4 + int(length[1]) if length else 0
        self._bytes += len(data)
        if self._whole_bytes == 0:
            self._note_frames(data, now)
        self._tail = (self._tail + data)[-7:]
        is_whole = self._bytes >= self._whole_bytes if self._whole_bytes else self._tail == _LAST
        if is_whole and not self._answered.done():
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
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error or ConnectionError("closed in mid-answer"))

    @property
    def is_closed(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self._transport.close()


_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_SENT = re.compile(rb'"t=([\d.]+)"')
_LAST = b"\r\n0\r\n\r\n"


class Arm:
    """One way to the engine, with a number of connections to it."""

    def __init__(
        self, name: str, served: Served, path: str = CHAT, body: bytes = PLAIN, count: int = 1
    ) -> None:
        self.name, self.served, self.seen = name, served, Seen()
        self._make = lambda: Caller(path, body, self.seen)
        self._count = count
        self._callers: list[Caller] = []
        self.busy_s = self.cpu_s = 0.0
        self.calls_per_s: list[float] = []
        """Of each round."""
        self.unfinished = 0
        """Calls that were given up."""

    async def __aenter__(self) -> Arm:
        await self._connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        for caller in self._callers:
            caller.close()
        self._callers.clear()

    async def _connect(self) -> None:
        """As many connections as wanted: some gateways close those that were idle for a while."""
        loop = asyncio.get_running_loop()
        self._callers = [caller for caller in self._callers if not caller.is_closed]
        while len(self._callers) < self._count:
            _, caller = await loop.create_connection(self._make, "127.0.0.1", self.served.port)
            self._callers.append(caller)

    async def warm_up(self) -> None:
        """Every connection makes a call that is not counted: pools are warm then."""
        await asyncio.gather(*(caller.call() for caller in self._callers))
        self.seen.clear()

    async def once(self, limit_s: float = 120.0) -> None:
        """Every connection makes one call; those that take longer than `limit_s` are given up."""

        async def call(caller: Caller) -> None:
            try:
                async with asyncio.timeout(limit_s):
                    await caller.call()
            except TimeoutError:
                self.unfinished += 1

        await self._timed(call)

    async def keep_busy(self, seconds: float) -> None:
        """Every connection calls again and again."""
        until = time.perf_counter() + seconds

        async def repeat(caller: Caller) -> None:
            while time.perf_counter() < until:
                await caller.call()

        await self._timed(repeat)

    async def _timed(self, act: Callable[[Caller], Awaitable[None]]) -> None:
        await self._connect()
        began, cpu, before = time.perf_counter(), self.served.cpu_s, len(self.seen.totals)
        await asyncio.gather(*(act(caller) for caller in self._callers))
        took_s = time.perf_counter() - began
        self.busy_s += took_s
        self.cpu_s += self.served.cpu_s - cpu
        self.calls_per_s.append((len(self.seen.totals) - before) / took_s)

    @property
    def pace(self) -> float:
        """Calls per second: the median of the rounds."""
        return statistics.median(self.calls_per_s)

    @property
    def cpu_us(self) -> float:
        """CPU time of the served process per call."""
        return self.cpu_s / max(1, len(self.seen.totals)) * 1e6


def p50_p99(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return statistics.median(ordered), ordered[len(ordered) * 99 // 100]
