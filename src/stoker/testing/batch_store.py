"""Batches and files in two dicts, beside the job store in a dict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from stoker.batch_ports import LineEnd
from stoker.core.batches import Batch, BatchStatus, StoredFile
from stoker.core.errors import Conflict, NotFound
from stoker.core.jobs import JobState
from stoker.core.work import JobId

if TYPE_CHECKING:
    from stoker.testing.job_store import InMemoryJobStore

_ALL = 1_000_000
_WAITING = (JobState.SCHEDULED, JobState.AVAILABLE, JobState.RETRYABLE)


class InMemoryBatchStore:
    """Implements `batch_ports.BatchStore`."""

    def __init__(self, jobs: InMemoryJobStore) -> None:
        self._jobs = jobs
        self._files: dict[str, StoredFile] = {}
        self._hidden: set[str] = set()
        self._batches: dict[str, Batch] = {}

    async def add_file(self, file: StoredFile) -> None:
        self._files[file.id] = file
        self._hidden.add(file.id)

    async def show_file(self, file: StoredFile) -> None:
        if file.id not in self._files:
            raise NotFound(f"no such file: {file.id}; it was dropped before it was shown")
        self._files[file.id] = file
        self._hidden.discard(file.id)

    async def file(self, id: str, *, tenant: str | None) -> StoredFile:
        file = self._files.get(id)
        if file is None or id in self._hidden or tenant not in {None, file.tenant}:
            raise NotFound(f"no such file: {id[:80]}; it was deleted, has expired, or never was")
        return file

    async def list_files(
        self,
        *,
        tenant: str | None,
        purpose: str | None,
        limit: int,
        after: str | None,
        is_ascending: bool,
    ) -> list[StoredFile]:
        last = None if after is None else await self.file(after, tenant=tenant)
        files = list(self._files.values())
        if not is_ascending:
            files.reverse()
        if last is not None:
            files = files[files.index(last) + 1 :]
        found = [
            file
            for file in files
            if file.id not in self._hidden
            and tenant in {None, file.tenant}
            and purpose in {None, file.purpose}
        ]
        return found[:limit]

    async def hide_file(self, id: str, *, tenant: str | None) -> None:
        await self.file(id, tenant=tenant)
        reader = next((one for one in self._open() if one.input_file_id == id), None)
        if reader is not None:
            raise Conflict(
                f"file {id}: {reader.id} reads it; cancel that batch, or delete the file "
                "when it has ended",
                code="file_in_use",
            )
        self._hidden.add(id)

    async def hide_expired(self, *, now: float) -> list[str]:
        read = {batch.input_file_id for batch in self._open()}
        expired = [
            file.id
            for file in self._files.values()
            if file.id not in self._hidden | read
            and file.expires_at is not None
            and file.expires_at <= now
        ]
        self._hidden |= set(expired)
        return expired

    async def hidden_files(self) -> list[str]:
        return [id for id in self._files if id in self._hidden]

    async def is_hidden(self, id: str) -> bool:
        return id in self._hidden

    async def drop_file(self, id: str) -> None:
        if id in self._hidden:
            self._hidden.remove(id)
            del self._files[id]

    async def add_batch(self, batch: Batch) -> None:
        await self.file(batch.input_file_id, tenant=batch.tenant)
        self._batches[batch.id] = batch

    async def batch(self, id: str, *, tenant: str | None) -> Batch:
        batch = self._batches.get(id)
        if batch is None or tenant not in {None, batch.tenant}:
            raise NotFound(f"no such batch: {id[:80]}")
        return batch

    async def list_batches(
        self, *, tenant: str | None, limit: int, after: str | None
    ) -> list[Batch]:
        last = None if after is None else await self.batch(after, tenant=tenant)
        batches = list(reversed(self._batches.values()))
        if last is not None:
            batches = batches[batches.index(last) + 1 :]
        return [batch for batch in batches if tenant in {None, batch.tenant}][:limit]

    async def open_batches(self) -> list[Batch]:
        return self._open()

    async def change_batch(
        self, id: str, change: Callable[[Batch], Batch], *, files: Sequence[StoredFile] = ()
    ) -> Batch:
        if id not in self._batches:
            raise NotFound(f"no such batch: {id[:80]}")
        self._batches[id] = change(self._batches[id])
        for file in files:
            await self.show_file(file)
        return self._batches[id]

    async def batch_counts(self) -> Mapping[BatchStatus, int]:
        found = dict.fromkeys(BatchStatus, 0)
        for batch in self._batches.values():
            found[batch.status] += 1
        return found

    async def line_ends(self, keys: Sequence[str], *, batch: str) -> list[LineEnd]:
        jobs = await self._jobs.list_jobs(batch=batch, limit=_ALL)
        return [
            LineEnd(
                key=job.key or "",
                job_id=job.id,
                state=job.state,
                deadline_at=job.deadline_at,
                error=job.error,
                usage=job.usage,
                result=await self._jobs.result(job.id),
            )
            for job in jobs
            if job.key in keys
        ]

    async def cancel_waiting(self, batch: str, *, now: float, limit: int) -> list[JobId]:
        jobs = await self._jobs.list_jobs(batch=batch, limit=_ALL)
        waiting = [job.id for job in reversed(jobs) if job.state in _WAITING][:limit]
        for id in waiting:
            await self._jobs.cancel(id, now=now)
        return waiting

    def is_open(self, batch: str | None) -> bool:
        """Whether that names a batch which is not final."""
        return any(one.id == batch for one in self._open())

    def _open(self) -> list[Batch]:
        return [batch for batch in self._batches.values() if not batch.status.is_final]
