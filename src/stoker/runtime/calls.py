"""One inference call from admission to its last byte: the path that every class of work takes.

Waits for a turn, opens the engine's answer, reports first token, progress and end, and tells the
monitor what the engine has just proved. Leaving early, for whatever cause, frees the slot and
hangs up.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from types import TracebackType
from typing import Any, Protocol

import msgspec

from stoker.core.errors import EngineInterrupted, EngineUnreachable
from stoker.core.work import Request, Usage
from stoker.ports import Checkpoint, Clock, EngineAnswer, EngineCall
from stoker.runtime.dispatcher import Admission, Dispatcher, Permit
from stoker.runtime.engine_monitor import EngineMonitor
from stoker.runtime.meter import Finished, Meter
from stoker.runtime.served_models import ServedModels


class MeteredAnswer:
    """`ports.EngineAnswer`, with the permit told what comes through."""

    def __init__(self, answer: EngineAnswer, permit: Permit) -> None:
        self._answer = answer
        self._permit = permit
        self._chunks = aiter(answer.chunks())
        self.status = answer.status
        self.content_type = answer.content_type
        self.is_stream = answer.is_stream
        self.is_ended = False
        """Whether the last chunk has come."""

    @property
    def output_tokens(self) -> int:
        return self._answer.output_tokens

    @property
    def usage(self) -> Usage | None:
        return self._answer.usage

    def chunks(self) -> MeteredAnswer:
        return self

    def __aiter__(self) -> MeteredAnswer:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            self._permit.first_token()
            self.is_ended = True
            raise
        # A role frame or a ping is no token: some engines send them before the prompt is read.
        if tokens := self._answer.output_tokens:
            self._permit.first_token()
            self._permit.tokens = tokens
        return chunk

    def body(self) -> bytes:
        return self._answer.body()

    def checkpoint(self) -> Checkpoint | None:
        return self._answer.checkpoint()


class Sender(Protocol):
    """What of an engine is needed to call it."""

    def send(self, call: EngineCall) -> AbstractAsyncContextManager[EngineAnswer]: ...


class Calls:
    def __init__(
        self,
        engine: Sender,
        dispatcher: Dispatcher,
        monitor: EngineMonitor,
        meter: Meter,
        clock: Clock,
        *,
        served: ServedModels,
    ) -> None:
        self._engine = engine
        self._served = served
        self._dispatcher = dispatcher
        self._monitor = monitor
        self._meter = meter
        self._clock = clock

    def open(
        self, request: Request, call: EngineCall
    ) -> AbstractAsyncContextManager[MeteredAnswer]:
        """Raises `Rejected`, `Preempted` (background jobs) and `EngineError`."""
        return _Open(self, request, call)

    def admit(self, request: Request) -> Admission:
        """Wait for a turn."""
        return self._dispatcher.admit(request)

    def send(self, call: EngineCall) -> AbstractAsyncContextManager[EngineAnswer]:
        """Open the engine's answer."""
        if call.model is not None:  # only now: an engine that was down has said by now
            body = self._served.renamed(call.body, call.model)
            call = replace(call, body=body, model=None)
        return self._engine.send(call)

    def finished(
        self, permit: Permit, usage: Usage | None, arrived_at: float, *, is_stream: bool
    ) -> None:
        """An answer is complete."""
        permit.finished(usage)
        self._note(permit, arrived_at, is_stream=is_stream)

    def failed(self, error: BaseException) -> None:
        """The engine may be the cause: look."""
        if isinstance(error, EngineUnreachable | EngineInterrupted):
            self._monitor.doubt()

    def now(self) -> float:
        return self._clock.monotonic()

    def _note(self, permit: Permit, arrived_at: float, *, is_stream: bool) -> None:
        now, first = self._clock.monotonic(), permit.first_token_at
        itl_s = None
        if is_stream and first is not None and permit.usage is not None:
            gaps = permit.usage.output_tokens - 1
            itl_s = (now - first) / gaps if gaps > 0 else None
        self._monitor.note_completed()
        self._meter.note(
            Finished(
                at=now,
                id=permit.request.id,
                tenant=permit.request.tenant,
                priority=permit.request.priority,
                queued_s=permit.admitted_at - arrived_at,
                ttft_s=None if first is None else first - arrived_at,
                e2e_s=now - arrived_at,
                usage=permit.usage,
                itl_s=itl_s,
            )
        )


class _Open:
    """A call while its block runs. No generator: this is entered for every request."""

    __slots__ = ("_admission", "_arrived_at", "_call", "_calls", "_metered", "_permit", "_sending")

    def __init__(self, calls: Calls, request: Request, call: EngineCall) -> None:
        self._calls = calls
        self._call = call
        self._arrived_at = calls.now()
        self._admission = calls.admit(request)

    async def __aenter__(self) -> MeteredAnswer:
        self._permit = await self._admission.__aenter__()
        try:
            self._sending = self._calls.send(self._call)
            answer = await self._sending.__aenter__()
        except BaseException as error:
            self._calls.failed(error)
            await self._admission.__aexit__(type(error), error, error.__traceback__)
            raise
        self._metered = MeteredAnswer(answer, self._permit)
        return self._metered

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            metered = self._metered
            if error is None and metered.is_ended:
                usage = _own_usage(metered.usage, self._call.checkpoint)
                self._calls.finished(
                    self._permit, usage, self._arrived_at, is_stream=metered.is_stream
                )
            await self._sending.__aexit__(kind, error, traceback)
        except BaseException as late:  # a cancellation, while it was hung up
            await self._admission.__aexit__(type(late), late, late.__traceback__)
            raise
        if error is not None:
            self._calls.failed(error)
        await self._admission.__aexit__(kind, error, traceback)


def parsed_frames(chunk: bytes) -> Iterator[dict[str, Any]]:
    """The JSON documents in a chunk of whole server-sent events."""
    for line in chunk.splitlines():
        if line.startswith(b"data:"):
            data = line[5:].strip()
            if data and data != b"[DONE]":
                yield msgspec.json.decode(data)


def _own_usage(usage: Usage | None, kept: Checkpoint | None) -> Usage | None:
    """What this run alone took: lengths are learned per run, with `resumed_tokens` beside them."""
    if usage is None or kept is None:
        return usage
    return replace(usage, output_tokens=max(0, usage.output_tokens - kept.output_tokens))
