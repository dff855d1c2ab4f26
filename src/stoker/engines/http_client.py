"""One engine's HTTP: calls, and small questions with JSON answers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TypeVar

import aiohttp
import msgspec

from stoker.core.errors import EngineError, EngineRefused, EngineUnreachable
from stoker.engines.http1 import Answer, Broken, Connections

T = TypeVar("T")

CONTROL_TIMEOUT_S = 5.0
"""For the small questions (gauges, limits, tokenizer); never for a generation."""
_CONNECT_TIMEOUT_S = 5.0
_KEEPALIVE_S = 4.0
"""Below the 5 s after which uvicorn (vLLM, SGLang) and llama.cpp close an idle connection."""
trace_headers: ContextVar[bytes] = ContextVar("trace_headers", default=b"")
"""Header lines that say which trace a call belongs to."""
_NOT_SPOKEN = (aiohttp.ClientError, ConnectionError, TimeoutError, OSError)


class HttpClient:
    """Talks to one base address. Nothing limits how many calls are in flight: the fabric does."""

    def __init__(self, url: str, *, api_key: str | None = None) -> None:
        self.url = base_url(url)
        self._headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        lines = [f"{name}: {value}\r\n" for name, value in self._headers.items()]
        self._call_headers = "".join(lines).encode("latin-1")
        self._session: aiohttp.ClientSession | None = None
        self._connections: Connections | None = None
        self._connected_to = ""

    async def start(self) -> None:
        """Open what is needed for questions; connects to nothing yet."""
        if self._session is None:
            # A fresh connection costs a loopback handshake and is never stale.
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            self._session = self._opened(connector)

    async def stop(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
        if self._connections is not None:
            self._connections.close()
        self._session = self._connections = None

    async def open(self, path: str, body: bytes) -> Answer:
        """POST and wait for the headers only, however long they take. The caller closes it."""
        connections = self._connections
        if connections is None or self._connected_to != self.url:
            connections = self._connect()
        headers = self._call_headers + trace_headers.get()
        try:
            return await connections.post(path, headers, body)
        except (Broken, TimeoutError, OSError) as error:
            raise self._unreachable(error) from error

    async def headers_of(self, path: str) -> Mapping[str, str]:
        """The headers of a page, whatever its status; names in any case."""
        assert self._session is not None, "the engine was not started"
        try:
            async with self._session.get(self.url + path, headers=self._headers) as response:
                return response.headers
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

    def _connect(self) -> Connections:
        assert self._session is not None, "the engine was not started"
        if self._connections is not None:  # it has moved
            self._connections.close()
        self._connected_to = self.url
        self._connections = Connections(
            self.url, keepalive_s=_KEEPALIVE_S, connect_timeout_s=_CONNECT_TIMEOUT_S
        )
        return self._connections

    async def _ask(self, method: str, path: str, body: bytes | None) -> bytes:
        assert self._session is not None, "the engine was not started"
        try:
            async with self._session.request(
                method, self.url + path, data=body, headers=self._headers
            ) as response:
                answer = await response.read()
                if response.status >= 400:
                    raise EngineRefused(response.status, answer, response.content_type)
                return answer
        except _NOT_SPOKEN as error:
            raise self._unreachable(error) from error

    def _opened(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=CONTROL_TIMEOUT_S),
        )

    def _unreachable(self, error: BaseException) -> EngineUnreachable:
        return EngineUnreachable(f"no answer from the engine at {self.url}: {in_words(error)}")


def in_words(error: BaseException) -> str:
    """What went wrong on the wire, for a person: not the client library's own objects."""
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


def base_url(url: str) -> str:
    """The address without the `/v1` that OpenAI clients are given."""
    return url.rstrip("/").removesuffix("/v1")


def _decode(path: str, answer: bytes, type: type[T]) -> T:
    try:
        return msgspec.json.decode(answer, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EngineError(f"unexpected answer from {path}: {error}") from error
