"""The asynchronous client: the fabric's verbs, spoken over HTTP."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from stoker.client.errors import from_error, from_response
from stoker.client.memories import MemoriesClient
from stoker.client.sse import data_of, events_of
from stoker.core.errors import JobFailed, JobNotDone, Rejected, ServerUnreachable, StokerError
from stoker.core.jobs import JobState
from stoker.core.reasons import Reason
from stoker.core.work import JobId, LeaseId

if TYPE_CHECKING:
    import aiohttp

Json = Mapping[str, Any]
Document = dict[str, Any]

POLL_S = 30.0
"""One long poll. Short enough for proxies that cut silent connections after a minute."""
RECONNECT_S = 60.0
"""How long a waiting client believes that a server which is gone comes back."""
_CONNECT_TIMEOUT_S = 5.0
_RETRY_PAUSE_S = 0.5


class Client:
    """A Stoker at `url`. Use it as `async with`, or `close()` it.

    Without `api_key`, `$STOKER_API_KEY` is sent, if it is set.
    """

    def __init__(self, url: str = "http://127.0.0.1:8080", *, api_key: str | None = None) -> None:
        self._url = url.rstrip("/")
        api_key = api_key or os.environ.get("STOKER_API_KEY")
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._session: aiohttp.ClientSession | None = None
        self.memories = MemoriesClient(self)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    # ------------------------------------------------------------------ the five verbs

    async def allocate_p0_priority(self, seconds: float) -> RemoteLease:
        """Keep the box for interactive work. Use it as `async with`, or release it."""
        document = await self.call("POST", "/v1/p0/lease", body={"seconds": seconds})
        return RemoteLease(self, LeaseId(document["lease_id"]), document["expires_in_s"])

    def run_p0(self, request: Json) -> RemoteCall:
        """Run an interactive request: `await` it for the answer, or `async for` over its chunks."""
        return RemoteCall(self, "/v1/p0", request)

    def run_p1(self, request: Json) -> RemoteCall:
        """Run a normal request: `await` it for the answer, or `async for` over its chunks."""
        return RemoteCall(self, "/v1/p1", request)

    async def enqueue_p2(self, request: Json, key: str | None = None) -> JobId:
        """Store a background job; it is durable when this returns. Same key, same job."""
        headers = {} if key is None else {"idempotency-key": key}
        document = await self.call("POST", "/v1/p2", body=request, headers=headers)
        return JobId(document["job_id"])

    async def await_job(self, job_id: JobId, timeout_s: float | None = None) -> Document:
        """The engine's answer to a job, now or when it is done. Survives restarts of the server.

        Raises `NotFound`, `JobNotDone` after `timeout_s`, `JobFailed`, and `ServerUnreachable`
        when nobody has answered for a minute.
        """
        document = await self._final_job(job_id, timeout_s)
        status = document["status"]
        if status != JobState.COMPLETED.value:
            error = document["error"] or {"code": status, "message": f"it was {status}"}
            raise JobFailed(f"job {job_id}: {error['message']}", code=error["code"])
        result: Document = document["result"]
        return result

    # ------------------------------------------------------------------ looking and steering

    async def get_job(self, job_id: JobId, *, wait_s: float = 0.0) -> Document:
        """The job's document as it is, or as it is after at most `wait_s`."""
        return await self.call("GET", f"/v1/p2/{job_id}", query={"wait": wait_s})

    async def list_jobs(
        self,
        *,
        state: str | None = None,
        batch: str | None = None,
        limit: int = 100,
        before: JobId | None = None,
    ) -> Document:
        """Newest first: `data`, `has_more` and `counts`."""
        query = {"state": state, "batch": batch, "limit": limit, "before": before}
        return await self.call("GET", "/v1/p2", query=query)

    async def cancel_job(self, job_id: JobId) -> Document:
        """Cancel a waiting job at once; ask it of a running one."""
        return await self.call("DELETE", f"/v1/p2/{job_id}")

    async def retry_job(self, job_id: JobId) -> Document:
        """Give a discarded or cancelled job a new life."""
        return await self.call("POST", f"/v1/p2/{job_id}/retry")

    async def leases(self) -> list[Document]:
        """The active P0 leases."""
        found: list[Document] = (await self.call("GET", "/v1/p0/lease"))["data"]
        return found

    async def state(self) -> Document:
        """The whole fabric at this instant."""
        return await self.call("GET", "/v1/fabric/state")

    async def explain(self, id: str) -> Document:
        """Why a request or a job is where it is, and its story."""
        return await self.call("GET", f"/v1/fabric/explain/{id}")

    async def history(
        self, since: float | str, until: float | str, *, engine: str | None = None
    ) -> Document:
        """A stretch of the past; times as `12h` ago, dates, or seconds since 1970."""
        query = {"since": str(since), "until": str(until)}
        if engine is not None:
            query["engine"] = engine
        return await self.call("GET", f"/v1/fabric/history?{urlencode(query)}")

    async def events(self, *, recent: int = 0) -> AsyncGenerator[Document]:
        """What happens in the fabric, as it happens, after the last `recent` events.

        Each is `seq`, `kind`, `at` and its own fields. Endless: leave it, or the server ends it.
        """
        query = {"recent": recent}
        async with self.open("GET", "/v1/fabric/events", query=query) as response:
            async for event in events_of(response):
                own: Document = msgspec.json.decode(event["data"])
                yield {"seq": int(event["id"]), "kind": event["event"].decode(), **own}

    # ------------------------------------------------------------------ the wire

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Document:
        """One request, one JSON answer. Raises the exception that the server meant."""
        data = b"" if body is None else msgspec.json.encode(body)
        return await self.send(method, path, data, query=query, headers=headers)

    async def send(
        self,
        method: str,
        path: str,
        data: bytes,
        *,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Document:
        """The same with a body of any bytes."""
        async with self.open(method, path, data=data, query=query, headers=headers) as response:
            raw = await response.read()
        if not raw:
            return {}
        document: Document = msgspec.json.decode(raw)
        return document

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        data: bytes = b"",
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """A good response, open for reading; anything else is raised."""
        import aiohttp  # noqa: PLC0415 - a fifth of a second, for who connects

        data = data if body is None else msgspec.json.encode(body)
        shown = {name: str(value) for name, value in (query or {}).items() if value is not None}
        all_headers = {"content-type": "application/json", **self._headers, **(headers or {})}
        try:
            async with self._opened_session().request(
                method, self._url + path, data=data or None, params=shown, headers=all_headers
            ) as response:
                if response.status >= 400:
                    raise from_response(response.status, await response.read(), response.headers)
                yield response
        except aiohttp.ClientError as error:
            raise ServerUnreachable(f"no answer from {self._url}: {error}") from error
        except TimeoutError as error:
            raise ServerUnreachable(f"no connection to {self._url}") from error

    def _opened_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            import aiohttp  # noqa: PLC0415 - as above

            # No total timeout: a P1 may wait minutes for its turn, and a stream may last hours.
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S)
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(timeout=timeout, connector=connector)
        return self._session

    async def _final_job(self, job_id: JobId, timeout_s: float | None) -> Document:
        clock = asyncio.get_running_loop().time
        deadline = None if timeout_s is None else clock() + timeout_s
        answered_at = clock()
        while True:
            left_s = POLL_S if deadline is None else max(0.0, deadline - clock())
            try:
                document = await self.get_job(job_id, wait_s=min(POLL_S, left_s))
            except StokerError as error:
                if not _is_passing(error) or clock() - answered_at > RECONNECT_S:
                    raise
                await asyncio.sleep(min(_RETRY_PAUSE_S, left_s))
            else:
                answered_at = clock()
                if JobState(document["status"]).is_final:
                    return document
            if deadline is not None and clock() >= deadline:
                raise JobNotDone(f"job {job_id} is not done yet; await it again at any time")


def _is_passing(error: StokerError) -> bool:
    """Whether the server is merely away: restarting, or about to."""
    if isinstance(error, Rejected):
        return error.explanation.reason is Reason.DRAINING
    return isinstance(error, ServerUnreachable)


class RemoteLease:
    """A P0 lease held over HTTP."""

    def __init__(self, client: Client, id: LeaseId, expires_in_s: float) -> None:
        self.id = id
        self.expires_in_s = expires_in_s
        """As of the last answer of the server."""
        self._client = client
        self._is_released = False

    async def extend(self, seconds: float) -> None:
        """Let it end `seconds` from now. Raises `NotFound` when it has ended already."""
        path = f"/v1/p0/lease/{self.id}/extend"
        document = await self._client.call("POST", path, body={"seconds": seconds})
        self.expires_in_s = document["expires_in_s"]

    async def release(self) -> None:
        """End it now; ending it twice is harmless."""
        if not self._is_released:
            self._is_released = True
            await self._client.call("DELETE", f"/v1/p0/lease/{self.id}")

    async def __aenter__(self) -> RemoteLease:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.release()


class RemoteCall:
    """A request that has not been sent: `await` it for the whole answer, or `async for` over the
    chunks of its stream. Each use sends it once.
    """

    def __init__(self, client: Client, path: str, request: Json) -> None:
        self._client = client
        self._path = path
        self._request = request

    def __await__(self) -> Generator[Any, None, Document]:
        request = {name: value for name, value in self._request.items() if name != "stream"}
        return self._client.call("POST", self._path, body=request).__await__()

    async def __aiter__(self) -> AsyncIterator[Document]:
        request = {**self._request, "stream": True}
        async with self._client.open("POST", self._path, body=request) as response:
            async for data in data_of(response):
                if data == b"[DONE]":
                    continue
                chunk: Document = msgspec.json.decode(data)
                if set(chunk) == {"error"}:
                    raise from_error(chunk["error"])
                yield chunk
