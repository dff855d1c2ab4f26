"""Where settings come from: a TOML file, then the environment, then flags; the later wins.

Every value is checked where it is read, so that an error can say where it was set.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from stoker.config import Config, key_of, keys, parse_value
from stoker.core.errors import ConfigError
from stoker.engine_config import EngineConfig, check_name, engine_key, engine_names

_ENV_PREFIX = "STOKER_"
EMBEDDED = "embedded"
"""In place of a table, or of an address: an embedded engine with nothing set."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Settings:
    """A configuration, and where each of its keys was set."""

    config: Config
    origins: Mapping[str, str]
    """Key to place: `stoker.toml:engine.url`, `$STOKER_ENGINE__URL`, `--engine`; or `default`."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A value given on the command line, with the flag's own name for messages."""

    option: str
    value: object


def load(
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Flag] | None = None,
) -> Settings:
    """Read every source and build the configuration. Raises `ConfigError`."""
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    origins = dict.fromkeys(keys(), "default")
    for name, value, origin, is_text in _raw_values(file, environ, flags or {}):
        if _is_engine(name):
            values |= _declared(name, value, origin)
            continue
        values[name] = parse_value(_known(name, origin), value, origin=origin, is_text=is_text)
        origins[name] = origin
    return Settings(_build(Config, values), origins)


def _raw_values(
    file: Path | None, environ: Mapping[str, str], flags: Mapping[str, Flag]
) -> Iterator[tuple[str, object, str, bool]]:
    path = _find_file(file, environ)
    if path is not None:
        for name, value in _flatten(_read_toml(path)):
            yield name, value, f"{path}:{name}", False
    for variable in sorted(environ):
        key = _env_key(variable)
        if key is not None:
            yield key, environ[variable], f"${variable}", True
    for key, flag in flags.items():
        yield key, flag.value, flag.option, True


def _find_file(file: Path | None, environ: Mapping[str, str]) -> Path | None:
    if file is not None:
        return file
    named = environ.get("STOKER_CONFIG")
    if named:
        return Path(named)
    home = environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    candidates = (Path("stoker.toml"), Path(home) / "stoker" / "stoker.toml")
    return next((path for path in candidates if path.is_file()), None)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict) and prefix + name not in keys():
            # An empty unknown table must not pass unseen; an engine's may be empty.
            if prefix == "engines." or (not value and prefix + name not in _sections()):
                yield prefix + name, value
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _declared(name: str, value: object, origin: str) -> dict[str, object]:
    """The table of an engine: it may be empty, as an embedded engine needs no key."""
    check_name(name.removeprefix("engines."), origin)
    if value != EMBEDDED and not isinstance(value, dict):
        raise ConfigError(f"{name} ({origin}): an engine is a table of keys; set {name}.url")
    return {name: EMBEDDED}


def _is_engine(name: str) -> bool:
    return name.startswith("engines.") and name.count(".") == 1


def _sections() -> set[str]:
    return {"engines"} | {name.partition(".")[0] for name in keys() if "." in name}


def _env_key(variable: str) -> str | None:
    """The key that a variable sets; `None` where it is not ours.

    Without `__` only known names count: an orchestrator injects `STOKER_PORT`,
    `STOKER_SERVICE_HOST` and the like for a service of our name.
    """
    if not variable.startswith(_ENV_PREFIX):
        return None
    name = variable.removeprefix(_ENV_PREFIX).lower().replace("__", ".")
    return name if "." in name or name in keys() else None


def _known(name: str, origin: str) -> str:
    of_engine = engine_key(name)
    if key_of(name) is not None:
        if of_engine is not None:
            check_name(name.split(".")[1], origin)
        return name
    known = [*keys(), *_sections()]
    near = difflib.get_close_matches(of_engine or name, known, n=1, cutoff=0.5)
    found = [one if of_engine is None else one.rpartition(".")[2] for one in near]
    hint = f"; did you mean {found[0]}?" if found else "; see docs/reference/configuration.md"
    raise ConfigError(f"{name} ({origin}): no such key{hint}")


def _build(cls: type[_T], values: Mapping[str, Any], prefix: str = "") -> _T:
    hints = get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for item in fields(cls):  # type: ignore[arg-type]
        name = prefix + item.name
        if name == "engines":
            arguments[name] = {
                one: _build(EngineConfig, values, f"engines.{one}.") for one in engine_names(values)
            }
        elif is_dataclass(hints[item.name]):
            arguments[item.name] = _build(hints[item.name], values, name + ".")
        elif name in values:
            arguments[item.name] = values[name]
    return cls(**arguments)
