"""The durable job store of one box: SQLite in WAL mode, one writer, group commit.

Writes go through one thread that owns the only writing connection; all that wait are committed
together, so that 32 callers share one sync of the disk. Reads have a thread and a connection of
their own and never wait for the writer. What the operations do is in `enqueueing`, `writes` and
`reads`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from stoker.core.jobs import Failure, JobState
from stoker.core.work import JobId, Usage
from stoker.ports import Checkpoint, ClaimedJob, Enqueued, Job, NewJob, Renewal
from stoker.store import database, enqueueing, reads, writes
from stoker.store.batches import SqliteBatchStore
from stoker.store.lanes import Lane, start_both, stop_both
from stoker.store.queries import migrations
from stoker.store.transactions import group_commit, one_by_one

SCHEMA = database.Schema(
    label="job store",
    application_id=0x53746F6B,  # `Stok`
    migrations=migrations(),
    is_folder_owner=True,
)

_GROUP_MAX = 256
"""Writes in one transaction: bounds how long the first of them waits for the last."""


class SqliteJobStore:
    """Implements `ports.JobStore`; the methods are described there."""

    def __init__(self, path: Path, *, busy_timeout_s: float = 5.0) -> None:
        self._writer = Lane(
            "stoker-store-writer",
            lambda: database.writer_session(path, SCHEMA, busy_timeout_s),
            group_commit(path, SCHEMA.label),
            group_max=_GROUP_MAX,
        )
        self._reader = Lane(
            "stoker-store-reader",
            lambda: database.reader_session(path, SCHEMA, busy_timeout_s),
            one_by_one(path, SCHEMA.label),
            group_max=_GROUP_MAX,
        )
        self.batches = SqliteBatchStore(self._writer, self._reader)

    async def open(self) -> None:
        await start_both(self._writer, self._reader)

    async def close(self) -> None:
        await stop_both(self._writer, self._reader)

    async def enqueue(self, jobs: Sequence[NewJob], *, now: float) -> list[Enqueued]:
        return await self._writer.submit(lambda db: enqueueing.enqueue(db, jobs, now))

    async def claim(
        self,
        count: int,
        *,
        lease_s: float,
        now: float,
        family: str = "",
        engines: Sequence[str] = ("",),
        tenant: str | None = None,
    ) -> list[ClaimedJob]:
        wanted = writes.Wanted(count, family, engines, tenant)
        return await self._writer.submit(lambda db: writes.claim(db, wanted, now + lease_s, now))

    async def renew(
        self, held: Sequence[tuple[JobId, str]], *, lease_s: float, now: float
    ) -> list[Renewal]:
        return await self._writer.submit(lambda db: writes.renew(db, held, now + lease_s))

    async def complete(
        self, id: JobId, lease_id: str, *, result: bytes, usage: Usage | None, now: float
    ) -> bool:
        held = (id, lease_id)
        return await self._writer.submit(lambda db: writes.complete(db, held, result, usage, now))

    async def fail(self, id: JobId, lease_id: str, failure: Failure, *, now: float) -> bool:
        return await self._writer.submit(lambda db: writes.fail(db, (id, lease_id), failure, now))

    async def release(
        self,
        id: JobId,
        lease_id: str,
        *,
        checkpoint: Checkpoint | None,
        is_preempted: bool,
        now: float,
    ) -> bool:
        return await self._writer.submit(
            lambda db: writes.release(
                db, (id, lease_id), checkpoint, is_preempted=is_preempted, now=now
            )
        )

    async def finish_cancel(self, id: JobId, lease_id: str, *, now: float) -> bool:
        return await self._writer.submit(lambda db: writes.finish_cancel(db, (id, lease_id), now))

    async def rescue(self, *, now: float) -> int:
        return await self._writer.submit(lambda db: writes.rescue(db, now))

    async def promote(self, *, now: float) -> int:
        return await self._writer.submit(lambda db: writes.promote(db, now))

    async def expire(self, *, now: float) -> list[JobId]:
        return await self._writer.submit(lambda db: writes.expire(db, now))

    async def prune(self, *, finished_before: float, limit: int) -> int:
        return await self._writer.submit(lambda db: writes.prune(db, finished_before, limit))

    async def cancel(self, id: JobId, *, now: float) -> Job:
        return await self._writer.submit(lambda db: writes.cancel(db, id, now))

    async def retry(self, id: JobId, *, now: float) -> Job:
        return await self._writer.submit(lambda db: writes.retry(db, id, now))

    async def get(self, id: JobId) -> Job:
        return await self._reader.submit(lambda db: reads.get(db, id))

    async def result(self, id: JobId) -> bytes | None:
        return await self._reader.submit(lambda db: reads.result(db, id))

    async def body(self, id: JobId) -> bytes:
        return await self._reader.submit(lambda db: reads.body(db, id))

    async def delete(self, id: JobId) -> None:
        await self._writer.submit(lambda db: writes.delete(db, id))

    async def list_jobs(
        self,
        *,
        state: JobState | None = None,
        batch: str | None = None,
        tenant: str | None = None,
        limit: int = 100,
        before: JobId | None = None,
    ) -> list[Job]:
        return await self._reader.submit(
            lambda db: reads.list_jobs(
                db, state=state, batch=batch, tenant=tenant, limit=limit, before=before
            )
        )

    async def counts(
        self, *, batch: str | None = None, tenant: str | None = None
    ) -> Mapping[JobState, int]:
        return await self._reader.submit(lambda db: reads.counts(db, batch, tenant))

    async def counts_by_engine(self) -> Mapping[str, Mapping[JobState, int]]:
        return await self._reader.submit(reads.counts_by_engine)

    async def waiting_tenants(self, engines: Sequence[str] = ("",)) -> Mapping[str, int]:
        return await self._reader.submit(lambda db: reads.waiting_tenants(db, engines))
