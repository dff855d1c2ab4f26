"""The two ends of an HTTP measurement, as thin as they come: a fixed upstream, and a load.

Both are asyncio protocols that look for a few bytes and build no objects, so that what is measured
is what stands between them.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass

FRAMES = 20
_DOCUMENT = (
    b'{"object":"chat.completion","choices":[{"message":{"content":"' + b"x" * 200 + b'"}}]}'
)
_FRAME = b'data: {"choices":[{"delta":{"content":"token"}}]}\n\n'

PLAIN = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
    + str(len(_DOCUMENT)).encode()
    + b"\r\n\r\n"
    + _DOCUMENT
)
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
CHUNK = f"{len(_FRAME):x}\r\n".encode() + _FRAME + b"\r\n"
LAST_CHUNK = b"0\r\n\r\n"
BODY = (
    b'{"model":"m","messages":[{"role":"system","content":"be brief"},'
    b'{"role":"user","content":"' + b"word " * 40 + b'"}],"max_tokens":64,"temperature":0.7}'
)
BODIES = {"plain": BODY, "stream": BODY[:-1] + b',"stream":true}'}


class Upstream(asyncio.Protocol):
    """Answers every request at once: a document, or `FRAMES` frames, each its own write."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < _content_length(head):
            return
        self._received = b""
        if b'"stream":true' not in body:
            self._transport.write(PLAIN)
            return
        self._transport.write(STREAM_HEAD)
        for _ in range(FRAMES):
            self._transport.write(CHUNK)
        self._transport.write(LAST_CHUNK)


@dataclass(frozen=True, slots=True)
class Timing:
    """What a load run saw. Times are seconds."""

    requests_per_s: float
    p50_s: float
    p99_s: float

    @classmethod
    def of(cls, latencies: list[float], wall_s: float) -> Timing:
        cuts = statistics.quantiles(latencies, n=100)
        return cls(len(latencies) / wall_s, cuts[49], cuts[98])


async def load(port: int, *, path: str, body: bytes, connections: int, seconds: float) -> Timing:
    """Keep `connections` busy for `seconds`, after a warm-up of a fifth of that."""
    loop = asyncio.get_running_loop()
    callers = [
        (await loop.create_connection(lambda: _Caller(path, body), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    await _drive(callers, seconds / 5)
    for caller in callers:
        caller.latencies.clear()
    began = time.perf_counter()
    await _drive(callers, seconds)
    wall_s = time.perf_counter() - began
    for caller in callers:
        caller.close()
    return Timing.of([one for caller in callers for one in caller.latencies], wall_s)


async def _drive(callers: list[_Caller], seconds: float) -> None:
    until = time.perf_counter() + seconds
    await asyncio.gather(*(caller.call_until(until) for caller in callers))


class _Caller(asyncio.Protocol):
    def __init__(self, path: str, body: bytes) -> None:
        head = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        self._request = head.encode() + body
        self._received = b""
        self.latencies: list[float] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if _is_whole(self._received) and not self._answered.done():
            self._answered.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._answered.done():
            self._answered.set_exception(error or ConnectionError("closed in the middle"))

    async def call_until(self, until: float) -> None:
        loop = asyncio.get_running_loop()
        while time.perf_counter() < until:
            self._received = b""
            self._answered = loop.create_future()
            began = time.perf_counter()
            self._transport.write(self._request)
            await self._answered
            self.latencies.append(time.perf_counter() - began)

    def close(self) -> None:
        self._transport.close()


def _is_whole(received: bytes) -> bool:
    if received.endswith(b"\r\n" + LAST_CHUNK):  # with what ends the chunk before it
        return True
    head, found, body = received.partition(b"\r\n\r\n")
    lowered = head.lower()
    if not found or b"chunked" in lowered:
        return False
    assert b" 20" in head[:12], head
    return len(body) >= _content_length(head)


def _content_length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"content-length:")
    return int(rest.split(b"\r\n", 1)[0] or 0)
