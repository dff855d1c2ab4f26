"""One HTTP response that may turn out to be a stream, a whole body or an error."""

from __future__ import annotations

import asyncio

from stoker.api.anthropic import anthropic_problem
from stoker.api.asgi import Send, send_bytes
from stoker.api.echo import tier_echo
from stoker.api.problems import Describe, Header, id_headers
from stoker.ports import EngineAnswer
from stoker.runtime.intake import Inference

EVENT_STREAM = "text/event-stream"


class Reply:
    def __init__(self, send: Send, inference: Inference, describe: Describe) -> None:
        request = inference.request
        self._send = send
        self._id = request.id
        self._class = request.priority.label.encode()
        self._describe = describe
        self._echo = None
        if inference.is_tier_asked:
            self._echo = tier_echo(inference.endpoint, request.priority)
        self._turn = asyncio.Lock()
        """A ping is sent by another task than the answer: the start must be sent once."""
        self._is_started = False
        self._is_answered = False
        self._whole: bytes | None = None
        self._whole_start = (200, "")

    async def ping(self) -> bool:
        """Tell a client of a stream that it is not forgotten; false once it has something."""
        async with self._turn:
            if self._is_answered:
                return False
            if not self._is_started:
                await self._start(200, EVENT_STREAM, _STREAM_HEADERS)
            await self._send_piece(b": ping\n\n")
            return True

    async def stream(self, answer: EngineAnswer) -> None:
        """Pass the frames on as they come."""
        async for chunk in answer.chunks():
            if not self._is_answered:
                # Not before there is something to say: until then an error is a real HTTP error.
                await self._begin(answer.status, answer.content_type)
            await self._send_piece(chunk if self._echo is None else self._echo.frames(chunk))
        if not self._is_answered:
            await self._begin(answer.status, answer.content_type)

    async def collect(self, answer: EngineAnswer) -> None:
        """Not sent yet: while an answer is not whole, an error can still be an HTTP error."""
        body = b"".join([chunk async for chunk in answer.chunks()])
        self._whole = body if self._echo is None else self._echo.whole(body)
        self._whole_start = (answer.status, answer.content_type)

    async def end(self) -> None:
        """The answer is complete: send what has been kept back, and close."""
        async with self._turn:
            self._is_answered = True
        if self._whole is None:
            await self._send({"type": "http.response.body", "body": b""})
        elif self._is_started:
            # Pinged as a stream, and then the engine did not stream after all.
            await self._send({"type": "http.response.body", "body": _frame(self._whole)})
        else:
            status, content_type = self._whole_start
            self._is_started = True
            headers = self._headers(content_type)
            await send_bytes(self._send, status, self._whole, headers)

    async def fail(self, error: Exception) -> None:
        """Send an error: as a status where that is still possible, else as the last frame."""
        found = self._describe(error, request_id=self._id)
        async with self._turn:
            self._is_answered = True
        if not self._is_started:
            headers = [*found.headers, *self._headers(None)]
            await send_bytes(self._send, found.status, found.body, headers)
            return
        # Anthropic's clients know an error by the name of its event.
        name = b"event: error\n" if self._describe is anthropic_problem else b""
        await self._send({"type": "http.response.body", "body": name + _frame(found.body)})

    async def _begin(self, status: int, content_type: str) -> None:
        async with self._turn:
            self._is_answered = True
            if not self._is_started:
                await self._start(status, content_type, _STREAM_HEADERS)

    async def _start(self, status: int, content_type: str, extra: tuple[Header, ...]) -> None:
        self._is_started = True
        headers = [*self._headers(content_type), *extra]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _send_piece(self, piece: bytes) -> None:
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    def _headers(self, content_type: str | None) -> list[Header]:
        headers = [*id_headers(self._id), (b"x-stoker-class", self._class)]
        if content_type is not None:
            headers.append((b"content-type", content_type.encode("latin-1")))
        return headers


_STREAM_HEADERS = (
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # a proxy in front of us must not collect the tokens
)


def _frame(document: bytes) -> bytes:
    return b"data: " + b" ".join(document.splitlines()) + b"\n\n"
