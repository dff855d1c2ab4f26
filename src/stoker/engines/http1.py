"""HTTP/1.1 towards an engine: keep-alive connections with one request at a time on each.

As much of the protocol as a call needs, on httptools: POST a body, wait for the head, read the body
in pieces. ADR 16 says why this is not a library's.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from urllib.parse import SplitResult, urlsplit

import httptools

_READ_AHEAD_BYTES = 2**18
"""What waits to be read before the engine is made to wait."""


class Broken(Exception):
    """The connection ended, or the bytes on it were no HTTP, before the answer was whole."""


class Stalled(Exception):
    """Nothing came for as long as the reader would wait."""


class Connections:
    """The connections to one address. Nothing limits how many there are."""

    def __init__(self, url: str, *, keepalive_s: float, connect_timeout_s: float) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._ssl = ssl.create_default_context() if parts.scheme == "https" else None
        self._prefix = parts.path.rstrip("/")
        self._named = _host_header(parts)
        self._keepalive_s = keepalive_s
        self._connect_timeout_s = connect_timeout_s
        self._idle: deque[_Connection] = deque()
        self._all: set[_Connection] = set()

    async def post(self, path: str, headers: bytes, body: bytes) -> Answer:
        """Send a request and wait for the head of its answer, however long that takes.

        An idle connection may have been closed by the engine at the moment that we took it; only
        then, and only while no byte has come, is the request sent again, on a new connection.
        Raises `OSError` and `TimeoutError` (connecting), and `Broken`.
        """
        head = b"POST %b%b HTTP/1.1\r\nHost: %b\r\n%bContent-Length: %d\r\n\r\n" % (
            self._prefix.encode(),
            path.encode(),
            self._named,
            headers,
            len(body),
        )
        connection = self._take()
        if connection is not None:
            try:
                return await connection.ask(head + body)
            except Broken:
                if connection.has_begun:
                    raise
        return await (await self._connect()).ask(head + body)

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self._all):
            connection.abort()
        self._all.clear()
        self._idle.clear()

    def give_back(self, connection: _Connection) -> None:
        """It has served, and can again."""
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.append(connection)

    def forget(self, connection: _Connection) -> None:
        """It is closed."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def has_others_under_way(self) -> bool:
        """Whether more than one request is being answered, or written."""
        return len(self._all) - len(self._idle) > 1

    def _take(self) -> _Connection | None:
        if not self._idle:
            return None
        oldest_s = asyncio.get_running_loop().time() - self._keepalive_s
        while self._idle and self._idle[0].idle_since < oldest_s:
            self._idle.popleft().abort()
        return self._idle.pop() if self._idle else None  # the latest: the others may grow old

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._connect_timeout_s):
            _, connection = await loop.create_connection(
                lambda: _Connection(self), self._host, self._port, ssl=self._ssl
            )
        self._all.add(connection)
        return connection


class Answer:
    """The head of an answer, and its body piece by piece. Whoever got it closes it."""

    __slots__ = ("_connection", "headers", "status")

    def __init__(self, connection: _Connection, status: int, headers: dict[str, str]) -> None:
        self._connection: _Connection | None = connection
        self.status = status
        self.headers = headers
        """By name in small letters."""

    async def read_piece(self, limit_s: float | None = None) -> bytes:
        """What has come, at least a byte; empty at the end. Raises `Broken`, `Stalled`."""
        if self._connection is None:
            return b""
        connection = self._connection
        piece = await connection.read(limit_s)
        if not piece:
            self._connection = None
            connection.release()
        return piece

    async def read(self) -> bytes:
        """All that is left of the body."""
        pieces = []
        while piece := await self.read_piece():
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Hang up, unless the whole body has been read."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()


class _Connection(asyncio.Protocol):
    """One connection; `ask` again only after `release`."""

    def __init__(self, pool: Connections) -> None:
        self._pool = pool
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._headers: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0
        self._status = 0
        self._is_asked = self._is_complete = self._is_paused = self._is_lost = False
        self._can_serve_again = False
        self._error: Exception | None = None
        self.has_begun = False
        """Whether a byte of the current answer has come."""
        self.idle_since = 0.0

    async def ask(self, request: bytes) -> Answer:
        self._is_asked, self._is_complete, self.has_begun = True, False, False
        self._status, self._headers, self._error = 0, {}, None
        if self._is_lost:
            raise Broken(_CLOSED)
        if self._pool.has_others_under_way():
            # At the end of the turn: a write wakes the engine, on a small box on this very core,
            # and whoever else is ready in this turn would wait for it.
            self._loop.call_soon(self._write, request)
        else:
            self._transport.write(request)
        try:
            while self._status < 200:
                await self._more(None)
        except BaseException:
            self.abort()
            raise
        return Answer(self, self._status, self._headers)

    def _write(self, request: bytes) -> None:
        if not self._is_lost:  # `ask` is told; uvloop would raise
            self._transport.write(request)

    async def read(self, limit_s: float | None) -> bytes:
        while not self._pieces:
            if self._is_complete:
                return b""
            await self._more(limit_s)
        piece = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._waiting_bytes = 0
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()
        return piece

    def release(self) -> None:
        """The answer has been read to its end."""
        self._is_asked = False
        if self._is_lost:
            return
        if self._can_serve_again:
            self._pool.give_back(self)
        else:
            self._transport.close()

    def abort(self) -> None:
        self._is_asked = False
        if not self._is_lost:
            self._transport.abort()

    async def _more(self, limit_s: float | None) -> None:
        """Wait until something has come."""
        if self._error is not None:
            raise self._error
        waiter = self._waiter = self._loop.create_future()
        timer = None if limit_s is None else self._loop.call_later(limit_s, _stalled, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if self._error is not None:
            waiter.set_exception(self._error)
        elif self._pieces or self._is_complete or self._status >= 200:
            waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._is_complete or self._error is not None:
            return
        self._error = error
        self._wake()

    # ------------------------------------------------------------------ called by the loop

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._is_asked or self._is_complete:
            # Bytes that nobody asked for: whatever they are, no answer may be read from here now.
            self._is_asked = False
            self._pool.forget(self)
            self._transport.abort()
            return
        self.has_begun = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(Broken(f"it is no HTTP: {error}"))
            self._transport.abort()
            return
        self._wake()

    def connection_lost(self, _error: Exception | None) -> None:
        self._is_lost = True
        self._pool.forget(self)
        is_until_end = (
            self._status >= 200
            and "content-length" not in self._headers
            and "transfer-encoding" not in self._headers
        )
        if _error is None and is_until_end:
            self._is_complete = True
            self._wake()
        else:
            self._fail(Broken(_CLOSED))

    # ------------------------------------------------------------------ called by the parser

    def on_message_begin(self) -> None:
        if self._is_complete:  # a second answer right behind: nobody asked for it
            self._can_serve_again = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_complete:
            return
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._is_complete:
            return
        self._status = self._parser.get_status_code()

    def on_body(self, piece: bytes) -> None:
        if self._is_complete:
            return
        self._pieces.append(piece)
        self._waiting_bytes += len(piece)
        if self._waiting_bytes > _READ_AHEAD_BYTES and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._is_complete:
            return
        if self._status < 200:  # "100 Continue" and the like: the answer is still to come
            self._status, self._headers = 0, {}
        else:
            self._is_complete = True
            self._can_serve_again = self._parser.should_keep_alive()


_CLOSED = "the connection closed in the middle"


def _stalled(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(Stalled())


def _host_header(parts: SplitResult) -> bytes:
    host = parts.netloc.rpartition("@")[2]
    return host.encode("idna") if not host.isascii() else host.encode()
