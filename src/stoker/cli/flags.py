"""Which keys of the configuration the options of a command set."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from stoker.core.errors import ConfigError
from stoker.settings import EMBEDDED, Flag


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
