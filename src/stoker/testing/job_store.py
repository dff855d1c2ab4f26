"""A job store in a dict: the same answers as the durable ones, for tests that need no disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from stoker.core.errors import Conflict, NotFound, StoreError
from stoker.core.jobs import Failure, JobError, JobState, is_legal
from stoker.core.work import JobId, Usage
from stoker.ports import Checkpoint, ClaimedJob, Enqueued, Job, NewJob, Renewal
from stoker.testing.batch_store import InMemoryBatchStore

_WAITING = frozenset({JobState.SCHEDULED, JobState.AVAILABLE, JobState.RETRYABLE})


@dataclass(slots=True)
class _Row:
    """A job with all that the durable stores keep beside it."""

    job: Job
    body: bytes
    lease_id: str | None = None
    lease_until: float = 0.0
    checkpoint: Checkpoint | None = None
    result: bytes | None = None


class InMemoryJobStore:
    """Implements `ports.JobStore`. What it holds outlives `close`, as a file would."""

    def __init__(self) -> None:
        self._rows: dict[JobId, _Row] = {}  # in order of enqueue
        self._leases = 0
        self._is_open = False
        self.batches = InMemoryBatchStore(self)

    async def open(self) -> None:
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False

    async def enqueue(self, jobs: Sequence[NewJob], *, now: float) -> list[Enqueued]:
        added: list[_Row] = []
        answers = [self._enqueue_one(job, added, now) for job in jobs]
        ids = [row.job.id for row in added]
        if len(set(ids)) < len(ids) or not self._all().keys().isdisjoint(ids):
            raise Conflict("a job with this id exists already", code="job_exists")
        self._rows.update(zip(ids, added, strict=True))
        return answers

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
        waiting = [
            row
            for row in self._all().values()
            if row.job.state is JobState.AVAILABLE
            and row.job.engine in engines
            and tenant in {None, row.job.tenant}
        ]
        if family:
            waiting.sort(key=lambda row: row.job.family != family)
        chosen = {row.job.id for row in waiting[: max(0, count)]}
        return [
            self._claim_one(row, now + lease_s, now)
            for row in self._all().values()
            if row.job.id in chosen
        ]

    async def renew(
        self, held: Sequence[tuple[JobId, str]], *, lease_s: float, now: float
    ) -> list[Renewal]:
        return [self._renew_one(job_id, lease_id, now + lease_s) for job_id, lease_id in held]

    async def complete(
        self, id: JobId, lease_id: str, *, result: bytes, usage: Usage | None, now: float
    ) -> bool:
        row = self._held(id, lease_id)
        if row is None:
            return False
        row.job = replace(row.job, usage=usage, error=None)
        row.result = result
        _move(row, JobState.COMPLETED, now)
        return True

    async def fail(self, id: JobId, lease_id: str, failure: Failure, *, now: float) -> bool:
        row = self._held(id, lease_id)
        if row is None:
            return False
        run_at = row.job.run_at if failure.run_at is None else failure.run_at
        row.job = replace(row.job, error=failure.error, run_at=run_at)
        row.checkpoint = None
        is_final = failure.state.is_final or not row.job.is_cancel_requested
        _move(row, failure.state if is_final else JobState.CANCELLED, now)
        return True

    async def release(
        self,
        id: JobId,
        lease_id: str,
        *,
        checkpoint: Checkpoint | None,
        is_preempted: bool,
        now: float,
    ) -> bool:
        row = self._held(id, lease_id)
        if row is None:
            return False
        row.job = replace(
            row.job,
            attempts=row.job.attempts - 1,
            preemptions=row.job.preemptions + is_preempted,
        )
        row.checkpoint = checkpoint or row.checkpoint
        _move(row, _cancelled_or(row, JobState.AVAILABLE), now)
        return True

    async def finish_cancel(self, id: JobId, lease_id: str, *, now: float) -> bool:
        row = self._held(id, lease_id)
        if row is None or not row.job.is_cancel_requested:
            return False
        _move(row, JobState.CANCELLED, now)
        return True

    async def rescue(self, *, now: float) -> int:
        lost = [
            row
            for row in self._all().values()
            if row.job.state is JobState.RUNNING and row.lease_until <= now
        ]
        for row in lost:
            _rescue_one(row, now)
        return len(lost)

    async def promote(self, *, now: float) -> int:
        due = [
            row
            for row in self._all().values()
            if row.job.state in {JobState.SCHEDULED, JobState.RETRYABLE}
            and row.job.run_at is not None
            and row.job.run_at <= now
        ]
        for row in due:
            _move(row, JobState.AVAILABLE, now)
        return len(due)

    async def expire(self, *, now: float) -> list[JobId]:
        late = [
            row
            for row in self._all().values()
            if row.job.state in _WAITING
            and row.job.deadline_at is not None
            and row.job.deadline_at <= now
        ]
        error = JobError("deadline_exceeded", "its deadline passed before it could finish")
        for row in late:
            row.job = replace(row.job, error=error)
            _move(row, JobState.DISCARDED, now)
        return [row.job.id for row in late]

    async def prune(self, *, finished_before: float, limit: int) -> int:
        finished = [
            (row.job.finished_at, row.job.id)
            for row in self._all().values()
            if row.job.finished_at is not None
            and row.job.finished_at < finished_before
            and not self.batches.is_open(row.job.batch)
        ]
        oldest = sorted(finished, key=lambda found: found[0])[: max(0, limit)]
        for _, job_id in oldest:
            del self._rows[job_id]
        return len(oldest)

    async def cancel(self, id: JobId, *, now: float) -> Job:
        row = self._find(id)
        state = row.job.state
        if state in {JobState.COMPLETED, JobState.DISCARDED}:
            raise Conflict(f"job {id}: already {state.value}, too late to cancel")
        if state is JobState.RUNNING:
            row.job = replace(row.job, is_cancel_requested=True)
        elif state in _WAITING:
            _move(row, JobState.CANCELLED, now)
        return row.job

    async def retry(self, id: JobId, *, now: float) -> Job:
        row = self._find(id)
        job = row.job
        if job.state not in {JobState.DISCARDED, JobState.CANCELLED}:
            only = "only a discarded or cancelled job can be retried"
            raise Conflict(f"job {id}: {job.state.value}; {only}")
        is_late = job.deadline_at is not None and job.deadline_at <= now
        row.job = replace(
            job,
            state=JobState.AVAILABLE,
            attempts=0,
            preemptions=0,
            run_at=None,
            deadline_at=None if is_late else job.deadline_at,
            started_at=None,
            finished_at=None,
            error=None,
            is_cancel_requested=False,
        )
        return row.job

    async def get(self, id: JobId) -> Job:
        return self._find(id).job

    async def result(self, id: JobId) -> bytes | None:
        return self._find(id).result

    async def body(self, id: JobId) -> bytes:
        return self._find(id).body

    async def delete(self, id: JobId) -> None:
        state = self._find(id).job.state
        if not state.is_final:
            raise Conflict(f"job {id}: still {state.value}; cancel it first")
        del self._rows[id]

    async def list_jobs(
        self,
        *,
        state: JobState | None = None,
        batch: str | None = None,
        tenant: str | None = None,
        limit: int = 100,
        before: JobId | None = None,
    ) -> list[Job]:
        jobs = [row.job for row in self._all().values()]
        if before is not None:
            jobs = jobs[: jobs.index(self._find(before).job)]
        found = [
            job
            for job in reversed(jobs)
            if state in {None, job.state}
            and (batch is None or job.batch == batch)
            and tenant in {None, job.tenant}
        ]
        return found[: max(0, limit)]

    async def counts(
        self, *, batch: str | None = None, tenant: str | None = None
    ) -> Mapping[JobState, int]:
        found = dict.fromkeys(JobState, 0)
        for row in self._all().values():
            if batch in {None, row.job.batch} and tenant in {None, row.job.tenant}:
                found[row.job.state] += 1
        return found

    async def counts_by_engine(self) -> Mapping[str, Mapping[JobState, int]]:
        found: dict[str, dict[JobState, int]] = {}
        for row in self._all().values():
            of_engine = found.setdefault(row.job.engine, dict.fromkeys(JobState, 0))
            of_engine[row.job.state] += 1
        return found

    async def waiting_tenants(self, engines: Sequence[str] = ("",)) -> Mapping[str, int]:
        jobs = [row.job for row in self._all().values() if row.job.engine in engines]
        found = Counter(job.tenant for job in jobs if job.state is JobState.AVAILABLE)
        return dict(sorted(found.items()))

    def _all(self) -> dict[JobId, _Row]:
        if not self._is_open:
            raise StoreError("the job store is closed; open it first")
        return self._rows

    def _find(self, id: JobId) -> _Row:
        row = self._all().get(id)
        if row is None:
            raise NotFound(f"job {id}: no such job, or pruned since")
        return row

    def _held(self, id: JobId, lease_id: str) -> _Row | None:
        row = self._all().get(id)
        return None if row is None or row.lease_id != lease_id else row

    def _enqueue_one(self, new: NewJob, added: list[_Row], now: float) -> Enqueued:
        rows = [*self._all().values(), *added] if new.key is not None else []
        own = (new.tenant, new.key)
        known = next((row for row in rows if (row.job.tenant, row.job.key) == own), None)
        if known is not None:
            if (known.job.endpoint, known.body) != (new.endpoint, new.body):
                raise Conflict(
                    f"idempotency key {new.key!r}: already used for job {known.job.id} with "
                    "another body; use a new key for a new request",
                    code="idempotency_conflict",
                )
            return Enqueued(known.job.id, is_new=False)
        added.append(_Row(_first_life(new, now), new.body))
        return Enqueued(new.id, is_new=True)

    def _claim_one(self, row: _Row, lease_until: float, now: float) -> ClaimedJob:
        self._leases += 1
        _move(row, JobState.RUNNING, now)
        row.lease_id, row.lease_until = f"{self._leases:032x}", lease_until
        started_at = now if row.job.started_at is None else row.job.started_at
        row.job = replace(row.job, attempts=row.job.attempts + 1, started_at=started_at)
        return ClaimedJob(row.job, row.lease_id, row.body, row.checkpoint)

    def _renew_one(self, id: JobId, lease_id: str, lease_until: float) -> Renewal:
        row = self._held(id, lease_id)
        if row is None:
            return Renewal(id, is_held=False, is_cancel_requested=False)
        row.lease_until = lease_until
        return Renewal(id, is_held=True, is_cancel_requested=row.job.is_cancel_requested)


def _move(row: _Row, state: JobState, now: float) -> None:
    assert is_legal(row.job.state, state), f"job {row.job.id}: {row.job.state} to {state}"
    row.lease_id = None
    row.job = replace(row.job, state=state, finished_at=now if state.is_final else None)
    if state.is_final:
        row.checkpoint = None


def _cancelled_or(row: _Row, state: JobState) -> JobState:
    return JobState.CANCELLED if row.job.is_cancel_requested else state


def _rescue_one(row: _Row, now: float) -> None:
    row.job = replace(row.job, attempts=row.job.attempts - 1)
    _move(row, _cancelled_or(row, JobState.AVAILABLE), now)


def _first_life(new: NewJob, now: float) -> Job:
    is_due = new.run_at is None or new.run_at <= now
    return Job(
        id=new.id,
        state=JobState.AVAILABLE if is_due else JobState.SCHEDULED,
        endpoint=new.endpoint,
        family=new.family,
        key=new.key,
        batch=new.batch,
        attempts=0,
        max_attempts=new.max_attempts,
        preemptions=0,
        run_at=new.run_at,
        deadline_at=new.deadline_at,
        created_at=now,
        started_at=None,
        finished_at=None,
        error=None,
        usage=None,
        is_cancel_requested=False,
        engine=new.engine,
        tenant=new.tenant,
    )
