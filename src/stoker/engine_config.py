"""What may be set about one engine, and the rules that several of them must keep together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from stoker.core.errors import ConfigError

Count = Annotated[int, Meta(ge=1)]
ModelName = Annotated[str, Meta(min_length=1, max_length=200)]

DEFAULT_NAME = "default"
"""What the engine of the `[engine]` table is called."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """An inference engine behind Stoker. Without `url`, the embedded one is started."""

    url: str | None = None
    """Base address of a running engine, e.g. `http://127.0.0.1:8000`."""
    kind: Literal["vllm", "sglang", "llamacpp", "trtllm", "openai"] | None = None
    """What the engine is; detected when not set."""
    model: str | None = None
    """Name of the model to ask the engine for; its first one when not set."""
    models: tuple[ModelName, ...] = ()
    """Other names by which clients may ask for that model; a `*` stands for any text. Beside its
    own models and the engine's name, they are how a request finds its engine among several."""
    gguf: Path | None = None
    """Model file for the embedded engine; the packaged small model when not set."""
    api_key: str | None = field(default=None, repr=False)
    """Sent to the engine as a bearer token. Never shown."""
    requests: Count | None = None
    """Sequences the engine runs at once; read from the engine when not set."""
    kv_tokens: Count | None = None
    """Tokens that fit its KV cache; read from the engine when not set."""
    context_tokens: Count | None = None
    """Longest prompt + output of one sequence; read from the engine when not set."""
    prefill_tokens_per_step: Count | None = None
    """Prompt tokens the engine reads in one step; read from the engine when not set."""
    stall_timeout_s: Annotated[float, Meta(gt=0)] = 120.0
    """A stream that brings nothing for this long is broken off."""
    hang_timeout_s: Annotated[float, Meta(gt=0)] = 60.0
    """An engine that finishes no small completion within this time counts as down."""
    embedded_slots: Annotated[int, Meta(ge=1, le=256)] = 8
    """Sequences that the embedded engine runs at once."""
    embedded_context_tokens: Annotated[int, Meta(ge=256)] = 8192
    """Longest prompt + output of one sequence in the embedded engine."""
    embedded_threads: Count | None = None
    """Threads of the embedded engine; the machine's cores less one when not set."""


def all_engines(
    engine: EngineConfig, engines: Mapping[str, EngineConfig]
) -> dict[str, EngineConfig]:
    """Every engine by name: that of `[engine]` first, unless only named ones are set."""
    if engines and engine == EngineConfig():
        return dict(engines)
    return {DEFAULT_NAME: engine, **engines}


def check_name(name: str, origin: str) -> None:
    """Raises `ConfigError` for a name that no model name could begin with."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"engines.{name} ({origin}): the name of an engine has 1 to 40 lower-case letters, "
            "digits, - and _"
        )


def check_engines(engine: EngineConfig, engines: Mapping[str, EngineConfig]) -> None:
    """What must hold between the keys of one engine, and between engines. Raises `ConfigError`."""
    if DEFAULT_NAME in engines and engine != EngineConfig():
        raise ConfigError(
            f"engines.{DEFAULT_NAME}: the engine of [engine] is called so; choose another name, or "
            "move the keys of [engine] there"
        )
    tables = [(_table(name, engines), one) for name, one in all_engines(engine, engines).items()]
    for table, one in tables:
        if one.url is not None and one.gguf is not None:
            raise ConfigError(
                f"{table}.url and {table}.gguf are both set: one names a running engine, the other "
                "a file for the embedded one; remove one of them"
            )
    for (table, one), (other_table, other) in combinations(tables, 2):
        if one.url is not None and one.url.rstrip("/") == (other.url or "").rstrip("/"):
            raise ConfigError(
                f"{other_table}.url is that of {table} too: two schedulers would overrun one "
                f"engine; put the names of its models into {table}.models"
            )
    _check_names(engine, engines)


def _check_names(engine: EngineConfig, engines: Mapping[str, EngineConfig]) -> None:
    """No name may lead to two engines."""
    named = all_engines(engine, engines)
    taken = {name: _table(name, engines) for name in named}
    for name, one in named.items():
        table = _table(name, engines)
        for alias in one.models:
            owner = taken.setdefault(alias, f"{table}.models")
            if owner not in (table, f"{table}.models"):
                raise ConfigError(f"{table}.models: {alias!r} leads to {owner} already")


def _table(name: str, engines: Mapping[str, EngineConfig]) -> str:
    return f"engines.{name}" if name in engines else "engine"


def engine_key(name: str) -> str | None:
    """Which key of `[engine]` documents `engines.NAME.key`; `None` for any other name."""
    match name.split("."):
        case ["engines", _, key]:
            return f"engine.{key}"
    return None


def engine_names(keys: Iterable[str]) -> list[str]:
    """The names of the engines that these keys are about, in order of appearance."""
    return list(dict.fromkeys(key.split(".")[1] for key in keys if key.startswith("engines.")))
