"""Does a batch survive `kill -9`, and what do people feel while a large one is taken in?

    python benchmarks/bench_batches.py            # about three minutes
    python benchmarks/bench_batches.py --quick    # a twentieth of the size, to see that it runs

A real `stoker serve` with its SQLite store in a temporary folder, in front of an engine that
answers at once. First a batch of 10,000 lines is killed in the middle, more than once. Then one of
50,000 lines, 195 MB, is uploaded, checked, made jobs and cancelled, while a client asks for streams
as P0 and another one asks `/healthz`. Prints two markdown tables; exits with 1 if a line was lost
or repeated.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil

sys.path.insert(0, str(Path(__file__).parent))
from served import CHAT, engine

SLOTS = 32
LINE_BYTES = 3_900
KILLS = 3
PROBE_EVERY_S = 0.02
FINAL = {"completed", "failed", "expired", "cancelled"}
P0_BODY = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "stream": True}


# ---------------------------------------------------------------------------- the service


class Life:
    """`stoker serve` on one folder: started, killed and started again."""

    def __init__(self, folder: Path, engine_port: int) -> None:
        self.rss_max_mb = 0.0
        self.url = ""
        self.folder = folder
        config = folder / "stoker.toml"
        config.write_text(f"[engine]\nrequests = {SLOTS}\n", encoding="utf-8")
        self._command = [
            *(sys.executable, "-m", "stoker", "serve", "--kind", "openai", "--port", "0"),
            *("--engine", f"http://127.0.0.1:{engine_port}", "--data", str(folder / "data")),
            *("--config", str(config)),
        ]
        self._process: subprocess.Popen[str] | None = None

    async def start(self) -> None:
        """Begin a life; return when it listens."""
        self._process = subprocess.Popen(  # noqa: ASYNC220 - nothing else happens here meanwhile
            self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        self.url = (await asyncio.to_thread(self._process.stdout.readline)).split()[-1]

    def end(self, number: signal.Signals) -> None:
        """Signal it, and wait until it is gone."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait()

    async def watch(self) -> None:
        """Keep the largest RSS that it has ever had, until cancelled."""
        while True:
            with contextlib.suppress(psutil.Error):
                assert self._process is not None
                rss = psutil.Process(self._process.pid).memory_info().rss
                self.rss_max_mb = max(self.rss_max_mb, rss / 1e6)
            await asyncio.sleep(0.05)

    @property
    def rss_mb(self) -> float:
        assert self._process is not None
        return float(psutil.Process(self._process.pid).memory_info().rss) / 1e6

    async def get(self, path: str) -> dict[str, Any]:
        """A JSON document."""
        found: dict[str, Any] = json.loads(await self.read(path))
        return found

    async def read(self, path: str) -> bytes:
        async with aiohttp.ClientSession(self.url) as session, session.get(path) as response:
            response.raise_for_status()
            return await response.read()

    async def post(self, path: str, document: object = None) -> dict[str, Any]:
        async with (
            aiohttp.ClientSession(self.url) as session,
            session.post(path, json=document) as response,
        ):
            response.raise_for_status()
            found: dict[str, Any] = await response.json()
            return found

    async def upload(self, path: Path) -> str:
        """Upload a batch's input from a process of its own: ours has times to take."""
        command = [sys.executable, __file__, "--upload", str(path), self.url]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        answer, _ = await process.communicate()
        return str(json.loads(answer)["id"])

    async def create(self, file_id: str) -> str:
        asked = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}
        return str((await self.post("/v1/batches", asked))["id"])

    async def until(self, id: str, *statuses: str, completed: int | None = None) -> dict[str, Any]:
        """The batch when it has come that far."""
        while True:
            batch = await self.get(f"/v1/batches/{id}")
            is_far = completed is not None and batch["request_counts"]["completed"] >= completed
            if is_far or batch["status"] in (statuses or FINAL):
                return batch
            await asyncio.sleep(0.05)

    async def until_jobs(self, count: int) -> None:
        """Return when the store has so many."""
        jobs = 0
        while jobs < count:
            await asyncio.sleep(0.2)
            jobs = sum((await self.get("/v1/fabric/state"))["jobs"].values())


@contextlib.asynccontextmanager
async def living(engine_port: int) -> AsyncIterator[Life]:
    """A life in a fresh folder, started; ended by force."""
    with tempfile.TemporaryDirectory(prefix="stoker-bench-") as folder:
        life = Life(Path(folder), engine_port)
        await life.start()
        watching = asyncio.ensure_future(life.watch())
        try:
            yield life
        finally:
            watching.cancel()
            life.end(signal.SIGKILL)


def send(path: Path, url: str) -> None:
    """Upload a file as a form, block by block."""
    head = (
        b'--B\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--B\r\ncontent-disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n'
    )
    tail = b"\r\n--B--\r\n"
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    connection.putrequest("POST", "/v1/files")
    connection.putheader("content-type", "multipart/form-data; boundary=B")
    connection.putheader("content-length", str(len(head) + path.stat().st_size + len(tail)))
    connection.endheaders(head)
    with path.open("rb") as file:
        while block := file.read(1 << 18):
            connection.send(block)
    connection.send(tail)
    print(connection.getresponse().read().decode())


def write_input(path: Path, lines: int) -> None:
    """`lines` chats of about `LINE_BYTES` each."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(lines):
            text = f"{number} " + "word " * (LINE_BYTES // 5 - 45)
            body = {"messages": [{"role": "user", "content": text}], "max_tokens": 4}
            line = {"custom_id": f"line-{number}", "method": "POST", "url": CHAT, "body": body}
            file.write(json.dumps(line) + "\n")


# ---------------------------------------------------------------------------- killed


async def killed(engine_port: int, lines: int) -> bool:
    """Kill it while a batch runs; print what came of it. Whether all is well."""
    rows: list[tuple[str, str]] = []
    async with living(engine_port) as life:
        path = life.folder / "in.jsonl"
        write_input(path, lines)
        began = time.perf_counter()
        file_id = await life.upload(path)
        rows.append(("upload", f"{time.perf_counter() - began:.1f} s"))
        began = time.perf_counter()
        id = await life.create(file_id)
        for kill in range(1, KILLS + 1):
            batch = await life.until(id, completed=lines * kill // (KILLS + 1))
            life.end(signal.SIGKILL)
            done = batch["request_counts"]["completed"]
            rows.append((f"`kill -9` number {kill}", f"{batch['status']}, {done:,} answered"))
            await life.start()
        batch = await life.until(id)
        wall_s = time.perf_counter() - began
        output = await life.read(f"/v1/files/{batch['output_file_id']}/content")
    ids = Counter(json.loads(line)["custom_id"] for line in output.splitlines())
    is_good = (
        batch["status"] == "completed"
        and ids == Counter(f"line-{number}" for number in range(lines))
        and batch["error_file_id"] is None
    )
    rows += [
        ("created to ended, with the restarts", f"{wall_s:.1f} s, {lines / wall_s:,.0f} lines/s"),
        ("status, counts", f"{batch['status']}, {batch['request_counts']}"),
        ("ids answered; more than once", f"{len(ids):,}; {sum(n > 1 for n in ids.values())}"),
        ("largest RSS", f"{life.rss_max_mb:.0f} MB"),
        ("each `custom_id` exactly once", "**yes**" if is_good else "**NO**"),
    ]
    print(f"\n| A batch of {lines:,} lines, {path_mb(lines):.0f} MB, killed {KILLS} times | |")
    print("|---|---:|")
    for name, value in rows:
        print(f"| {name} | {value} |")
    return is_good


def path_mb(lines: int) -> float:
    return lines * LINE_BYTES / 1e6


# ---------------------------------------------------------------------------- taken in


@dataclass
class Probes:
    """What two clients feel while something else happens."""

    life: Life
    ttft_ms: list[float] = field(default_factory=list)
    lag_ms: list[float] = field(default_factory=list)

    async def run(self) -> None:
        """Ask both, again and again, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._p0())
            tasks.create_task(self._healthz())

    async def _p0(self) -> None:
        async with aiohttp.ClientSession(self.life.url) as session:
            while True:
                began = time.perf_counter()
                async with session.post("/v1/p0", json=P0_BODY) as response:
                    await response.content.readany()
                    self.ttft_ms.append(1000 * (time.perf_counter() - began))
                    await response.read()
                await asyncio.sleep(PROBE_EVERY_S)

    async def _healthz(self) -> None:
        async with aiohttp.ClientSession(self.life.url) as session:
            while True:
                began = time.perf_counter()
                async with session.get("/healthz") as response:
                    await response.read()
                self.lag_ms.append(1000 * (time.perf_counter() - began))
                await asyncio.sleep(PROBE_EVERY_S / 4)


@dataclass(frozen=True)
class Phase:
    name: str
    wall_s: float
    rss_mb: float
    probes: Probes


@contextlib.asynccontextmanager
async def phase(name: str, life: Life, phases: list[Phase]) -> AsyncIterator[None]:
    """Probe while the block runs."""
    probes, began = Probes(life), time.perf_counter()
    probing = asyncio.ensure_future(probes.run())
    try:
        yield
    finally:
        phases.append(Phase(name, time.perf_counter() - began, life.rss_mb, probes))
        probing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await probing


async def taken_in(engine_port: int, lines: int) -> None:
    """Take in one large batch, and cancel it; print what was felt in each phase."""
    phases: list[Phase] = []
    async with living(engine_port) as life:
        path = life.folder / "in.jsonl"
        write_input(path, lines)
        async with phase("nothing else", life, phases):
            await asyncio.sleep(10)
        async with phase("upload", life, phases):
            file_id = await life.upload(path)
        async with phase("checking", life, phases):
            id = await life.create(file_id)
            await life.until(id, "in_progress", *FINAL)
        async with phase("making jobs", life, phases):
            await life.until_jobs(lines)
        async with phase("cancelling, writing", life, phases):
            await life.post(f"/v1/batches/{id}/cancel")
            batch = await life.until(id)
    size = f"{lines:,} lines, {path_mb(lines):.0f} MB"
    print(f"\n| {size}: while … | s | P0 TTFT ms | `/healthz` ms | RSS MB |")
    print("|---|---:|---:|---:|---:|")
    for one in phases:
        ttft, lag = spread(one.probes.ttft_ms), spread(one.probes.lag_ms)
        print(f"| {one.name} | {one.wall_s:.1f} | {ttft} | {lag} | {one.rss_mb:.0f} |")
    print(
        f"\np50 / p99 / max. It ended {batch['status']}, {batch['request_counts']}; largest RSS "
        f"{life.rss_max_mb:.0f} MB"
    )


def spread(values: Sequence[float]) -> str:
    """Median, 99th percentile and largest."""
    if len(values) < 2:
        return "–"
    p99 = statistics.quantiles(values, n=100)[98]
    return f"{statistics.median(values):.1f} / {p99:.1f} / {max(values):.0f}"


async def measure(*, scale: int) -> bool:
    with engine() as upstream:
        is_good = await killed(upstream.port, 10_000 // scale)
        await taken_in(upstream.port, 50_000 // scale)
    return is_good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--upload", nargs=2, metavar=("FILE", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.upload:
        send(Path(options.upload[0]), options.upload[1])
        return
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores")
    if not asyncio.run(measure(scale=20 if options.quick else 1)):
        sys.exit("a line was lost or repeated")


if __name__ == "__main__":
    main()
