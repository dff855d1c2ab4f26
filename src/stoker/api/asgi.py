"""Plain ASGI: read a body with a limit, answer with JSON, and notice a client that hangs up.

No middleware wraps `receive` anywhere: one that does (Starlette's `BaseHTTPMiddleware`) hides the
disconnect, and a queued or running request would keep its slot for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from stoker.api.problems import BodyTooLarge, Describe, Header, id_headers, problem
from stoker.core.errors import InvalidRequest

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Ended(Exception):
    """There is no point in going on with this request."""


class ClientGone(Ended):
    """The client has hung up; nobody is left to answer."""


class Closing(Ended):
    """The server stops, and this request would keep it waiting."""


async def read_body(scope: Scope, receive: Receive, *, max_bytes: int) -> bytes:
    """The whole request body. Raises `BodyTooLarge`, `ClientGone`."""
    if _announced_bytes(scope) > max_bytes:
        raise BodyTooLarge(max_bytes)
    message = await _next(receive)
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False) and len(body) <= max_bytes:
        return body
    pieces, size = [body], len(body)
    while message.get("more_body", False) and size <= max_bytes:
        message = await _next(receive)
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
    if size > max_bytes:
        raise BodyTooLarge(max_bytes)
    return b"".join(pieces)


@dataclass(frozen=True, slots=True)
class Pinging:
    """Keeps a connection from looking dead while nothing else is sent."""

    every_s: float
    send: Callable[[], Awaitable[bool]]
    """False when no more pings are needed."""


@asynccontextmanager
async def while_connected(
    receive: Receive, *, closing: asyncio.Event | None = None, pinging: Pinging | None = None
) -> AsyncGenerator[None]:
    """Cancel the block when the client hangs up (or `closing` is set), and end it quietly.

    To be entered after the body has been read. The block handles its own errors: one that left it
    would arrive as an exception group.
    """
    try:
        async with asyncio.TaskGroup() as group:
            watchers = [group.create_task(_raise_when_gone(receive, pinging))]
            if closing is not None:
                watchers.append(group.create_task(_raise_when_set(closing)))
            yield
            for watcher in watchers:
                watcher.cancel()
    except* Ended:
        pass


async def send_bytes(send: Send, status: int, body: bytes, headers: Sequence[Header] = ()) -> None:
    """Send a whole response."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def send_problem(
    send: Send, error: BaseException, *, request_id: str, describe: Describe = problem
) -> None:
    """Send any exception as its HTTP error."""
    found = describe(error, request_id=request_id)
    headers = [*found.headers, *id_headers(request_id)]
    await send_bytes(send, found.status, found.body, headers)


def header(scope: Scope, name: bytes) -> str | None:
    """A request header, or `None`."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None


def _announced_bytes(scope: Scope) -> int:
    text = header(scope, b"content-length")
    if text is None:
        return 0
    if not text.isdecimal():
        raise InvalidRequest("the Content-Length header is not a number")
    return int(text)


async def _next(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message


async def _raise_when_gone(receive: Receive, pinging: Pinging | None) -> None:
    while pinging is not None:
        try:
            async with asyncio.timeout(pinging.every_s):
                await _next(receive)
        except TimeoutError:
            if not await pinging.send():
                break
    while True:
        await _next(receive)


async def _raise_when_set(closing: asyncio.Event) -> None:
    await closing.wait()
    raise Closing
