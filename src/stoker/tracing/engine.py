"""An engine whose calls are spans, and who is told which trace a call belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter
from urllib.parse import urlsplit

import msgspec
from opentelemetry import propagate
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from stoker.core.work import Usage
from stoker.engines.http_client import trace_headers
from stoker.ports import Addressed, Checkpoint, Engine, EngineAnswer, EngineCall
from stoker.runtime.endpoints import CHAT, COMPLETIONS, EMBEDDINGS
from stoker.tracing.stories import usage_attributes

_OPERATIONS = {CHAT: "chat", COMPLETIONS: "text_completion", EMBEDDINGS: "embeddings"}
_OTHER_OPERATION = "chat"
"""Responses and Anthropic's messages are chats too."""


class TracedCalls:
    """Sends through `engine`, each call in a span of its own."""

    def __init__(self, engine: Engine, name: str, tracer: Tracer) -> None:
        self._engine = engine
        self._name = name
        self._tracer = tracer

    @asynccontextmanager
    async def send(self, call: EngineCall) -> AsyncGenerator[EngineAnswer]:
        """The engine's own, with its errors."""
        asked = _asked(call.body)
        operation = _OPERATIONS.get(call.endpoint, _OTHER_OPERATION)
        title = f"{operation} {asked.model}" if asked.model else operation
        with self._tracer.start_as_current_span(
            title,
            kind=SpanKind.CLIENT,
            attributes=self._attributes(call, asked, operation),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            token = trace_headers.set(_header_lines())
            try:
                async with self._engine.send(call) as answer:
                    traced = _TracedAnswer(answer, span)
                    yield traced
                    traced.note_end()
            except asyncio.CancelledError:
                span.add_event("hung_up")
                raise
            except Exception as error:
                span.set_attribute("error.type", getattr(error, "code", type(error).__name__))
                span.set_status(Status(StatusCode.ERROR, str(error)[:200]))
                raise
            finally:
                trace_headers.reset(token)

    def _attributes(
        self, call: EngineCall, asked: _Asked, operation: str
    ) -> dict[str, str | int | float | bool]:
        found: dict[str, str | int | float | bool | None] = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": self._engine.traits.name,
            "gen_ai.request.model": asked.model,
            "gen_ai.request.max_tokens": asked.most_tokens,
            "gen_ai.request.temperature": asked.temperature,
            "gen_ai.request.top_p": asked.top_p,
            "gen_ai.request.stream": bool(asked.stream) or call.is_collected,
            "stoker.engine": self._name,
            "stoker.request.id": call.request_id,
        }
        if isinstance(self._engine, Addressed):
            parts = urlsplit(self._engine.url)
            found |= {"server.address": parts.hostname, "server.port": parts.port}
        return {name: value for name, value in found.items() if value is not None}


class _TracedAnswer:
    """`ports.EngineAnswer`, with the span told what comes through."""

    def __init__(self, answer: EngineAnswer, span: Span) -> None:
        self._answer = answer
        self._span = span
        self._began_at = perf_counter()
        self.status = answer.status
        self.content_type = answer.content_type
        self.is_stream = answer.is_stream

    @property
    def output_tokens(self) -> int:
        return self._answer.output_tokens

    @property
    def usage(self) -> Usage | None:
        return self._answer.usage

    async def chunks(self) -> AsyncIterator[bytes]:
        is_first = True
        async for chunk in self._answer.chunks():
            if is_first and self._answer.output_tokens:
                is_first = False
                self._span.add_event("first_token")
                self._span.set_attribute(
                    "gen_ai.response.time_to_first_chunk", perf_counter() - self._began_at
                )
            yield chunk

    def body(self) -> bytes:
        return self._answer.body()

    def checkpoint(self) -> Checkpoint | None:
        return self._answer.checkpoint()

    def note_end(self) -> None:
        self._span.set_attribute("http.response.status_code", self.status)
        if self._answer.usage is not None:
            self._span.set_attributes(usage_attributes(self._answer.usage))


class _Asked(msgspec.Struct):
    """What of a body the conventions have names for. Texts are never read."""

    model: str | None = None
    stream: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None

    @property
    def most_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_output_tokens or self.max_tokens


def _asked(body: bytes) -> _Asked:
    try:
        return msgspec.json.decode(body, type=_Asked)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Asked()


def _header_lines() -> bytes:
    """`traceparent` and what goes with it, of the current span."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return "".join(f"{name}: {value}\r\n" for name, value in carrier.items()).encode("latin-1")
