"""What was learned about engines, in one small file: a restart begins where the last life stood.

Owns the file, and which engine counts as the same one. What is learned is the core's.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import structlog

from stoker.core.errors import EngineError
from stoker.core.limits import Capacity
from stoker.core.load import LoadPredictor
from stoker.core.optimizer import Learned
from stoker.ports import Engine

log = structlog.get_logger("stoker.optimizer")

VERSION = 1
ENGINES_MAX = 8
_KV_SLACK = 0.1
"""An engine measures the RAM that is left for its KV cache at each start, and it is never the
same to the block."""
_MODELS_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class EngineIdentity:
    """What the learned numbers hold for: the kind, the model, and the flags that it was started
    with, as far as its capacity shows them.
    """

    kind: str
    model: str
    capacity: Capacity

    def is_like(self, other: EngineIdentity) -> bool:
        """Whether what was learned about one holds for the other."""
        return replace(self, capacity=_flags(self.capacity)) == replace(
            other, capacity=_flags(other.capacity)
        ) and _is_near(self.capacity.kv_tokens, other.capacity.kv_tokens)


def _flags(capacity: Capacity) -> Capacity:
    return replace(capacity, kv_tokens=None)


def _is_near(one: int | None, other: int | None) -> bool:
    if not one or not other:
        return one == other
    return abs(math.log(one / other)) <= _KV_SLACK


@dataclass(frozen=True, slots=True)
class Known:
    """Everything that was learned about one engine."""

    identity: EngineIdentity
    climbers: tuple[Learned, ...]
    service: dict[str, tuple[float, ...]]
    """The service curve's evidence."""
    lengths: tuple[tuple[tuple[str, ...], tuple[float, ...]], ...] = ()
    """How long answers get, by class, family and shape of the request."""


@dataclass(frozen=True, slots=True)
class _Document:
    version: int
    engines: tuple[Known, ...]
    """The latest first."""


@dataclass(frozen=True, slots=True)
class _Version:
    version: int


class WarmStart:
    """The file at `path`. Nothing here ever fails: without it, everything starts cold."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engines: tuple[Known, ...] | None = None
        # The last write may meet one that is still under way in its thread.
        self._lock = threading.Lock()

    def find(self, identity: EngineIdentity) -> Known | None:
        """What an earlier life learned about this engine."""
        with self._lock:
            return next((one for one in self._read() if one.identity.is_like(identity)), None)

    def save(self, known: Known) -> None:
        """Keep it in place of what was kept for the same engine."""
        with self._lock:
            others = [one for one in self._read() if not one.identity.is_like(known.identity)]
            self._engines = (known, *others)[:ENGINES_MAX]
            self._write(_Document(VERSION, self._engines))

    def _read(self) -> tuple[Known, ...]:
        if self._engines is None:
            self._engines = self._read_file()
        return self._engines

    def _read_file(self) -> tuple[Known, ...]:
        try:
            encoded = self._path.read_bytes()
        except FileNotFoundError:
            return ()
        except OSError as error:
            log.warning("warm_start_unreadable", file=str(self._path), error=str(error))
            return ()
        try:
            version = msgspec.json.decode(encoded, type=_Version).version
            if version == VERSION:
                return _plausible(msgspec.json.decode(encoded, type=_Document).engines)
            cause = f"its version is {version}, and this is {VERSION}"
        except (msgspec.DecodeError, ValueError) as error:
            cause = str(error)
        self._set_aside(cause)
        return ()

    def _set_aside(self, cause: str) -> None:
        """Whoever wrote it may want it back; here it would be overwritten."""
        aside = self._path.with_name(self._path.name + ".unreadable")
        log.warning("warm_start_set_aside", file=str(aside), cause=cause)
        try:
            self._path.replace(aside)
        except OSError as error:
            log.warning("warm_start_unreadable", file=str(self._path), error=str(error))

    def _write(self, document: _Document) -> None:
        """All or nothing: a new file takes the old one's name."""
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(msgspec.json.encode(document))
            fresh.replace(self._path)
        except OSError as error:
            log.warning("warm_start_not_saved", file=str(self._path), error=str(error))


_LOG_MAX = 50.0
"""No ceiling, batch or time is further from 1 than this, in logarithms."""


def _plausible(engines: tuple[Known, ...]) -> tuple[Known, ...]:
    """The same. Raises `ValueError` for numbers that no life has written."""
    for known in engines:
        for one in known.climbers:
            if not abs(one.position) <= _LOG_MAX or not 0.0 <= one.tokens < math.inf:
                raise ValueError(f"{one} is no place of a climber")
        for name, values in known.service.items():
            if not _is_evidence(name, values):
                raise ValueError(f"{name} {values} is no evidence of a service curve")
        LoadPredictor().restore(known.lengths)
    return engines


def _is_evidence(name: str, values: tuple[float, ...]) -> bool:
    kind, _, index = name.partition(".")
    if kind == "step" and len(values) == 3:
        samples, *logs = values
        is_index = index.removeprefix("-").isdecimal()
        return is_index and samples > 0.0 and all(abs(log) <= _LOG_MAX for log in logs)
    return name == "prefill" and len(values) == 6 and all(0.0 < one < math.inf for one in values)


async def identify(engine: Engine, capacity: Capacity) -> EngineIdentity:
    """Which engine this is. One that does not name its models is told by its capacity alone."""
    try:
        async with asyncio.timeout(_MODELS_TIMEOUT_S):
            status, body = await engine.models()
    except (EngineError, TimeoutError):
        status, body = 0, b""
    names = ",".join(_model_names(body)) if status == 200 else ""
    return EngineIdentity(engine.traits.name, names, capacity)


@dataclass(frozen=True, slots=True)
class _Model:
    id: str


@dataclass(frozen=True, slots=True)
class _Models:
    data: tuple[_Model, ...]


def _model_names(body: bytes) -> Iterator[str]:
    try:
        yield from (model.id for model in msgspec.json.decode(body, type=_Models).data)
    except msgspec.DecodeError:
        return
