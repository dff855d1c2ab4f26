"""Plain ASGI: read a body with a limit, answer with JSON, and notice a client that hangs up.

No middleware wraps `receive` anywhere: one that does (Starlette's `BaseHTTPMiddleware`) hides the
disconnect, and a queued or running request would keep its slot for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from stoker.api.connection import STATE_KEY, Connection
from stoker.api.problems import (
    BodyTooLarge,
    Describe,
    Header,
    UnsupportedEncoding,
    id_headers,
    problem,
)
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
    """The whole request body. Raises `BodyTooLarge`, `UnsupportedEncoding`, `ClientGone`."""
    if announced_bytes(scope) > max_bytes:
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


def while_connected(
    scope: Scope, receive: Receive, *, closing: asyncio.Event | None = None
) -> AbstractAsyncContextManager[None]:
    """Cancel the block when the client hangs up (or `closing` is set), and end it quietly.

    To be entered after the body has been read. The block handles its own errors: one that left it
    might arrive as an exception group.
    """
    connection = scope.get("state", {}).get(STATE_KEY)
    if closing is None and isinstance(connection, Connection):
        return _Watched(connection)
    return _while_receiving(receive, closing)


class _Watched:
    """Where the server tells of a hang-up by itself: no task has to wait for it."""

    __slots__ = ("_cancelling", "_connection", "_is_gone", "_task")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._is_gone = False

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task: asyncio.Task[Any] = task
        self._cancelling = task.cancelling()
        self._connection.watch(self._gone)

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> bool:
        self._connection.watch(None)
        if not self._is_gone:
            return False
        is_ours = self._task.uncancel() <= self._cancelling
        if isinstance(error, asyncio.CancelledError):
            return is_ours
        if is_ours:  # the block ended before the cancellation reached an await: take it here
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        return False

    def _gone(self) -> None:
        self._is_gone = True
        self._task.cancel()


@asynccontextmanager
async def _while_receiving(receive: Receive, closing: asyncio.Event | None) -> AsyncGenerator[None]:
    try:
        async with asyncio.TaskGroup() as group:
            watchers = [group.create_task(_raise_when_gone(receive))]
            if closing is not None:
                watchers.append(group.create_task(_raise_when_set(closing)))
            yield
            for watcher in watchers:
                watcher.cancel()
    except* Ended:
        pass


@asynccontextmanager
async def pinged(pinging: Pinging) -> AsyncGenerator[None]:
    """Ping while the block runs. A task for it exists only once a ping is due: few ever are."""
    tasks: list[asyncio.Task[None]] = []
    async with asyncio.TaskGroup() as group:

        def begin() -> None:
            tasks.append(group.create_task(_ping(pinging)))

        timer = asyncio.get_running_loop().call_later(pinging.every_s, begin)
        try:
            yield
        finally:
            timer.cancel()
            for task in tasks:
                task.cancel()


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


def head_alone(send: Send) -> Send:
    """`send` for an answer to HEAD: whoever would send a body is told that nobody is there."""

    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b""})
            raise ClientGone

    return send_head


def announced_bytes(scope: Scope) -> int:
    """What the headers say of the body's size; 0 where they do not.

    Raises `UnsupportedEncoding` for one that is compressed.
    """
    size = 0
    for name, value in scope["headers"]:
        if name == b"content-length":
            if not value.isdigit():
                raise InvalidRequest("the Content-Length header is not a number")
            size = int(value)
        elif name == b"content-encoding" and value.strip().lower() not in _PLAIN:
            raise UnsupportedEncoding(value.decode("latin-1"))
    return size


_PLAIN = (b"", b"identity")


def header(scope: Scope, name: bytes) -> str | None:
    """A request header, or `None`."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None


async def _next(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message


async def _raise_when_gone(receive: Receive) -> None:
    while True:
        await _next(receive)


async def _ping(pinging: Pinging) -> None:
    is_needed = await pinging.send()
    while is_needed:
        await asyncio.sleep(pinging.every_s)
        is_needed = await pinging.send()


async def _raise_when_set(closing: asyncio.Event) -> None:
    await closing.wait()
    raise Closing
