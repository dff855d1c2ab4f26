"""Putting background jobs into the store: a body is read, bounded in time, and made a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from stoker.core.errors import InvalidRequest
from stoker.core.work import Priority, RequestId
from stoker.ports import Clock, Enqueued, JobStore, NewJob
from stoker.runtime import intake
from stoker.runtime.ids import Ids
from stoker.runtime.job_runner import JobRunner

KEY_MAX = 255


@dataclass(frozen=True, slots=True)
class P2Submission:
    """One background job to store."""

    body: bytes
    key: str | None = None
    endpoint: str | None = None
    batch: str | None = None
    deadline_at: float | None = None
    """Wall seconds by which it must have finished, whatever its body allows."""
    tenant: str = ""
    """Whose it is, whatever its body says; without it the body may say."""


class Submitter:
    """Stores jobs and tells the runner. One for a whole service."""

    def __init__(
        self,
        store: JobStore,
        runner: JobRunner,
        clock: Clock,
        ids: Ids,
        *,
        max_attempts: int,
        default_deadline_s: float | None,
    ) -> None:
        self._store = store
        self._runner = runner
        self._clock = clock
        self._ids = ids
        self._max_attempts = max_attempts
        self._default_deadline_s = default_deadline_s

    async def submit(self, submissions: Sequence[P2Submission]) -> list[Enqueued]:
        """Store them, all or none. Raises `InvalidRequest`, `Conflict`, `StoreError`."""
        now = self._clock.wall()
        jobs = [self._new_job(submission, now) for submission in submissions]
        enqueued = await self._store.enqueue(jobs, now=now)
        new = Counter(job.tenant for job, one in zip(jobs, enqueued, strict=True) if one.is_new)
        self._runner.note_enqueued(new)
        return enqueued

    def _new_job(self, submission: P2Submission, now: float) -> NewJob:
        id = self._ids.job()
        inference = intake.parse(
            submission.body,
            endpoint=submission.endpoint,
            priority=Priority.P2,
            request_id=RequestId(id),
            now=self._clock.monotonic(),
            tenant=submission.tenant,
        )
        if submission.key is not None and not 0 < len(submission.key) <= KEY_MAX:
            raise InvalidRequest(
                f"the idempotency key must have 1 to {KEY_MAX} characters", param="Idempotency-Key"
            )
        return NewJob(
            id=id,
            endpoint=inference.endpoint,
            body=inference.body,
            key=submission.key,
            family=inference.request.family,
            batch=submission.batch,
            run_at=inference.run_at,
            deadline_at=self._deadline_at(submission, inference, now),
            max_attempts=self._max_attempts,
            tenant=inference.request.tenant,
        )

    def _deadline_at(
        self, submission: P2Submission, inference: intake.Inference, now: float
    ) -> float | None:
        own_s = inference.deadline_s or self._default_deadline_s
        own = None if own_s is None else now + own_s
        return min((at for at in (own, submission.deadline_at) if at is not None), default=None)
