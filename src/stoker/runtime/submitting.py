"""Putting background jobs into the store: a body is read, bounded in time, and made a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from stoker.core.errors import InvalidRequest
from stoker.core.work import Priority, RequestId
from stoker.ports import Clock, Enqueued, JobStore, NewJob
from stoker.runtime import intake
from stoker.runtime.ids import Ids
from stoker.runtime.job_runner import JobRunner
from stoker.runtime.model_router import ModelRouter, Target

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
        runners: Mapping[str, JobRunner],
        router: ModelRouter,
        clock: Clock,
        ids: Ids,
        *,
        max_attempts: int,
        default_deadline_s: float | None,
    ) -> None:
        self._store = store
        self._runners = runners
        self._router = router
        self._clock = clock
        self._ids = ids
        self._max_attempts = max_attempts
        self._default_deadline_s = default_deadline_s

    async def submit(self, submissions: Sequence[P2Submission]) -> list[Enqueued]:
        """Store them, all or none. Raises `InvalidRequest`, `Conflict`, `StoreError`; where there
        are several engines, `ModelNotFound` and `Rejected`.
        """
        now = self._clock.wall()
        jobs: list[NewJob] = []
        targets: list[Target] = []
        for submission in submissions:
            job, model = self._new_job(submission, now)
            target = await self._router.route(model)
            # What nothing led to is for the default engine, whichever that will be.
            jobs.append(replace(job, engine=target.engine) if self._is_bound(target) else job)
            targets.append(target)
        enqueued = await self._store.enqueue(jobs, now=now)
        new: dict[str, Counter[str]] = {}
        for job, target, one in zip(jobs, targets, enqueued, strict=True):
            new.setdefault(target.engine, Counter())[job.tenant] += one.is_new
        for engine, tenants in new.items():
            self._runners[engine].note_enqueued(+tenants)
        return enqueued

    async def check_model(self, model: str) -> None:
        """Raise `ModelNotFound` where no engine has it, `Rejected` where that is not known yet."""
        await self._router.route(model)

    def _is_bound(self, target: Target) -> bool:
        return target.is_chosen and len(self._runners) > 1

    def _new_job(self, submission: P2Submission, now: float) -> tuple[NewJob, str | None]:
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
        job = NewJob(
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
        return job, inference.model

    def _deadline_at(
        self, submission: P2Submission, inference: intake.Inference, now: float
    ) -> float | None:
        own_s = inference.deadline_s or self._default_deadline_s
        own = None if own_s is None else now + own_s
        return min((at for at in (own, submission.deadline_at) if at is not None), default=None)
