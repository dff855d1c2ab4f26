"""The hot path: a body comes in, waits for its turn, and the engine's bytes go out.

One request is one task from socket to socket. It owns its place in the queue, its slot and its
engine connection by `async with`; a client that hangs up, waiting or running, cancels the task, and
there is no other way by which any of them is given back.
"""

from __future__ import annotations

from dataclasses import dataclass

from stoker.api.asgi import (
    ClientGone,
    Receive,
    Scope,
    Send,
    read_body,
    send_bytes,
    send_problem,
    while_connected,
)
from stoker.api.problems import Header, problem
from stoker.core.work import Priority, Request
from stoker.fabric import Fabric
from stoker.ports import EngineAnswer
from stoker.runtime import intake


@dataclass(frozen=True, slots=True)
class InferenceEndpoint:
    """An ASGI application for one inference route."""

    fabric: Fabric
    priority: Priority
    """Of every request, or the default where `service_tier` picks the class."""
    endpoint: str | None = None
    """The engine's path; `None` means that the body tells."""
    has_tier: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fabric = self.fabric
        request_id = fabric.new_request_id()
        try:
            body = await read_body(scope, receive, max_bytes=fabric.config.server.body_max_bytes)
            inference = intake.parse(
                body,
                endpoint=self.endpoint,
                priority=self.priority,
                request_id=request_id,
                now=fabric.clock.monotonic(),
                has_tier=self.has_tier,
            )
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 - the task's boundary: logged and answered
            await send_problem(send, error, request_id=request_id)
            return
        reply = _Reply(send, inference.request)
        async with while_connected(receive):
            await self._answer(inference, reply)

    async def _answer(self, inference: intake.Inference, reply: _Reply) -> None:
        try:
            async with self.fabric.infer(inference) as answer:
                if answer.is_stream:
                    await reply.stream(answer)
                else:
                    await reply.collect(answer)
            # Outside the block: the slot is free before the client has read the end.
            await reply.end()
        except Exception as error:  # noqa: BLE001 - the task's boundary: logged and answered
            await reply.fail(error)


class _Reply:
    """One HTTP response that may turn out to be a stream, a whole body or an error."""

    def __init__(self, send: Send, request: Request) -> None:
        self._send = send
        self._id = request.id
        self._priority = request.priority
        self._is_started = False
        self._whole: bytes | None = None
        self._whole_start = (200, "")

    async def stream(self, answer: EngineAnswer) -> None:
        async for chunk in answer.chunks():
            if not self._is_started:
                # Not before there is something to say: until then an error is a real HTTP error.
                await self._start(answer.status, answer.content_type, _STREAM_HEADERS)
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        if not self._is_started:
            await self._start(answer.status, answer.content_type, _STREAM_HEADERS)

    async def collect(self, answer: EngineAnswer) -> None:
        """Not sent yet: while an answer is not whole, an error can still be an HTTP error."""
        self._whole = b"".join([chunk async for chunk in answer.chunks()])
        self._whole_start = (answer.status, answer.content_type)

    async def end(self) -> None:
        if self._whole is None:
            await self._send({"type": "http.response.body", "body": b""})
            return
        status, content_type = self._whole_start
        self._is_started = True
        await send_bytes(self._send, status, self._whole, self._headers(content_type))

    async def fail(self, error: Exception) -> None:
        found = problem(error, request_id=self._id)
        if not self._is_started:
            headers = [*found.headers, *self._headers(None)]
            await send_bytes(self._send, found.status, found.body, headers)
            return
        # Too late for a status: the last frame of the stream says what happened.
        frame = b"data: " + found.body + b"\n\n"
        await self._send({"type": "http.response.body", "body": frame})

    async def _start(self, status: int, content_type: str, extra: tuple[Header, ...]) -> None:
        self._is_started = True
        headers = [*self._headers(content_type), *extra]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    def _headers(self, content_type: str | None) -> list[Header]:
        headers = [
            (b"x-stoker-request-id", self._id.encode()),
            (b"x-stoker-class", self._priority.label.encode()),
        ]
        if content_type is not None:
            headers.append((b"content-type", content_type.encode("latin-1")))
        return headers


_STREAM_HEADERS = (
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # a proxy in front of us must not collect the tokens
)
