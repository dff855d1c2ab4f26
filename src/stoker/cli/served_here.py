"""A service in this process, for as long as a command needs it: where none runs, one that looks at
the data folder.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from stoker.api.serve import listening
from stoker.config import Config, LogConfig
from stoker.engines.absent import AbsentEngine
from stoker.fabric import EngineSetup, Fabric
from stoker.logs import configure
from stoker.memories_parts import build_memory_store
from stoker.runtime.clock import SystemClock
from stoker.settings import Flag, load
from stoker.wiring import EVENTS_FILE, build_store, data_of


@asynccontextmanager
async def served_here(
    data: str | None, file: Path | None, *, with_engine: bool
) -> AsyncGenerator[str]:
    """Its address, while the block runs."""
    flags = {} if data is None else {"data": Flag("--data", data)}
    config = load(file=file, flags=flags).config
    configure(LogConfig(level="error"))
    fabric = Fabric.open(config) if with_engine else _without_engine(config)
    async with fabric as opened, listening(opened, host="127.0.0.1", port=0) as url:
        yield url


@asynccontextmanager
async def _without_engine(config: Config) -> AsyncGenerator[Fabric]:
    setups = {
        name: EngineSetup(AbsentEngine(), settings, (), data_of(config, name) / EVENTS_FILE)
        for name, settings in config.all_engines().items()
    }
    async with Fabric.assemble(
        config,
        engine=setups,
        store=build_store(config),
        clock=SystemClock(),
        memories=build_memory_store(config),
    ) as fabric:
        yield fabric
