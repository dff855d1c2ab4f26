"""What the fabric shows of itself: health, readiness, metrics, state, stories, live events."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from stoker.api.access import caller_of, check_visible
from stoker.api.answers import JSON, json_answer
from stoker.api.asgi import Receive, Scope, Send, send_problem, while_connected
from stoker.api.metrics import Metrics
from stoker.api.openapi import openapi_document
from stoker.api.query import number
from stoker.api.state import state_document, story_document
from stoker.api.wire import encode
from stoker.core.errors import InvalidRequest, ModelNotFound, NotFound
from stoker.core.snapshot import Story
from stoker.core.work import JobId
from stoker.fabric import EngineSnapshot, Fabric
from stoker.runtime.recorder import LoggedEvent, Subscription

HEARTBEAT_S = 10.0
RECENT_MAX = 1000


@dataclass(frozen=True, slots=True)
class Views:
    """Endpoints over one fabric."""

    fabric: Fabric
    metrics: Metrics

    async def healthz(self, request: Request) -> Response:
        """The process answers; nothing more is claimed."""
        return Response(b'{"status":"ok"}', media_type=JSON)

    async def readyz(self, request: Request) -> Response:
        """Whether work would be served now: an engine answers, and we are not shutting down."""
        snapshot = self.fabric.snapshot()
        is_draining = snapshot.scheduler.is_draining
        engines = {
            name: _readiness(one, is_draining=is_draining) for name, one in snapshot.engines.items()
        }
        is_ready = any(one["status"] == _READY for one in engines.values())
        # What was always there says the default engine's, with the word on all of them.
        document = {
            **engines[snapshot.default],
            "status": _READY if is_ready else _NOT_READY,
            "engines": engines,
        }
        return json_answer(document, 200 if is_ready else 503)

    async def prometheus(self, request: Request) -> Response:
        return Response(
            self.metrics.exposition(),
            media_type="text/plain; version=0.0.4; charset=utf-8",
        )

    async def openapi(self, request: Request) -> Response:
        """What all routes take and answer."""
        return Response(openapi_document(), media_type=JSON)

    async def models(self, request: Request) -> Response:
        """The only engine's list, verbatim; or that of all, merged."""
        status, body = await self.fabric.models()
        return Response(body, status, media_type=JSON)

    async def model(self, request: Request) -> Response:
        """One entry of that list, verbatim. Raises `ModelNotFound`."""
        status, body = await self.fabric.models()
        if status != 200:
            return Response(body, status, media_type=JSON)
        return Response(named_model(body, request.path_params["model"]), media_type=JSON)

    async def state(self, request: Request) -> Response:
        return json_answer(state_document(self.fabric.snapshot()))

    async def explain(self, request: Request) -> Response:
        story = await self.fabric.explain(request.path_params["id"])
        if caller_of(request.scope).sees is not None:
            unknown = f"no job {story.id}, and no request of it is remembered"
            check_visible(request.scope, await self._tenant_of(story), unknown)
        return json_answer(story_document(story))

    async def _tenant_of(self, story: Story) -> str:
        """Whose the request or the job is."""
        if story.request is not None:
            return story.request.tenant
        try:
            return (await self.fabric.jobs.get(JobId(story.id))).tenant
        except NotFound:
            arrival = story.entries[0].fields if story.entries else {}
            return str(arrival.get("tenant", ""))


_READY, _NOT_READY = "ready", "not_ready"


def _readiness(snapshot: EngineSnapshot, *, is_draining: bool) -> dict[str, object]:
    engine = snapshot.engine
    is_ready = engine.is_ready and not is_draining
    cause = "shutting down" if is_draining else engine.cause
    return {
        "status": _READY if is_ready else _NOT_READY,
        "reason": None if is_ready else cause,
        "engine": engine.name,
        "probe_s": engine.probe_s,
    }


@dataclass(frozen=True, slots=True)
class Events:
    """An ASGI application: events as they happen, as server-sent events."""

    fabric: Fabric
    closing: asyncio.Event

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            recent = number(Request(scope), "recent", 0, least=0)
        except InvalidRequest as error:
            await send_problem(send, error, request_id=self.fabric.new_request_id())
            return
        async with while_connected(scope, receive, closing=self.closing):
            await self._follow(send, int(min(recent, RECENT_MAX)))
        await send({"type": "http.response.body", "body": b""})

    async def _follow(self, send: Send, recent: int) -> None:
        with self.fabric.log.subscribe() as subscription:
            past = self.fabric.log.recent(recent) if recent else []
            await send({"type": "http.response.start", "status": 200, "headers": _SSE_HEADERS})
            await _send_events(send, past)
            while True:
                await _send_events(send, await _next_batch(subscription))


def named_model(models: bytes, name: str) -> bytes:
    """The entry of a list of models that has this id, or this other name."""
    for entry in msgspec.json.decode(models, type=_Models).data:
        model = msgspec.json.decode(entry, type=_Model)
        if name == model.id or name in model.aliases:
            return bytes(entry)
    raise ModelNotFound(f"the model {name[:200]!r} is not served here; GET /v1/models lists them")


class _Model(msgspec.Struct):
    id: str = ""
    aliases: list[str] = []


class _Models(msgspec.Struct):
    data: list[msgspec.Raw] = []


async def _next_batch(subscription: Subscription) -> list[LoggedEvent]:
    try:
        async with asyncio.timeout(HEARTBEAT_S):
            first = await anext(subscription)
    except TimeoutError:
        return []
    return [first, *subscription.take()]


async def _send_events(send: Send, events: list[LoggedEvent]) -> None:
    frames = b"".join(_frame(event) for event in events) or b": \n\n"
    await send({"type": "http.response.body", "body": frames, "more_body": True})


def _frame(event: LoggedEvent) -> bytes:
    data = encode({"at": event.at, **event.fields})
    return f"id: {event.seq}\nevent: {event.kind}\ndata: ".encode() + data + b"\n\n"


_SSE_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
