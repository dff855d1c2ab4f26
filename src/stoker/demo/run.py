"""One demo from start to end: a service of its own, the workload on it, and the view of both."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live

from stoker.api.serve import listening
from stoker.client import Client
from stoker.config import Config
from stoker.core.errors import EngineError, EngineUnreachable
from stoker.demo.closing import closing, how_to_call
from stoker.demo.documents import Document
from stoker.demo.journal import Journal
from stoker.demo.report import Report, report
from stoker.demo.screen import Screen, plain_line
from stoker.demo.watch import Watch
from stoker.demo.workload import ALONE_MAX_S, Workload
from stoker.fabric import Fabric
from stoker.ports import Clock

READY_TIMEOUT_S = 60.0
_PLAIN_EVERY_S = 5.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SERVED_BY_DEFAULT = "http://127.0.0.1:8080"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run, and what is left of it. `is_kept`: go on serving until a signal."""

    documents: list[Document]
    seconds: float
    is_kept: bool
    has_own_data: bool
    """Whether the data folder outlives the demo."""


async def run(config: Config, plan: Plan, console: Console) -> Report:
    """Run the demo and print its end. Raises what `Fabric.open` does, and `EngineUnreachable`."""
    async with (
        Fabric.open(config) as fabric,
        listening(fabric) as url,
        Client(url) as client,
    ):
        journal = Journal()
        screen = Screen(url, journal, Watch(client, journal), fabric.clock)
        workload = Workload(client, plan.documents, journal, fabric.clock, seconds=plan.seconds)
        async with _until_interrupted() as interruption:
            with _shown(screen, console):
                await _perform(fabric, workload, screen, plan.seconds)
        found = report(journal)
        console.print(closing(found))
        goes_on = plan.is_kept and not interruption.expired()
        if found.jobs_left:
            _print_plain(console, _what_becomes_of_them(config, plan, goes_on=goes_on))
        calls = how_to_call(url if goes_on else _SERVED_BY_DEFAULT, await _model(client))
        if goes_on:
            async with _until_interrupted():
                _print_plain(console, f"\nServing {url} until Ctrl-C. Call it:\n\n{calls}")
                await asyncio.Event().wait()
        else:
            how = "`stoker serve` starts one that stays. Call it:"
            _print_plain(console, f"\nThe service ran at {url}; {how}\n\n{calls}")
    return found


def _what_becomes_of_them(config: Config, plan: Plan, *, goes_on: bool) -> str:
    """Of the jobs that are left."""
    if goes_on:
        return "They are durable, and the service goes on with them."
    if plan.has_own_data:
        return f"They are durable: `stoker serve --data {config.data}` goes on with them."
    return "Their folder was temporary; with --data DIR they stay, with --keep they are done."


async def _perform(fabric: Fabric, workload: Workload, screen: Screen, seconds: float) -> None:
    """The phases, one after the other, watched."""
    clock = fabric.clock
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(screen.watch.run(), name="watch")
        await _ready(fabric)
        screen.phase = "P0 alone, for the reference"
        screen.ends_at = clock.monotonic() + min(ALONE_MAX_S, seconds)
        await workload.alone()
        screen.phase = "mixed: people, agents, backlog"
        screen.ends_at = clock.monotonic() + seconds
        await workload.mixed()
        watching.cancel()


async def _ready(fabric: Fabric) -> None:
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            await fabric.wait_ready()
    except TimeoutError:
        cause = fabric.snapshot().engine.cause
        raise EngineUnreachable(
            f"the engine was not ready within {READY_TIMEOUT_S:g} s: {cause}"
        ) from None


async def _model(client: Client) -> str:
    """The name to ask the engine for; engines with one model take any."""
    try:
        models = await client.call("GET", "/v1/models")
    except EngineError:
        return "default"
    return str(models["data"][0]["id"])


def _print_plain(console: Console, text: str) -> None:
    """As it is: a command that was wrapped or coloured could not be copied."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@asynccontextmanager
async def _until_interrupted() -> AsyncGenerator[asyncio.Timeout]:
    """A block that Ctrl-C or SIGTERM leaves early and quietly; the second one is not caught."""
    loop = asyncio.get_running_loop()

    def restore() -> None:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

    def interrupt() -> None:
        restore()
        scope.reschedule(loop.time())

    scope = asyncio.timeout(None)
    try:
        async with scope:
            for number in _SIGNALS:
                loop.add_signal_handler(number, interrupt)
            try:
                yield scope
            finally:
                restore()
    except TimeoutError:
        if not scope.expired():
            raise


@contextmanager
def _shown(screen: Screen, console: Console) -> Generator[None]:
    """Draw the screen after every look of the watch; a line now and then where nobody can draw."""
    if console.is_terminal:
        with Live(screen, console=console, screen=True, auto_refresh=False) as live:
            screen.watch.listen(live.refresh)
            yield
        return
    screen.watch.listen(_PlainLines(screen, console, screen.clock).tick)
    yield


class _PlainLines:
    def __init__(self, screen: Screen, console: Console, clock: Clock) -> None:
        self._screen = screen
        self._console = console
        self._clock = clock
        self._began_at = clock.monotonic()
        self._next_at = self._began_at

    def tick(self) -> None:
        now = self._clock.monotonic()
        if now >= self._next_at:
            self._next_at = now + _PLAIN_EVERY_S
            line = plain_line(self._screen, now - self._began_at)
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
