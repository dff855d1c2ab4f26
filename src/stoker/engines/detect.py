"""Finds out which engine answers at an address.

What cannot be told apart is plain OpenAI, and so is another Stoker.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from stoker.core.errors import ConfigError, EngineError, EngineRefused, EngineUnreachable
from stoker.core.events import EngineSample
from stoker.core.limits import Capacity
from stoker.engines.http_client import HttpClient
from stoker.engines.llamacpp import LlamaCppDialect
from stoker.engines.openai import OpenAIDialect
from stoker.engines.openai_http import (
    DEFAULT_STALL_TIMEOUT_S,
    CapacityOverrides,
    Dialect,
    HttpEngine,
)
from stoker.engines.sglang import SglangDialect
from stoker.engines.trtllm import TrtLlmDialect
from stoker.engines.vllm import VllmDialect
from stoker.ports import Engine, EngineAnswer, EngineCall, EngineTraits


@dataclass(frozen=True, slots=True)
class _Target:
    url: str
    kind: str | None
    model: str | None
    api_key: str | None
    overrides: CapacityOverrides | None
    stall_timeout_s: float


async def connect(
    url: str,
    *,
    kind: str | None = None,
    model: str | None = None,
    api_key: str | None = None,
    overrides: CapacityOverrides | None = None,
    stall_timeout_s: float = DEFAULT_STALL_TIMEOUT_S,
) -> Engine:
    """The engine at `url`, not started yet. An explicit kind or model wins over what is found.

    Where nothing answers yet, the engine that comes back looks again at each probe.
    """
    if kind is not None and kind not in _DIALECTS:
        raise ConfigError(f"engine.kind: {kind!r} is none of {', '.join(_DIALECTS)}")
    target = _Target(url, kind, model, api_key, overrides, stall_timeout_s)
    try:
        return await _find(target)
    except EngineUnreachable:
        return LateEngine(target)


class LateEngine:
    """An engine that was not up when we first asked: found at the first probe that it answers."""

    def __init__(self, target: _Target) -> None:
        self._target = target
        self._engine: HttpEngine | None = None
        self._lock = asyncio.Lock()

    @property
    def traits(self) -> EngineTraits:
        return _UNKNOWN if self._engine is None else self._engine.traits

    async def start(self) -> None:
        """Nothing is opened before the engine is found."""

    async def stop(self) -> None:
        if self._engine is not None:
            await self._engine.stop()

    async def capacity(self) -> Capacity:
        return await (await self._found()).capacity()

    async def sample(self) -> EngineSample:
        return await (await self._found()).sample()

    async def probe(self, timeout_s: float) -> float:
        return await (await self._found()).probe(timeout_s)

    async def count_prompt_tokens(self, endpoint: str, body: bytes) -> int | None:
        return await (await self._found()).count_prompt_tokens(endpoint, body)

    async def models(self) -> tuple[int, bytes]:
        return await (await self._found()).models()

    @asynccontextmanager
    async def send(self, call: EngineCall) -> AsyncGenerator[EngineAnswer]:
        engine = await self._found()
        async with engine.send(call) as answer:
            yield answer

    async def _found(self) -> HttpEngine:
        async with self._lock:
            if self._engine is None:
                engine = await _find(self._target)
                await engine.start()
                self._engine = engine
            return self._engine


async def _find(target: _Target) -> HttpEngine:
    http = HttpClient(target.url, api_key=target.api_key)
    await http.start()
    try:
        models = await _models(http)
        kind = target.kind or await _kind(http, models)
    finally:
        await http.stop()
    return HttpEngine(
        target.url,
        _DIALECTS[kind](target.url),
        model=target.model or (models[0].id if models else None),
        api_key=target.api_key,
        overrides=target.overrides,
        stall_timeout_s=target.stall_timeout_s,
    )


async def _kind(http: HttpClient, models: list[_Model]) -> str:
    # Another Stoker repeats what its own engine says of itself, and has none of that one's pages.
    if _STOKERS_OWN in await http.headers_of("/healthz"):
        return "openai"
    return _kind_of_owner(models) or await _kind_of_metrics(http) or "openai"


async def _models(http: HttpClient) -> list[_Model]:
    try:
        return (await http.get("/v1/models", _Models)).data
    except EngineRefused as error:
        if error.status in {401, 403}:
            raise
        return []
    except EngineUnreachable:
        raise
    except EngineError:
        return []  # It answers, but not as OpenAI does.


def _kind_of_owner(models: list[_Model]) -> str | None:
    owner = models[0].owned_by if models else ""
    return _OWNERS.get(owner)


async def _kind_of_metrics(http: HttpClient) -> str | None:
    """Proxies and renamed models hide the owner; the names of the gauges stay."""
    for path in ("/metrics", "/prometheus/metrics"):
        try:
            page = await http.get_text(path)
        except EngineRefused:
            continue
        for prefix, kind in _METRIC_PREFIXES.items():
            if f"\n{prefix}" in page:
                return kind
    return None


class _Model(msgspec.Struct):
    id: str
    owned_by: str = ""


class _Models(msgspec.Struct):
    data: list[_Model]


def _openai(url: str) -> Dialect:
    host = urlsplit(url).hostname or ""
    return OpenAIDialect(is_openai=host == "openai.com" or host.endswith(".openai.com"))


_DIALECTS: dict[str, Callable[[str], Dialect]] = {
    "vllm": lambda _: VllmDialect(),
    "sglang": lambda _: SglangDialect(),
    "llamacpp": lambda _: LlamaCppDialect(),
    "trtllm": lambda _: TrtLlmDialect(),
    "openai": _openai,
}
_STOKERS_OWN = "x-stoker-request-id"
"""A header that every answer of a Stoker has, with a key and without."""
_OWNERS = {
    "vllm": "vllm",
    "sglang": "sglang",
    "llamacpp": "llamacpp",
    "tensorrt_llm": "trtllm",
}
_METRIC_PREFIXES = {
    "vllm:": "vllm",
    "sglang:": "sglang",
    "llamacpp:": "llamacpp",
    "trtllm_": "trtllm",
}
_UNKNOWN = EngineTraits(
    name="unknown", has_telemetry=False, abort_grace_s=1.5, honours_priority=False
)
