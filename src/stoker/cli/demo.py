"""`stoker demo`: the main job on real input, watched live, ending with a table."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import click
import uvloop
from rich.console import Console

from stoker.config import Config
from stoker.demo.documents import folder_documents, library_documents
from stoker.demo.run import Plan, run
from stoker.logs import to_file
from stoker.settings import Flag, load

LOG_FILE = "demo.log"


@click.command()
@click.option(
    "--seconds",
    default=60.0,
    show_default=True,
    type=click.FloatRange(min=1, max=3600),
    help="Length of the mixed load.",
)
@click.option(
    "--documents",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Text files to summarise, instead of the documentation of Python's own library.",
)
@click.option("--data", metavar="DIR", help="Folder of the job database; a temporary one else.")
@click.option("--engine", metavar="URL", help="A running engine; without it, one is embedded.")
@click.option("--keep", is_flag=True, help="Go on serving after the table, until Ctrl-C.")
def demo(
    seconds: float, documents: Path | None, data: str | None, engine: str | None, *, keep: bool
) -> None:
    """Put people, agents and a backlog on one engine, and watch."""
    texts = library_documents() if documents is None else folder_documents(documents)
    plan = Plan(texts, seconds, is_kept=keep, has_own_data=data is not None)
    console = Console()
    with _configured(data, engine) as config, to_file(config.data / LOG_FILE, config.log):
        if not console.is_terminal:
            console.print("Starting the engine ...")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(run(config, plan, console))
    if not found.is_success:
        raise click.exceptions.Exit(1)


@contextmanager
def _configured(data: str | None, engine: str | None) -> Generator[Config]:
    """The settings of this machine, on a free port of loopback and in a folder of our own."""
    flags = {"server.host": Flag("--host", "127.0.0.1"), "server.port": Flag("--port", "0")}
    if engine is not None:
        flags["engine.url"] = Flag("--engine", engine)
    with tempfile.TemporaryDirectory(prefix="stoker-demo-") as folder:
        flags["data"] = Flag("--data", data or folder)
        config = load(flags=flags).config
        config.data.mkdir(parents=True, exist_ok=True)
        yield config
