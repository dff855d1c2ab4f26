"""The same client for code without an event loop."""

from __future__ import annotations

from collections.abc import Generator
from types import TracebackType

from stoker.client.blocking_memories import SyncMemoriesClient
from stoker.client.http import Client, Document, Json, RemoteCall, RemoteLease
from stoker.client.portal import Portal
from stoker.core.work import JobId, LeaseId


class SyncClient:
    """A Stoker at `url`, blocking. Use it as `with`, or `close()` it.

    Without `api_key`, `$STOKER_API_KEY` is sent, if it is set.
    """

    def __init__(self, url: str = "http://127.0.0.1:8080", *, api_key: str | None = None) -> None:
        self._client = Client(url, api_key=api_key)
        self._portal = Portal()
        self.memories = SyncMemoriesClient(self._client.memories, self._portal)

    def __enter__(self) -> SyncClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection and end the thread."""
        self._portal.run(self._client.close())
        self._portal.close()

    def allocate_p0_priority(self, seconds: float) -> SyncLease:
        """Keep the box for interactive work. Use it as `with`, or release it."""
        lease = self._portal.run(self._client.allocate_p0_priority(seconds))
        return SyncLease(lease, self._portal)

    def run_p0(self, request: Json) -> Document:
        """Run an interactive request and return the answer."""
        return self._portal.run(_answer(self._client.run_p0(request)))

    def stream_p0(self, request: Json) -> Generator[Document]:
        """Run an interactive request and iterate over its chunks. Leaving early hangs up."""
        return self._portal.iterate(self._client.run_p0(request))

    def run_p1(self, request: Json) -> Document:
        """Run a normal request and return the answer."""
        return self._portal.run(_answer(self._client.run_p1(request)))

    def stream_p1(self, request: Json) -> Generator[Document]:
        """Run a normal request and iterate over its chunks. Leaving early hangs up."""
        return self._portal.iterate(self._client.run_p1(request))

    def enqueue_p2(self, request: Json, key: str | None = None) -> JobId:
        """Store a background job; it is durable when this returns. Same key, same job."""
        return self._portal.run(self._client.enqueue_p2(request, key))

    def await_job(self, job_id: JobId, timeout_s: float | None = None) -> Document:
        """The engine's answer to a job, now or when it is done."""
        return self._portal.run(self._client.await_job(job_id, timeout_s))

    def get_job(self, job_id: JobId, *, wait_s: float = 0.0) -> Document:
        """The job's document as it is, or as it is after at most `wait_s`."""
        return self._portal.run(self._client.get_job(job_id, wait_s=wait_s))

    def list_jobs(
        self,
        *,
        state: str | None = None,
        batch: str | None = None,
        limit: int = 100,
        before: JobId | None = None,
    ) -> Document:
        """Newest first: `data`, `has_more` and `counts`."""
        listing = self._client.list_jobs(state=state, batch=batch, limit=limit, before=before)
        return self._portal.run(listing)

    def cancel_job(self, job_id: JobId) -> Document:
        """Cancel a waiting job at once; ask it of a running one."""
        return self._portal.run(self._client.cancel_job(job_id))

    def retry_job(self, job_id: JobId) -> Document:
        """Give a discarded or cancelled job a new life."""
        return self._portal.run(self._client.retry_job(job_id))

    def leases(self) -> list[Document]:
        """The active P0 leases."""
        return self._portal.run(self._client.leases())

    def state(self) -> Document:
        """The whole fabric at this instant."""
        return self._portal.run(self._client.state())

    def explain(self, id: str) -> Document:
        """Why a request or a job is where it is, and its story."""
        return self._portal.run(self._client.explain(id))


class SyncLease:
    """A P0 lease."""

    def __init__(self, lease: RemoteLease, portal: Portal) -> None:
        self._lease = lease
        self._portal = portal

    @property
    def id(self) -> LeaseId:
        return self._lease.id

    @property
    def expires_in_s(self) -> float:
        """As of the last answer of the server."""
        return self._lease.expires_in_s

    def extend(self, seconds: float) -> None:
        """Let it end `seconds` from now."""
        self._portal.run(self._lease.extend(seconds))

    def release(self) -> None:
        """End it now; ending it twice is harmless."""
        self._portal.run(self._lease.release())

    def __enter__(self) -> SyncLease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


async def _answer(call: RemoteCall) -> Document:
    return await call
