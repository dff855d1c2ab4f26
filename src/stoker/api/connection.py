"""One client's connection, as uvicorn speaks HTTP on it, with two things that ASGI cannot say: a
callback when the client hangs up, and one write for what a turn of the loop brings. And with a
limit to the head of a request, which comes before anybody has asked who sends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sized
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from stoker.api.problems import HeadTooLarge, problem

HEAD_MAX_BYTES = 64 * 1024
"""Of a request line with its headers; what one read brings beyond that is let through."""
STATE_KEY = "connection"
"""Where an ASGI scope's `state` has it."""


class Connection(HttpToolsProtocol):
    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, {**app_state, STATE_KEY: self}, _loop)
        self._when_lost: Callable[[], None] | None = None
        self._is_lost = False
        self._is_in_head = False
        self._head_bytes = 0

    def watch(self, when_lost: Callable[[], None] | None) -> None:
        """Call this once the client hangs up, or has: a task that waits for `receive` costs a
        request 40 µs. `None` ends the watch.
        """
        self._when_lost = when_lost
        if when_lost is not None and self._is_lost:
            when_lost()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_InOneWrite(transport, self.loop, self.tasks))  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX_BYTES and not self.transport.is_closing():
                self._refuse_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        super().on_headers_complete()

    def _refuse_head(self) -> None:
        found = problem(HeadTooLarge(HEAD_MAX_BYTES), request_id="")
        lines = [b"HTTP/1.1 431 Request Header Fields Too Large"]
        lines += [b"%b: %b" % one for one in found.headers]
        lines += [b"content-length: %d" % len(found.body), b"", found.body]
        self.transport.write(b"\r\n".join(lines))
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._is_lost = True
        if self._when_lost is not None:
            self._when_lost()


class _InOneWrite:
    """A transport that writes what a turn of the loop brings at the turn's end.

    Each write is a call of the kernel and wakes whoever reads, on a small box on the very core that
    writes: with many clients served, the next one's event is better handled first. A lone client
    gains nothing by waiting, so its pieces of a body go out at once, with the head that was kept
    for the first of them.
    """

    __slots__ = ("_kept", "_loop", "_tasks", "_transport")

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        tasks: Sized,
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._tasks = tasks  # of all clients
        self._kept: list[bytes] = []

    def write(self, data: bytes) -> None:
        kept = self._kept
        if not kept:
            if len(self._tasks) < 2 and not data.startswith(b"HTTP/1."):
                self._transport.write(data)
                return
            self._loop.call_soon(self._flush)
        kept.append(data)
        if len(kept) > 1 and len(self._tasks) < 2:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._kept:
            data = b"".join(self._kept)
            self._kept.clear()
            if not self._transport.is_closing():  # uvloop raises, once the client is gone
                self._transport.write(data)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - it is the transport's own
        return getattr(self._transport, name)
