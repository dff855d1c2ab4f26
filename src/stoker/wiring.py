"""From the configuration to the parts that it names: which engine, which store, which files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from stoker.config import Config
from stoker.core.errors import ConfigError
from stoker.engine_config import EngineConfig
from stoker.engine_parts import EngineSetup
from stoker.engines.detect import connect
from stoker.engines.embedded import EmbeddedEngine, EmbeddedSettings
from stoker.engines.openai_http import CapacityOverrides
from stoker.ports import Engine, JobStore
from stoker.runtime.clock import SystemClock
from stoker.runtime.event_file import EventFile
from stoker.runtime.optimizer_record import KINDS
from stoker.runtime.warm_start import WarmStart
from stoker.store.sqlite import SqliteJobStore

if TYPE_CHECKING:
    from stoker.tracing.tracing import Tracing

JOBS_FILE = "jobs.sqlite3"
LEARNED_FILE = "learned.json"
EVENTS_FILE = "events.jsonl"
OPTIMIZER_FILE = "optimizer.jsonl"
ENGINES_FOLDER = "engines"


def build_store(config: Config) -> JobStore:
    """The job store in the data folder."""
    return SqliteJobStore(config.data / JOBS_FILE)


def build_warm_start(config: Config) -> WarmStart:
    """What earlier lives learned, in the data folder."""
    return WarmStart(config.data / LEARNED_FILE)


def build_tracing(config: Config) -> Tracing | None:
    """Traces, where they are wanted. Raises `ConfigError` without the extra."""
    if config.traces.url is None:
        return None
    try:
        from stoker.tracing.tracing import exporting  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError(
            f"traces.url: {error.name} is missing; install 'stoker[otel]', or unset it"
        ) from error
    return exporting(config.traces)


def traced(setups: Mapping[str, EngineSetup], tracing: Tracing) -> dict[str, EngineSetup]:
    """The same engines, each call in a span."""
    return {
        name: replace(setup, calls=tracing.calls(name, setup.engine))
        for name, setup in setups.items()
    }


async def build_engines(config: Config) -> dict[str, EngineSetup]:
    """Every engine by name, the default one first. Raises `ConfigError`."""
    return {
        name: EngineSetup(
            await _build_engine(settings, data_of(config, name)),
            settings,
            build_event_files(config, data_of(config, name)),
            data_of(config, name) / EVENTS_FILE,
        )
        for name, settings in config.all_engines().items()
    }


def data_of(config: Config, name: str) -> Path:
    """Where an engine's files lie: the data folder itself, or a folder in it for a named one."""
    return config.data / ENGINES_FOLDER / name if name in config.engines else config.data


def build_event_files(config: Config, data: Path) -> tuple[EventFile, ...]:
    """Where the event log of one engine is kept, if it is.

    The optimizer's steps have a file of their own too: on a busy box the others would push them out
    within hours, and a replay needs all since the beginning.
    """
    settings = config.log
    if settings.events == "off":
        return ()
    most, is_full = settings.events_max_bytes, settings.events == "full"
    return (
        EventFile(data / EVENTS_FILE, max_bytes=most, is_full=is_full, clock=SystemClock()),
        EventFile(data / OPTIMIZER_FILE, max_bytes=most, kinds=KINDS),
    )


async def _build_engine(settings: EngineConfig, data: Path) -> Engine:
    """The engine at its address, or an embedded one. Raises `ConfigError`."""
    overrides = CapacityOverrides(
        requests=settings.requests,
        kv_tokens=settings.kv_tokens,
        context_tokens=settings.context_tokens,
        prefill_tokens_per_step=settings.prefill_tokens_per_step,
    )
    if settings.url is not None:
        return await connect(
            settings.url,
            kind=settings.kind,
            model=settings.model,
            api_key=settings.api_key,
            overrides=overrides,
            stall_timeout_s=settings.stall_timeout_s,
        )
    return EmbeddedEngine(
        EmbeddedSettings(
            model=settings.gguf,
            slots=settings.embedded_slots,
            context_tokens=settings.embedded_context_tokens,
            threads=settings.embedded_threads,
        ),
        data=data,
        overrides=overrides,
        stall_timeout_s=settings.stall_timeout_s,
    )
