"""`stoker serve`: a fabric and its HTTP server, until a signal."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import structlog
import uvloop

from stoker.access.key_file import KeyFile
from stoker.api.serve import bind, require_loopback
from stoker.api.serve import serve as serve_http
from stoker.config import Config
from stoker.core.errors import ConfigError
from stoker.dashboard.routes import Dashboard
from stoker.fabric import Fabric
from stoker.logs import configure
from stoker.settings import EMBEDDED, Flag, load

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


def flags_of(options: dict[str, str | None], engines: Sequence[str] = ()) -> dict[str, Flag]:
    """The keys that the given options set. Raises `ConfigError` for engines that need names."""
    flags = dict(_engine_flags(engines))
    given = [name for name in ("model", "kind") if options.get(name) is not None]
    if given and flags and "engine.url" not in flags:
        raise ConfigError(f"--{given[0]}: of which engine? Set engines.NAME.{given[0]} instead")
    # A model beside a URL is a name there; alone, it is a file for the embedded engine.
    model_key = "engine.model" if "engine.url" in flags else "engine.gguf"
    keys = {**_KEYS, "model": model_key}
    return flags | {
        keys[name]: Flag("--" + name.replace("_", "-"), value)
        for name, value in options.items()
        if value is not None
    }


def _engine_flags(engines: Sequence[str]) -> Iterator[tuple[str, Flag]]:
    named = [_NAMED.fullmatch(engine) for engine in engines]
    if named.count(None) > 1:
        raise ConfigError("--engine: of several engines, all but one need names: NAME=URL")
    for engine, match in zip(engines, named, strict=True):
        if match is None:
            yield "engine.url", Flag("--engine", engine)
        elif match[2] == EMBEDDED:
            yield f"engines.{match[1]}", Flag("--engine", EMBEDDED)
        else:
            yield f"engines.{match[1]}.url", Flag("--engine", match[2])


_NAMED = re.compile(r"([^=:/]+)=(.*)")
"""An address has a colon before any equals sign."""
_KEYS = {
    "kind": "engine.kind",
    "host": "server.host",
    "port": "server.port",
    "data": "data",
    "log_format": "log.format",
}


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
