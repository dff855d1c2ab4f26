"""From the configuration to the parts that it names: which engine, which store."""

from __future__ import annotations

from stoker.config import Config
from stoker.ports import Engine, JobStore
from stoker.store.sqlite import SqliteJobStore


def build_store(config: Config) -> JobStore:
    """The job store in the data folder."""
    return SqliteJobStore(config.data / "jobs.sqlite3")


def build_engine(config: Config) -> Engine:
    """The engine at `engine.url`, or the embedded one. Raises `ConfigError`."""
    raise NotImplementedError
