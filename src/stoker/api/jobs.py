"""The routes of durable background work: enqueue, await, list, cancel, retry."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from stoker.api.access import caller_of, check_submission, check_visible
from stoker.api.answers import json_answer
from stoker.api.asgi import read_body
from stoker.api.query import bounded_text, number
from stoker.api.wire import JobAccepted, JobDocument, JobList, job_document
from stoker.core.errors import InvalidRequest
from stoker.core.jobs import JobState
from stoker.core.work import JobId
from stoker.fabric import Fabric, P2Submission
from stoker.ports import Job

LIST_MAX = 1000


@dataclass(frozen=True, slots=True)
class Jobs:
    """Endpoints over one fabric."""

    fabric: Fabric

    async def enqueue(self, request: Request) -> Response:
        """202 only after the store has it. A repeated key answers with the job it names."""
        limit = self.fabric.config.server.body_max_bytes
        body = await read_body(request.scope, request.receive, max_bytes=limit)
        key = bounded_text(request.headers.get("idempotency-key"), "Idempotency-Key")
        batch = bounded_text(request.query_params.get("batch"), "batch")
        await check_submission(request.scope, self.fabric)
        tenant = caller_of(request.scope).tenant
        submission = P2Submission(body=body, key=key, endpoint=None, batch=batch, tenant=tenant)
        enqueued = (await self.fabric.submit([submission]))[0]
        status = JobState.AVAILABLE
        if not enqueued.is_new or b'"run_at"' in body:
            status = (await self.fabric.jobs.get(enqueued.id)).state
        accepted = JobAccepted(enqueued.id, status.value, is_new=enqueued.is_new)
        return json_answer(accepted, 202, {"location": f"/v1/p2/{enqueued.id}"})

    async def show(self, request: Request) -> Response:
        """The job as it is, or as it is after at most `wait` seconds."""
        id = await self._visible(request)
        most = self.fabric.config.jobs.wait_max_s
        wait_s = min(number(request, "wait", 0.0, least=0), most)
        if wait_s > 0:
            job = await self.fabric.wait_job(id, wait_s)
        else:
            job = await self.fabric.jobs.get(id)
        return await self._answer(job)

    async def list(self, request: Request) -> Response:
        """Newest first, without results."""
        limit = int(min(number(request, "limit", 100, least=1), LIST_MAX))
        batch = request.query_params.get("batch")
        before = request.query_params.get("before")
        tenant = caller_of(request.scope).sees
        if before is not None and tenant is not None:
            await self._check(request, JobId(before))
        jobs = await self.fabric.jobs.list_jobs(
            state=_state(request.query_params.get("state")),
            batch=batch,
            tenant=tenant,
            limit=limit + 1,
            before=None if before is None else JobId(before),
        )
        counts = await self.fabric.jobs.counts(batch=batch, tenant=tenant)
        return json_answer(
            JobList(
                data=[self._document(job) for job in jobs[:limit]],
                has_more=len(jobs) > limit,
                counts={state.value: count for state, count in counts.items()},
            )
        )

    async def cancel(self, request: Request) -> Response:
        """Cancel a waiting job at once (200); ask it of a running one (202)."""
        return await self._answer(await self.fabric.cancel_job(await self._visible(request)))

    async def retry(self, request: Request) -> Response:
        """Give a discarded or cancelled job a new life."""
        return await self._answer(await self.fabric.retry_job(await self._visible(request)))

    async def _visible(self, request: Request) -> JobId:
        """The job that is asked for. Raises `NotFound` for another tenant's."""
        id = JobId(request.path_params["job_id"])
        await self._check(request, id)
        return id

    async def _check(self, request: Request, id: JobId) -> None:
        if caller_of(request.scope).sees is not None:
            job = await self.fabric.jobs.get(id)
            check_visible(request.scope, job.tenant, f"job {id}: no such job, or pruned since")

    async def _answer(self, job: Job) -> Response:
        result = None
        if job.state is JobState.COMPLETED:
            result = await self.fabric.jobs.result(job.id)
        document = self._document(job, result)
        return json_answer(document, 200 if job.state.is_final else 202)

    def _document(self, job: Job, result: bytes | None = None) -> JobDocument:
        return job_document(job, reason=self.fabric.job_reason(job), result=result)


def _state(name: str | None) -> JobState | None:
    try:
        return None if name is None else JobState(name)
    except ValueError:
        allowed = ", ".join(state.value for state in JobState)
        raise InvalidRequest(f"state must be one of {allowed}", param="state") from None
