"""What Stoker adds between a client and its engine, and how fast jobs are accepted over HTTP.

    python benchmarks/bench_http.py

A real `stoker serve` process with its SQLite store, in front of a fixed upstream that answers at
once: what is measured is Stoker alone. The load is raw keep-alive connections on loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parent))
from raw_http import BODIES, FRAMES, Timing, Upstream, load

CHAT = "/v1/chat/completions"
ENQUEUERS = 32


def measure_proxy(seconds: float) -> Iterator[list[str]]:
    with _upstream() as engine, _stoker(engine, slots=64) as stoker:
        for kind, body in BODIES.items():
            for connections in (1, 32):
                straight = _load(engine, CHAT, body, connections, seconds)
                through = _load(stoker, "/v1/p1", body, connections, seconds)
                yield [
                    kind,
                    str(connections),
                    f"{straight.p50_s * 1000:.2f}",
                    f"{through.p50_s * 1000:.2f}",
                    f"{(through.p50_s - straight.p50_s) * 1000:.2f}",
                    f"{through.p99_s * 1000:.2f}",
                    f"{through.requests_per_s:,.0f}",
                ]


def measure_enqueue(seconds: float) -> Iterator[list[str]]:
    # Nobody listens at the discard port: the jobs are stored, and stay.
    with _stoker(9, slots=1, is_ready_awaited=False) as stoker:
        for connections in (1, ENQUEUERS):
            timing = _load(stoker, "/v1/p2", BODIES["plain"], connections, seconds)
            yield [
                str(connections),
                f"{timing.requests_per_s:,.0f}",
                f"{timing.p50_s * 1000:.2f}",
                f"{timing.p99_s * 1000:.2f}",
            ]


def _load(port: int, path: str, body: bytes, connections: int, seconds: float) -> Timing:
    return uvloop.run(load(port, path=path, body=body, connections=connections, seconds=seconds))


@contextlib.contextmanager
def _upstream() -> Iterator[int]:
    with _process([str(Path(__file__)), "--upstream"]) as process:
        yield int(_line(process))


@contextlib.contextmanager
def _stoker(engine: int, *, slots: int, is_ready_awaited: bool = True) -> Iterator[int]:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "stoker.toml"
        config.write_text(f"[engine]\nrequests = {slots}\n", encoding="utf-8")
        command = ["-m", "stoker", "serve", "--engine", f"http://127.0.0.1:{engine}"]
        options = ["--kind", "openai", "--port", "0", "--data", folder, "--config", str(config)]
        with _process([*command, *options]) as process:
            url = _line(process).split()[-1]
            if is_ready_awaited:
                _wait_ready(url)
            yield int(url.rpartition(":")[2])


@contextlib.contextmanager
def _process(arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, *arguments]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=quiet, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _wait_ready(url: str) -> None:
    for _ in range(100):
        with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(f"{url}/readyz"):
            return
        time.sleep(0.1)
    raise SystemExit("Stoker does not become ready")


async def _serve_upstream() -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


def _table(title: str, columns: list[str], rows: Iterator[list[str]]) -> None:
    print(f"\n### {title}\n")
    for row in (columns, ["---"] * len(columns)):
        print("| " + " | ".join(row) + " |")
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="per measurement")
    parser.add_argument("--upstream", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.upstream:
        uvloop.run(_serve_upstream())
        return
    _table(
        f"`POST /v1/p1` beside the engine itself (stream: {FRAMES} frames)",
        ["answer", "at once", "engine p50 ms", "Stoker p50 ms", "added ms", "p99 ms", "req/s"],
        measure_proxy(arguments.seconds),
    )
    _table(
        "`POST /v1/p2`: durable in SQLite before the 202",
        ["clients", "jobs/s", "p50 ms", "p99 ms"],
        measure_enqueue(arguments.seconds),
    )


if __name__ == "__main__":
    main()
