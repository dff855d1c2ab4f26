"""One engine's HTTP: a pooled session, small JSON calls, and the stale-connection retry."""

from __future__ import annotations

import io
import os
import socket
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

import aiohttp
import msgspec

from stoker.core.errors import EngineError, EngineRefused, EngineUnreachable

T = TypeVar("T")

CONTROL_TIMEOUT_S = 5.0
"""For the small questions (gauges, limits, tokenizer); never for a generation."""
_CONNECT_TIMEOUT_S = 5.0
_KEEPALIVE_S = 4.0
"""Below the 5 s after which uvicorn (vLLM, SGLang) and llama.cpp close an idle connection."""
_ONE_WRITE_BYTES = 2**18
_BROKEN = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)
_NOT_SPOKEN = (aiohttp.ClientError, ConnectionError, TimeoutError, OSError)


class HttpClient:
    """Talks to one base address. Nothing limits how many calls are in flight: the fabric does."""

    def __init__(self, url: str, *, api_key: str | None = None) -> None:
        self.url = base_url(url)
        self._headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._pooled: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the sessions; connects to nothing yet."""
        if self._pooled is None:
            self._pooled = self._session(
                aiohttp.TCPConnector(
                    limit=0, keepalive_timeout=_KEEPALIVE_S, socket_factory=_noted_socket
                )
            )
            self._fresh = self._session(aiohttp.TCPConnector(limit=0, force_close=True))

    async def stop(self) -> None:
        """Close every connection."""
        for session in (self._pooled, self._fresh):
            if session is not None:
                await session.close()
        self._pooled = self._fresh = None

    async def open(self, path: str, body: bytes) -> aiohttp.ClientResponse:
        """POST and wait for the headers only, however long they take. The caller closes it.

        A pooled connection may have been closed by the engine at the moment that we took it; only
        then, and only while no byte has come, is the request sent again, on a fresh connection.
        """
        assert self._pooled is not None, "the engine was not started"
        assert self._fresh is not None
        attempt = _Attempt()
        _attempt.set(attempt)
        try:
            return await self._pooled.post(
                self.url + path, data=_payload(body), headers=self._headers
            )
        except _BROKEN as error:
            if attempt.is_connecting:
                raise self._unreachable(error) from error
        except _NOT_SPOKEN as error:
            raise self._unreachable(error) from error
        try:
            return await self._fresh.post(
                self.url + path, data=_payload(body), headers=self._headers
            )
        except _NOT_SPOKEN as error:
            raise self._unreachable(error) from error

    async def get_bytes(self, path: str) -> bytes:
        """GET a page. Raises `EngineRefused` for an error status."""
        return await self._ask("GET", path, None)

    async def get_text(self, path: str) -> str:
        """GET a page of text."""
        return (await self._ask("GET", path, None)).decode(errors="replace")

    async def get(self, path: str, type: type[T]) -> T:
        """GET JSON of that type. Raises `EngineError` when it is something else."""
        return _decode(path, await self._ask("GET", path, None), type)

    async def post(self, path: str, body: bytes, type: type[T]) -> T:
        """POST a small question and decode its JSON answer."""
        return _decode(path, await self._ask("POST", path, body), type)

    async def _ask(self, method: str, path: str, body: bytes | None) -> bytes:
        assert self._pooled is not None, "the engine was not started"
        # A fresh connection costs a loopback handshake and is never stale.
        session = self._fresh if body is not None else self._pooled
        assert session is not None
        timeout = aiohttp.ClientTimeout(total=CONTROL_TIMEOUT_S)
        try:
            async with session.request(
                method, self.url + path, data=_payload(body), headers=self._headers, timeout=timeout
            ) as response:
                answer = await response.read()
                if response.status >= 400:
                    raise EngineRefused(response.status, answer, response.content_type)
                return answer
        except _NOT_SPOKEN as error:
            raise self._unreachable(error) from error

    def _session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=_CONNECT_TIMEOUT_S, sock_read=None
            ),
        )

    def _unreachable(self, error: BaseException) -> EngineUnreachable:
        return EngineUnreachable(f"no answer from the engine at {self.url}: {in_words(error)}")


def in_words(error: BaseException) -> str:
    """What went wrong on the wire, for a person: not the client library's own objects."""
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the connection closed in the middle"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


def base_url(url: str) -> str:
    """The address without the `/v1` that OpenAI clients are given."""
    return url.rstrip("/").removesuffix("/v1")


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    # aiohttp writes bytes in one go, which it warns about when they are many; a file it writes in
    # pieces, letting other requests in between.
    return io.BytesIO(body) if body is not None and len(body) > _ONE_WRITE_BYTES else body


@dataclass(slots=True)
class _Attempt:
    """One call on the pool. aiohttp's tracing would tell this too, and slow down every call."""

    is_connecting: bool = False
    """Whether it took a new connection, and not one that had served before."""


_attempt: ContextVar[_Attempt] = ContextVar("_attempt")


def _noted_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    # Connecting may go on in another task: what is set must be the object that both share.
    if (attempt := _attempt.get(None)) is not None:
        attempt.is_connecting = True
    family, kind, protocol, _, _ = address
    return socket.socket(family, kind, protocol)


def _decode(path: str, answer: bytes, type: type[T]) -> T:
    try:
        return msgspec.json.decode(answer, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EngineError(f"unexpected answer from {path}: {error}") from error
