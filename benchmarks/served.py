"""The processes that an HTTP measurement needs: a scripted engine that costs next to nothing, and a
real `stoker serve` in front of it (or of nobody).

    python benchmarks/served.py        # the engine alone; prints its port

And the least that a proxy on the same libraries can be, to compare with.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import aiohttp
import psutil
import uvicorn
import uvloop

from stoker.api.asgi import Receive, Scope, Send

CHAT = "/v1/chat/completions"
FRAMES = 20
"""Of a stream, unless a body says something else."""
_DOCUMENT = (
    b'{"id":"c-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"'
    + b"x"
    * 200
    + b'"},"finish_reason":"stop"}],"usage":{"prompt_tokens":50,'
    b'"completion_tokens":50,"total_tokens":100}}'
)
_PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(_DOCUMENT),
    _DOCUMENT,
)
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
_FRAME = (
    b'data: {"id":"c-1","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"t=%.6f"}}]}\n\n'
)
_END = (
    b'data: {"id":"c-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[],'
    b'"usage":{"prompt_tokens":50,"completion_tokens":50,"total_tokens":100}}\n\n'
)
_DONE = b"data: [DONE]\n\n"
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_FRAMES = re.compile(rb'"max_tokens": ?(\d+)')
_GAP = re.compile(rb"gap_ms=(\d+)")
_STREAM = re.compile(rb'"stream": ?true')


class ScriptedEngine(asyncio.Protocol):
    """Answers at once: a document, or `max_tokens` frames with a gap between them.

    Each frame says when it was sent (the monotonic clock, which processes share; as its text, which
    every gateway passes on), is a write of its own, and the stream ends as vLLM's does: a frame of
    usage, then `[DONE]`.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not found or (length is not None and len(body) < int(length[1])):
            return
        self._received = b""
        if _STREAM.search(body) is None:
            self._transport.write(_PLAIN)
            return
        frames, gap = _FRAMES.search(body), _GAP.search(body)
        self._transport.write(_STREAM_HEAD)
        self._next(int(frames[1]) if frames else FRAMES, int(gap[1]) / 1000 if gap else 0.0)

    def _next(self, left: int, gap_s: float) -> None:
        while left > 0 and not self._transport.is_closing():
            self._chunk(_FRAME % time.perf_counter())
            left -= 1
            if gap_s:
                asyncio.get_running_loop().call_later(gap_s, self._next, left, gap_s)
                return
        self._chunk(_END)
        self._chunk(_DONE)
        self._transport.write(b"0\r\n\r\n")

    def _chunk(self, frame: bytes) -> None:
        self._transport.write(b"%x\r\n%b\r\n" % (len(frame), frame))


@dataclass(frozen=True)
class Served:
    """A process that listens on `port`."""

    port: int
    process: psutil.Process

    @property
    def cpu_s(self) -> float:
        """CPU time that it has used: the figure that neighbours on the machine cannot spoil."""
        return sum(t.user + t.system for t in (p.cpu_times() for p in self._processes))

    @property
    def rss_mb(self) -> float:
        return sum(process.memory_info().rss for process in self._processes) / 1e6

    @cached_property
    def _processes(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]


@contextlib.contextmanager
def engine() -> Iterator[Served]:
    """The scripted engine, in a process of its own."""
    with _process([__file__]) as (process, line):
        yield Served(int(line), process)


@contextlib.contextmanager
def bare_proxy(engine_port: int) -> Iterator[Served]:
    """The least that a proxy on the same libraries can do: no queue, nothing known or counted."""
    with _process([__file__, "--proxy-to", str(engine_port)]) as (process, line):
        yield Served(int(line), process)


@contextlib.contextmanager
def stoker(
    engine_port: int, *, slots: int, is_ready_awaited: bool = True, wheel: Path | None = None
) -> Iterator[Served]:
    """`stoker serve` with a fresh data folder, in front of the engine on that port: from the
    sources, or from a wheel that somebody unpacked there.
    """
    with tempfile.TemporaryDirectory(prefix="stoker-bench-") as folder:
        config = Path(folder) / "stoker.toml"
        config.write_text(f"[engine]\nrequests = {slots}\n", encoding="utf-8")
        url = f"http://127.0.0.1:{engine_port}"
        command = ["-m", "stoker", "serve", "--engine", url, "--kind", "openai"]
        options = ["--port", "0", "--data", folder, "--config", str(config)]
        with _process([*command, *options], path=wheel) as (process, line):
            served = Served(int(line.rpartition(":")[2]), process)
            if is_ready_awaited:
                _wait_ready(served.port)
            yield served


@contextlib.contextmanager
def _process(
    arguments: list[str], *, path: Path | None = None
) -> Iterator[tuple[psutil.Process, str]]:
    environment = {**os.environ, "PYTHONPATH": str(path)} if path else None
    with subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        try:
            yield psutil.Process(process.pid), process.stdout.readline().strip()
        finally:
            process.terminate()


def _wait_ready(port: int) -> None:
    for _ in range(100):
        with (
            contextlib.suppress(urllib.error.URLError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz"),
        ):
            return
        time.sleep(0.1)
    raise SystemExit("Stoker does not become ready")


# ---------------------------------------------------------------------------- in their processes


class _BareProxy:
    """An ASGI application that passes bodies on, and pieces back as they come."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        async with self._session.post(self._url + CHAT, data=body) as response:
            headers = [(b"content-type", response.headers["content-type"].encode())]
            if "content-length" in response.headers:
                headers.append((b"content-length", response.headers["content-length"].encode()))
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async for piece in response.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _serve_proxy(engine_port: int) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        proxy = _BareProxy(f"http://127.0.0.1:{engine_port}", session)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            print(listener.getsockname()[1], flush=True)
            config = uvicorn.Config(
                proxy,
                http="httptools",
                lifespan="off",
                log_config=None,
                access_log=False,
                timeout_keep_alive=75,
            )
            await uvicorn.Server(config).serve(sockets=[listener])


async def _serve_engine() -> None:
    server = await asyncio.get_running_loop().create_server(ScriptedEngine, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proxy-to", type=int, help="be the bare proxy before the engine there")
    port = parser.parse_args().proxy_to
    uvloop.run(_serve_engine() if port is None else _serve_proxy(port))
