"""`ports.Engine` over HTTP. All engines share it; a `Dialect` says in what they differ."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from stoker.core.errors import (
    EngineError,
    EngineInterrupted,
    EngineRefused,
    EngineUnreachable,
    InvalidRequest,
)
from stoker.core.events import EngineSample
from stoker.core.limits import Capacity
from stoker.core.work import Priority, RequestId
from stoker.engines import collect
from stoker.engines.answers import (
    EVENT_STREAM,
    CollectedAnswer,
    Frames,
    GatheredAnswer,
    HttpAnswer,
    PlainAnswer,
    SpentAnswer,
    StreamedAnswer,
    Wire,
)
from stoker.engines.bodies import MESSAGES, RESPONSES, Outbound, prepare
from stoker.engines.bodies import Wire as BodyWire
from stoker.engines.http1 import Answer, Broken
from stoker.engines.http_client import HttpClient, base_url
from stoker.engines.mended_events import Mending, MessageEvents, ResponseEvents
from stoker.engines.placement import SlotPlacement
from stoker.ports import Checkpoint, EngineAnswer, EngineCall, EngineTraits

DEFAULT_STALL_TIMEOUT_S = 120.0
_ABORT_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class CapacityOverrides:
    """Limits that the configuration knows better than the engine's own answers."""

    requests: int | None = None
    kv_tokens: int | None = None
    context_tokens: int | None = None
    prefill_tokens_per_step: int | None = None

    def apply(self, capacity: Capacity) -> Capacity:
        """`capacity` with every number that is set here."""
        return Capacity(
            requests=self.requests or capacity.requests,
            kv_tokens=self.kv_tokens or capacity.kv_tokens,
            context_tokens=self.context_tokens or capacity.context_tokens,
            prefill_tokens_per_step=(
                self.prefill_tokens_per_step or capacity.prefill_tokens_per_step
            ),
        )


class Dialect(Protocol):
    """What one kind of engine does in its own way."""

    @property
    def traits(self) -> EngineTraits: ...
    @property
    def wire(self) -> BodyWire: ...
    @property
    def probe(self) -> tuple[str, bytes]:
        """Endpoint and body of its smallest completion."""

    @property
    def placement(self) -> SlotPlacement | None:
        """Where calls are put, for a server that lets us choose."""

    async def capacity(self, http: HttpClient) -> Capacity: ...
    async def sample(self, http: HttpClient) -> EngineSample: ...
    async def count_prompt_tokens(
        self, http: HttpClient, endpoint: str, body: bytes
    ) -> int | None: ...
    async def abort(self, http: HttpClient, id: RequestId) -> None:
        """Do what is needed beyond hanging up."""


class HttpEngine:
    """An engine behind an address. Leaving `send` early closes the connection: that aborts it."""

    def __init__(
        self,
        url: str,
        dialect: Dialect,
        *,
        model: str | None = None,
        api_key: str | None = None,
        overrides: CapacityOverrides | None = None,
        stall_timeout_s: float = DEFAULT_STALL_TIMEOUT_S,
    ) -> None:
        self._http = HttpClient(url, api_key=api_key)
        self._dialect = dialect
        self._model = model
        self._overrides = overrides or CapacityOverrides()
        self._stall_timeout_s = stall_timeout_s

    @property
    def url(self) -> str:
        """Where the engine answers."""
        return self._http.url

    def move(self, url: str) -> None:
        """Talk to another address from now on: the same engine, started anew."""
        self._http.url = base_url(url)

    @property
    def traits(self) -> EngineTraits:
        return self._dialect.traits

    @property
    def placement(self) -> SlotPlacement | None:
        """Where calls are put, if that is ours to choose."""
        return self._dialect.placement

    async def start(self) -> None:
        await self._http.start()

    async def stop(self) -> None:
        await self._http.stop()

    async def capacity(self) -> Capacity:
        return self._overrides.apply(await self._dialect.capacity(self._http))

    async def sample(self) -> EngineSample:
        return await self._dialect.sample(self._http)

    async def probe(self, timeout_s: float) -> float:
        endpoint, body = self._dialect.probe
        call = EngineCall(RequestId("stoker-probe"), endpoint, body, Priority.P0)
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        try:
            async with asyncio.timeout(timeout_s), self.send(call) as answer:
                async for _ in answer.chunks():
                    pass
        except TimeoutError as error:
            raise EngineUnreachable(f"no completion within {timeout_s:g} s") from error
        return loop.time() - began_at

    async def count_prompt_tokens(self, endpoint: str, body: bytes) -> int | None:
        return await self._dialect.count_prompt_tokens(self._http, endpoint, body)

    async def models(self) -> tuple[int, bytes]:
        try:
            return 200, await self._http.get_bytes("/v1/models")
        except EngineRefused as error:
            return error.status, error.body

    def send(self, call: EngineCall) -> AbstractAsyncContextManager[EngineAnswer]:
        return _Sending(self, call)

    async def open(self, call: EngineCall, outbound: Outbound) -> Wire:
        """The answer from its head on; an error status is raised."""
        response = await self._http.open(call.endpoint, outbound.body)
        try:
            await _raise_for_status(response)
        except BaseException:
            response.close()
            raise
        return Wire(response, stall_timeout_s=self._stall_timeout_s)

    def prepare(self, call: EngineCall, slot: int | None) -> Outbound:
        """The body as this engine is sent it. Raises `InvalidRequest`."""
        return prepare(call, self._dialect.wire, model=self._model, slot=slot)

    def answer(self, wire: Wire, outbound: Outbound, call: EngineCall) -> HttpAnswer:
        if not wire.content_type.startswith(EVENT_STREAM):
            return PlainAnswer(wire)
        frames = Frames(wire, call.endpoint, mending=self._mending(call))
        if not outbound.is_assembled:
            return StreamedAnswer(wire, outbound, frames)
        is_prefill_echoed = self._dialect.wire.is_prefill_echoed
        collected = CollectedAnswer(
            wire, outbound, frames, call.endpoint, is_prefill_echoed=is_prefill_echoed
        )
        return collected if call.is_collected else GatheredAnswer(collected)

    def _mending(self, call: EngineCall) -> Mending | None:
        if not self._dialect.wire.are_events_mended:
            return None
        if call.endpoint == RESPONSES:
            return ResponseEvents()
        return MessageEvents(call.request_id) if call.endpoint == MESSAGES else None

    async def abort(self, id: RequestId) -> None:
        """Do what is needed beyond hanging up."""
        # The engine may be gone, and then there is nothing left to abort.
        with suppress(EngineError, TimeoutError):
            async with asyncio.timeout(_ABORT_TIMEOUT_S):
                await self._dialect.abort(self._http, id)


class _Sending:
    """One call while its block runs. No generator: this is entered for every request."""

    __slots__ = ("_call", "_engine", "_is_ended", "_slot", "_wire")

    def __init__(self, engine: HttpEngine, call: EngineCall) -> None:
        self._engine = engine
        self._call = call
        self._slot: int | None = None
        self._wire: Wire | None = None
        self._is_ended = False

    async def __aenter__(self) -> EngineAnswer:
        engine, call, placement = self._engine, self._call, self._engine.placement
        if placement is not None:
            self._slot = placement.take(call.priority)
        try:
            outbound = engine.prepare(call, self._slot)
            if outbound.is_spent and outbound.checkpoint is not None:
                self._is_ended = True
                return _spent(call, outbound.checkpoint)
            self._wire = await engine.open(call, outbound)
            return engine.answer(self._wire, outbound, call)
        except BaseException as error:
            await self._leave(error)
            raise

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self._leave(error)

    async def _leave(self, error: BaseException | None) -> None:
        wire, placement = self._wire, self._engine.placement
        if wire is not None:
            self._is_ended = wire.is_ended and error is None
            # One that ended has given its connection back already; any other is hung up.
            wire.close()
        is_ended = self._is_ended or isinstance(error, EngineRefused | InvalidRequest)
        if placement is not None and self._slot is not None:
            placement.give_back(self._slot, is_idle=is_ended)
        if not is_ended:
            await self._engine.abort(self._call.request_id)


def _spent(call: EngineCall, kept: Checkpoint) -> SpentAnswer:
    return SpentAnswer(collect.spent(call.endpoint, call.body, kept, call.request_id), kept)


async def _raise_for_status(response: Answer) -> None:
    if response.status < 400:
        return
    try:
        body = await response.read()
    except Broken as error:
        raise EngineInterrupted(f"the answer broke off: {error}") from error
    told = response.headers.get("retry-after", "")
    raise EngineRefused(
        response.status,
        body,
        response.headers.get("content-type", ""),
        retry_after_s=float(told) if told.isdecimal() else None,
    )
