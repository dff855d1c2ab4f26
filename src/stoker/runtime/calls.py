"""One inference call from admission to its last byte: the path that every class of work takes.

Waits for a turn, opens the engine's answer, reports first token, progress and end, and tells the
monitor what the engine has just proved. Leaving early, for whatever cause, frees the slot and
hangs up.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import msgspec

from stoker.core.errors import EngineInterrupted, EngineUnreachable
from stoker.core.work import Request, Usage
from stoker.ports import Checkpoint, Clock, Engine, EngineAnswer, EngineCall
from stoker.runtime.dispatcher import Dispatcher, Permit
from stoker.runtime.engine_monitor import EngineMonitor
from stoker.runtime.meter import Finished, Meter
from stoker.runtime.served_models import ServedModels


class MeteredAnswer:
    """`ports.EngineAnswer`, with the permit told what comes through."""

    def __init__(self, answer: EngineAnswer, permit: Permit) -> None:
        self._answer = answer
        self._permit = permit
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

    async def chunks(self) -> AsyncIterator[bytes]:
        answer, permit = self._answer, self._permit
        async for chunk in answer.chunks():
            # A role frame or a ping is no token: some engines send them before the prompt is read.
            if answer.output_tokens:
                permit.first_token()
                permit.tokens = answer.output_tokens
            yield chunk
        permit.first_token()
        self.is_ended = True

    def body(self) -> bytes:
        return self._answer.body()

    def checkpoint(self) -> Checkpoint | None:
        return self._answer.checkpoint()


class Calls:
    def __init__(
        self,
        engine: Engine,
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

    @asynccontextmanager
    async def open(self, request: Request, call: EngineCall) -> AsyncGenerator[MeteredAnswer]:
        """Raises `Rejected`, `Preempted` (background jobs) and `EngineError`."""
        arrived_at = self._clock.monotonic()
        async with self._dispatcher.admit(request) as permit:
            if call.model is not None:  # only now: an engine that was down has said by now
                body = self._served.renamed(call.body, call.model)
                call = replace(call, body=body, model=None)
            try:
                async with self._engine.send(call) as answer:
                    metered = MeteredAnswer(answer, permit)
                    yield metered
                    if metered.is_ended:
                        permit.finished(_own_usage(answer.usage, call.checkpoint))
                        self._note(permit, arrived_at, is_stream=metered.is_stream)
            except (EngineUnreachable, EngineInterrupted):
                self._monitor.doubt()
                raise

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
