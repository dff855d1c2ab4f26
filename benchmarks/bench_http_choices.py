"""Which ASGI server, which HTTP client, which JSON library? Prints one markdown table for each.

    python benchmarks/bench_http_choices.py

Everything runs on loopback: the load in this process, the server under test (one worker, one loop)
or the fixed upstream in another. ADR 0005 has the numbers and the choice.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import json
import socket
import subprocess
import sys
import time
import timeit
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import msgspec
import uvloop

from stoker.api.asgi import Receive, Scope, Send

sys.path.insert(0, str(Path(__file__).parent))
from raw_http import BODIES, FRAMES, Timing, Upstream, load

HERE = Path(__file__).parent
SERVERS = {
    "uvicorn (uvloop, httptools)": [
        "-m", "uvicorn", "bench_http_choices:application", "--loop", "uvloop",
        "--http", "httptools", "--no-access-log", "--log-level", "warning", "--port",
    ],
    "uvicorn (asyncio, h11)": [
        "-m", "uvicorn", "bench_http_choices:application", "--loop", "asyncio",
        "--http", "h11", "--no-access-log", "--log-level", "warning", "--port",
    ],
    "granian (uvloop)": [
        "-m", "granian", "bench_http_choices:application", "--interface", "asgi",
        "--loop", "uvloop", "--http", "1", "--no-ws", "--no-log", "--workers", "1", "--port",
    ],
}  # fmt: skip


# ---------------------------------------------------------------------------- the application


class _Application:
    """What a server has to carry: a body in, a document or frames out, and hang-ups noticed."""

    def __init__(self) -> None:
        self.hung_up = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = (await receive())["body"]
        if scope["path"] == "/hang":
            await self._hang(receive, send, is_streaming=b"true" in body)
        elif scope["path"] == "/hung":
            await _answer(send, str(self.hung_up).encode())
        elif b'"stream":true' in body:
            await _stream(send)
        else:
            await _answer(send, b"x" * 280)

    async def _hang(self, receive: Receive, send: Send, *, is_streaming: bool) -> None:
        """Say nothing more, and count a client that leaves."""
        if is_streaming:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"data: x\n\n", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        self.hung_up += 1


application = _Application()


async def _answer(send: Send, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _stream(send: Send) -> None:
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    frame = {"type": "http.response.body", "body": b"data: token\n\n", "more_body": True}
    for _ in range(FRAMES):
        await send(frame)
    await send({"type": "http.response.body", "body": b""})


# ---------------------------------------------------------------------------- servers


def measure_servers(seconds: float) -> Iterator[list[str]]:
    for name, arguments in SERVERS.items():
        with _served(arguments) as port:
            for kind, body in BODIES.items():
                for connections in (1, 32):
                    timing = uvloop.run(
                        load(port, path="/", body=body, connections=connections, seconds=seconds)
                    )
                    yield [name, kind, str(connections), *_cells(timing)]


def measure_disconnects() -> Iterator[list[str]]:
    for name, arguments in SERVERS.items():
        with _served(arguments) as port:
            for kind, is_streaming in (("before the first byte", False), ("in a stream", True)):
                yield [name, kind, asyncio.run(_hang_up(port, is_streaming=is_streaming))]


async def _hang_up(port: int, *, is_streaming: bool) -> str:
    """How long after a client's close the application knows, at most."""
    before, times = await _count(port), []
    for number in range(20):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        body = b"true" if is_streaming else b"false"
        writer.write(b"POST /hang HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body))
        writer.write(body)
        await asyncio.sleep(0.02)
        writer.close()
        await writer.wait_closed()
        began = time.perf_counter()
        while await _count(port) <= before + number:
            if time.perf_counter() - began > 2.0:
                return f"not seen within 2 s (attempt {number + 1})"
        times.append(time.perf_counter() - began)
    return f"20 of 20, slowest {max(times) * 1000:.1f} ms"


async def _count(port: int) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /hung HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    count = int(await reader.readexactly(length))
    writer.close()
    await writer.wait_closed()
    return count


@contextlib.contextmanager
def _served(arguments: list[str]) -> Iterator[int]:
    port = _free_port()
    process = subprocess.Popen(
        [sys.executable, *arguments, str(port)], cwd=HERE, stdout=subprocess.DEVNULL
    )
    try:
        _wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _wait_for(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on {port}")


# ---------------------------------------------------------------------------- clients


@contextlib.asynccontextmanager
async def _aiohttp(port: int) -> AsyncIterator[Callable[[bytes], Any]]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def call(body: bytes) -> None:
            async with session.post(f"http://127.0.0.1:{port}/", data=body) as response:
                async for _ in response.content.iter_any():
                    pass

        yield call


@contextlib.asynccontextmanager
async def _httpx(port: int) -> AsyncIterator[Callable[[bytes], Any]]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=30, trust_env=False) as client:

        async def call(body: bytes) -> None:
            url = f"http://127.0.0.1:{port}/"
            async with client.stream("POST", url, content=body) as response:
                async for _ in response.aiter_raw():
                    pass

        yield call


Opened = Callable[[int], contextlib.AbstractAsyncContextManager[Callable[[bytes], Any]]]
CLIENTS: dict[str, Opened] = {"aiohttp": _aiohttp, "httpx": _httpx}


def measure_clients(seconds: float) -> Iterator[list[str]]:
    with _served([str(Path(__file__)), "--upstream"]) as port:
        for name, opened in CLIENTS.items():
            for kind, body in BODIES.items():
                for calls in (1, 32):
                    timing = uvloop.run(_drive(opened, port, body, calls, seconds))
                    yield [name, kind, str(calls), *_cells(timing)]


async def _drive(opened: Opened, port: int, body: bytes, calls: int, seconds: float) -> Timing:
    latencies: list[float] = []
    async with opened(port) as call:

        async def repeat(until: float) -> None:
            while time.perf_counter() < until:
                began = time.perf_counter()
                await call(body)
                latencies.append(time.perf_counter() - began)

        for length in (seconds / 5, seconds):
            latencies.clear()
            began = time.perf_counter()
            await asyncio.gather(*(repeat(began + length) for _ in range(calls)))
            wall_s = time.perf_counter() - began
    return Timing.of(latencies, wall_s)


async def _serve_upstream(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upstream, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


# ---------------------------------------------------------------------------- JSON


def measure_json() -> Iterator[list[str]]:
    turn = {"role": "user", "content": "hello " * 20}
    large = json.dumps({"model": "m", "messages": [turn] * 1000, "max_tokens": 64}).encode()
    for name, decode in _decoders().items():
        yield [name, _per_call(decode, BODIES["plain"]), _per_call(decode, large)]


def _decoders() -> dict[str, Callable[[bytes], object]]:
    class Fields(msgspec.Struct):
        model: str | None = None
        messages: msgspec.Raw = msgspec.Raw()
        max_tokens: int | None = None
        stream: bool | None = None

    found: dict[str, Callable[[bytes], object]] = {
        "msgspec, named fields, the rest raw": msgspec.json.Decoder(Fields).decode,
        "msgspec, top level to raw": msgspec.json.Decoder(dict[str, msgspec.Raw]).decode,
        "msgspec, everything": msgspec.json.decode,
        "json (standard library)": json.loads,
    }
    with contextlib.suppress(ImportError):
        found["orjson, everything"] = importlib.import_module("orjson").loads
    return found


def _per_call(decode: Callable[[bytes], object], body: bytes) -> str:
    count = max(20, 4_000_000 // len(body))
    best = min(timeit.repeat(lambda: decode(body), number=count, repeat=5)) / count
    return f"{best * 1e6:.1f}"


# ---------------------------------------------------------------------------- output


def _cells(timing: Timing) -> list[str]:
    return [
        f"{timing.requests_per_s:,.0f}",
        f"{timing.p50_s * 1000:.2f}",
        f"{timing.p99_s * 1000:.2f}",
    ]


def _table(title: str, columns: list[str], rows: Iterator[list[str]]) -> None:
    print(f"\n### {title}\n")
    for row in (columns, ["---"] * len(columns)):
        print("| " + " | ".join(row) + " |")
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="per measurement")
    parser.add_argument("--upstream", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.upstream is not None:
        uvloop.run(_serve_upstream(arguments.upstream))
        return
    timing = ["requests/s", "p50 ms", "p99 ms"]
    _table(
        f"ASGI servers (plain: 280 bytes; stream: {FRAMES} frames)",
        ["server", "answer", "connections", *timing],
        measure_servers(arguments.seconds),
    )
    _table("Hang-ups seen by the application", ["server", "when", "seen"], measure_disconnects())
    _table(
        f"HTTP clients (plain, and {FRAMES} frames)",
        ["client", "answer", "calls at once", *timing],
        measure_clients(arguments.seconds),
    )
    _table("Reading a body", ["library", "300 bytes, µs", "150 kB, µs"], measure_json())


if __name__ == "__main__":
    main()
