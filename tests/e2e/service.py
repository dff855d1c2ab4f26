"""A real `stoker serve`: started, asked, stopped, killed, and started again on the same folder.

Also the other real processes of these tests, and the one way to wait for something: `until`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
import sys
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import aiohttp
import psutil

STOKER = Path(sys.executable).with_name("stoker")
START_LIMIT_S = 90.0
"""Generous: a machine of two cores may be doing other things."""
_LIFE = "STOKER_E2E_LIFE"
"""Marks every process of one life, whoever becomes its parent later. Not a setting of Stoker's."""


class Service:
    """`stoker serve OPTIONS` on one data folder, one life after the other."""

    def __init__(self, folder: Path, *options: str, port: int = 0, **settings: object) -> None:
        """`settings` are configuration keys, as in `jobs__lease_s=1`."""
        self.folder = folder
        self.data = folder / "data"
        self.url = ""
        self.lives: list[str] = []
        self.is_up = asyncio.Event()
        """Set while it listens, and cleared before a signal is sent."""
        self._arguments = ["serve", "--port", str(port), "--data", str(self.data), *options]
        self._settings = {f"STOKER_{key.upper()}": str(value) for key, value in settings.items()}
        self._process: asyncio.subprocess.Process | None = None

    # ------------------------------------------------------------------ life and death

    async def launch(self) -> None:
        """Begin a life, without waiting for it to listen."""
        assert self._process is None, "it runs already"
        self.lives.append(uuid.uuid4().hex)
        with self.log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                STOKER,
                *self._arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=self.folder,
                env=clean_environment(self.folder) | self._settings | {_LIFE: self.lives[-1]},
                start_new_session=True,
            )

    async def listen(self) -> None:
        """Wait until it says where it serves."""
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(START_LIMIT_S):
            line = (await self._process.stdout.readline()).decode()
        assert line.startswith("Stoker serves http"), f"it did not start: {line}{self.log}"
        self.url = line.split()[-1]
        self.is_up.set()

    async def start(self) -> None:
        """Begin a life, and wait until it listens."""
        await self.launch()
        await self.listen()

    async def kill(self) -> None:
        """`kill -9` the process, as an out-of-memory killer would: its child is left alone."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        return await self._end(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal at once, and wait for nothing."""
        assert self._process is not None
        self.is_up.clear()
        self._process.send_signal(number)

    async def wait_ended(self, limit_s: float = START_LIMIT_S) -> int:
        """The exit code, when it has ended."""
        assert self._process is not None
        async with asyncio.timeout(limit_s):
            code = await self._process.wait()
        self.is_up.clear()
        self._process = None
        return code

    async def _end(self, number: signal.Signals) -> int:
        self.signal(number)
        return await self.wait_ended()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Service]:
        """Start it now, and leave no process behind in the end, whatever the block did."""
        try:
            await self.start()
            yield self
        finally:
            await self.clear()

    async def clear(self) -> None:
        """Leave no process of any life behind."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                await self.kill()
        for life in self.lives:
            for process in processes_of(life):
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    # ------------------------------------------------------------------ asking it

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log_path(self) -> Path:
        return self.folder / "stoker.log"

    @property
    def log(self) -> str:
        """What all its lives wrote to stderr."""
        return self.log_path.read_text(errors="replace")

    async def get(self, path: str) -> tuple[int, Any]:
        """One GET on a connection of its own: status, and the JSON document."""
        async with (
            aiohttp.ClientSession(self.url) as session,
            session.get(path, timeout=aiohttp.ClientTimeout(10)) as response,
        ):
            return response.status, await response.json()

    async def state(self) -> dict[str, Any]:
        """`/v1/fabric/state`."""
        _, document = await self.get("/v1/fabric/state")
        assert isinstance(document, dict)
        return document

    async def classes(self, what: str) -> list[int]:
        """How many requests are `waiting` or `running` in P0, P1 and P2."""
        classes = (await self.state())["scheduler"]["classes"]
        return [classes[name][what] for name in ("p0", "p1", "p2")]

    async def is_ready(self) -> bool:
        """Whether `/readyz` says that work would be served."""
        status, _ = await self.get("/readyz")
        return status == 200

    async def wait_ready(self) -> None:
        await until(self.is_ready, limit_s=START_LIMIT_S)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the job database itself, as any other reader may."""
        path = f"file:{self.data / 'jobs.sqlite3'}?mode=ro"
        with closing(sqlite3.connect(path, uri=True)) as connection:
            return connection.execute(sql).fetchall()

    def engine_process(self) -> psutil.Process | None:
        """The embedded engine's child of the current life, once there is one."""
        mine = processes_of(self.lives[-1])
        return next((process for process in mine if "embedded_child" in _command(process)), None)

    async def wait_gone(self, life: str, limit_s: float = 10.0) -> None:
        """Wait until no process of that life is left, the engine's child included."""

        async def is_gone() -> bool:
            return not processes_of(life)

        await until(is_gone, limit_s=limit_s, every_s=0.1)


# ---------------------------------------------------------------------- other processes


@asynccontextmanager
async def fake_engine(*options: str) -> AsyncGenerator[str]:
    """`python -m stoker.testing.fake_server OPTIONS`; its address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "stoker.testing.fake_server",
        *options,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        # aiohttp logs a traceback for every client that is gone before its answer begins.
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_LIMIT_S):
            url = (await process.stdout.readline()).decode().strip()
        yield url
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def stoker(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run a `stoker` command to its end: exit code, stdout, stderr."""
    process = await asyncio.create_subprocess_exec(
        STOKER,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        env=clean_environment(folder),
    )
    try:
        async with asyncio.timeout(START_LIMIT_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def free_port() -> int:
    """A port that is free now, for a service that must be found again after its restart."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def clean_environment(folder: Path) -> dict[str, str]:
    """This environment without settings of a person's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STOKER_")}
    return kept | {"XDG_CONFIG_HOME": str(folder)}


def processes_of(life: str) -> list[psutil.Process]:
    """The living processes that carry the mark of `life`."""
    return [process for process in psutil.process_iter() if _mark(process) == life]


def _mark(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(_LIFE)
    except (psutil.Error, OSError):
        return None  # Gone, a zombie, or somebody else's.


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


# ---------------------------------------------------------------------- waiting


async def until(
    condition: Callable[[], Awaitable[bool]], *, limit_s: float = 30.0, every_s: float = 0.02
) -> None:
    """Ask again and again, for other processes can only be asked; fail after `limit_s`."""
    async with asyncio.timeout(limit_s):
        while not await condition():  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(every_s)
