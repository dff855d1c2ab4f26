"""Stoker as people run it, in front of the engine under measurement, with an endless backlog."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from stoker.client import Client

START_LIMIT_S = 60.0
STOP_LIMIT_S = 20.0
ENQUEUERS = 16


@asynccontextmanager
async def stoker_in_front_of(
    url: str, *, data: Path | None = None, options: Sequence[str] = ()
) -> AsyncIterator[str]:
    """Its own process, defaults, one engine. With `data`, it goes on where the last one stopped."""
    with ExitStack() as stack:
        folder = str(data or stack.enter_context(tempfile.TemporaryDirectory()))
        command = ["-m", "stoker", "serve", "--engine", url, "--port", "0", "--data", folder]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, *options, stdout=PIPE, stderr=DEVNULL
        )
        try:
            yield await _address(process)
        finally:
            await _stop(process)


@asynccontextmanager
async def kept_backlog(
    client: Client, job: Callable[[int], dict[str, object]], *, least: int
) -> AsyncIterator[None]:
    """At least `least` stored jobs are ready when the block begins, and as long as it runs."""
    serial = 0

    async def enqueue() -> None:
        nonlocal serial
        serial += 1
        await client.enqueue_p2(job(serial))

    async def top_up() -> None:
        available = (await client.state())["jobs"]["available"]
        while available < least:
            await asyncio.gather(*(enqueue() for _ in range(ENQUEUERS)))
            available += ENQUEUERS

    async def keep_filling() -> None:
        while True:
            await asyncio.sleep(1.0)
            await top_up()

    await top_up()
    async with asyncio.TaskGroup() as tasks:
        filler = tasks.create_task(keep_filling())
        try:
            yield
        finally:
            filler.cancel()


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(START_LIMIT_S):
        line = (await process.stdout.readline()).decode()
    if not line:
        raise SystemExit(f"stoker serve ended with {await process.wait()}")
    return line.split()[-1]


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_LIMIT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
