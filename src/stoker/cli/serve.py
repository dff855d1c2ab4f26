"""`stoker serve`: a fabric and its HTTP server, until a signal."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import click
import structlog
import uvloop

from stoker.access.key_file import KeyFile
from stoker.api.serve import bind, require_loopback
from stoker.api.serve import serve as serve_http
from stoker.cli.flags import flags_of
from stoker.config import Config
from stoker.dashboard.routes import Dashboard
from stoker.fabric import Fabric
from stoker.logs import configure
from stoker.settings import load

log = structlog.get_logger("stoker.serve")

_ENGINE_PATIENCE_S = 3.0


@click.command()
@click.option(
    "--engine",
    metavar="[NAME=]URL",
    multiple=True,
    help="A running engine; without it, one is embedded. Several have names, and a request goes to "
    "the one that has its model; NAME=embedded starts one.",
)
@click.option("--kind", help="What the engine is: vllm, sglang, llamacpp, trtllm, openai.")
@click.option(
    "--model", help="With --engine URL: the model's name there. Without: a GGUF file to embed."
)
@click.option("--config", "file", type=click.Path(path_type=Path), help="A TOML file.")
@click.option("--host", help="Address to listen on (127.0.0.1).")
@click.option("--port", help="Port to listen on (8080); 0 takes a free one.")
@click.option("--data", metavar="DIR", help="Folder of the job database.")
@click.option("--log-format", help="console or json.")
@click.option(
    "--insecure-bind",
    is_flag=True,
    help="Listen beyond this machine although there are no API keys.",
)
def serve(
    file: Path | None, *, insecure_bind: bool, engine: tuple[str, ...], **options: str | None
) -> None:
    """Serve the engines of one box to interactive, agent and background work."""
    config = load(file=file, flags=flags_of(options, engine)).config
    keys = None if config.server.keys == "off" else KeyFile(config.data)
    is_guarded = keys is not None and (config.server.keys == "required" or bool(keys.all()))
    if not (is_guarded or insecure_bind):
        require_loopback(config.server.host)
    configure(config.log)
    # Before anything is started: an embedded engine takes seconds, a port in use none.
    sock = bind(config.server.host, config.server.port)
    with sock, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config, sock, keys))


async def _serve(config: Config, sock: socket.socket, keys: KeyFile | None) -> None:
    async with Fabric.open(config) as fabric, asyncio.TaskGroup() as tasks:
        dashboard = Dashboard(fabric)
        beside = [tasks.create_task(_report_engine(fabric, name)) for name in fabric.engine_names]
        beside.append(tasks.create_task(dashboard.run(), name="dashboard"))
        await serve_http(fabric, announce=_announce, sock=sock, keys=keys, pages=dashboard.routes)
        for task in beside:
            task.cancel()


async def _report_engine(fabric: Fabric, name: str) -> None:
    """An engine that is not there yet is no error, but nobody should have to guess it."""
    called = f"The engine {name}" if len(fabric.engine_names) > 1 else "The engine"
    try:
        async with asyncio.timeout(_ENGINE_PATIENCE_S):
            await fabric.wait_ready(name)
    except TimeoutError:
        engine = fabric.snapshot().engines[name].engine
        log.warning("engine_not_ready", name=name, engine=engine.name, cause=engine.cause)
        click.echo(f"{called} is not ready yet: {engine.cause}. Jobs are accepted meanwhile.")
    await fabric.wait_ready(name)
    click.echo(f"{called} is ready.")


def _announce(url: str) -> None:
    log.info("serving", url=url)
    click.echo(f"Stoker serves {url}")
