"""From the configuration to the parts that it names: which engine, which store, which files."""

from __future__ import annotations

from stoker.config import Config
from stoker.engines.detect import connect
from stoker.engines.embedded import EmbeddedEngine, EmbeddedSettings
from stoker.engines.openai_http import CapacityOverrides
from stoker.ports import Engine, JobStore
from stoker.runtime.event_file import EventFile
from stoker.runtime.warm_start import WarmStart
from stoker.store.sqlite import SqliteJobStore

JOBS_FILE = "jobs.sqlite3"
LEARNED_FILE = "learned.json"
EVENTS_FILE = "events.jsonl"


def build_store(config: Config) -> JobStore:
    """The job store in the data folder."""
    return SqliteJobStore(config.data / JOBS_FILE)


def build_warm_start(config: Config) -> WarmStart:
    """What earlier lives learned, in the data folder."""
    return WarmStart(config.data / LEARNED_FILE)


def build_event_file(config: Config) -> EventFile | None:
    """Where the event log is kept in the data folder, if it is."""
    settings = config.log
    if settings.events == "off":
        return None
    return EventFile(
        config.data / EVENTS_FILE,
        max_bytes=settings.events_max_bytes,
        is_full=settings.events == "full",
    )


async def build_engine(config: Config) -> Engine:
    """The engine at `engine.url`, or the embedded one. Raises `ConfigError`."""
    settings = config.engine
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
        data=config.data,
        overrides=overrides,
        stall_timeout_s=settings.stall_timeout_s,
    )
