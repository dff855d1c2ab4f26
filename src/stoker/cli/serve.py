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
from stoker.config import Config
from stoker.fabric import Fabric
from stoker.logs import configure
from stoker.settings import Flag, load

log = structlog.get_logger("stoker.serve")

_ENGINE_PATIENCE_S = 3.0


@click.command()
@click.option("--engine", metavar="URL", help="A running engine; without it, one is embedded.")
@click.option("--kind", help="What the engine is: vllm, sglang, llamacpp, trtllm, openai.")
@click.option(
    "--model", help="With --engine: the model's name there. Without: a GGUF file to embed."
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
def serve(file: Path | None, *, insecure_bind: bool, **options: str | None) -> None:
    """Serve one engine to interactive, agent and background work."""
    config = load(file=file, flags=flags_of(options)).config
    keys = None if config.server.keys == "off" else KeyFile(config.data)
    is_guarded = keys is not None and (config.server.keys == "required" or bool(keys.all()))
    if not (is_guarded or insecure_bind):
        require_loopback(config.server.host)
    configure(config.log)
    # Before anything is started: an embedded engine takes seconds, a port in use none.
    sock = bind(config.server.host, config.server.port)
    with sock, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config, sock, keys))


def flags_of(options: dict[str, str | None]) -> dict[str, Flag]:
    """The keys that the given options set."""
    # A model beside a URL is a name there; alone, it is a file for the embedded engine.
    model_key = "engine.model" if options.get("engine") else "engine.gguf"
    keys = {**_KEYS, "model": model_key}
    return {
        keys[name]: Flag("--" + name.replace("_", "-"), value)
        for name, value in options.items()
        if value is not None
    }


_KEYS = {
    "engine": "engine.url",
    "kind": "engine.kind",
    "host": "server.host",
    "port": "server.port",
    "data": "data",
    "log_format": "log.format",
}


async def _serve(config: Config, sock: socket.socket, keys: KeyFile | None) -> None:
    async with Fabric.open(config) as fabric, asyncio.TaskGroup() as tasks:
        report = tasks.create_task(_report_engine(fabric))
        await serve_http(fabric, announce=_announce, sock=sock, keys=keys)
        report.cancel()


async def _report_engine(fabric: Fabric) -> None:
    """An engine that is not there yet is no error, but nobody should have to guess it."""
    try:
        async with asyncio.timeout(_ENGINE_PATIENCE_S):
            await fabric.wait_ready()
    except TimeoutError:
        engine = fabric.snapshot().engine
        log.warning("engine_not_ready", engine=engine.name, cause=engine.cause)
        click.echo(f"The engine is not ready yet: {engine.cause}. Jobs are accepted meanwhile.")
    await fabric.wait_ready()
    click.echo("The engine is ready.")


def _announce(url: str) -> None:
    log.info("serving", url=url)
    click.echo(f"Stoker serves {url}")
