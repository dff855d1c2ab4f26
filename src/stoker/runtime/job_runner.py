"""Runs durable jobs: claims rows when the scheduler has room, keeps their leases, records the end.

A job is a request that sleeps in a table. Each claimed row becomes one task: `admit`, stream,
collect, and one write conditional on the lease, so that a job which was rescued meanwhile cannot
be finished twice. Preempted, it goes back to the table with the text that it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from stoker.core.actions import ClaimJobs
from stoker.core.errors import EngineError, EngineRefused, Rejected, StokerError, StoreError
from stoker.core.events import JobsAvailable, JobsClaimed
from stoker.core.jobs import Failure, JobError, JobState, RetryPolicy, after_failure
from stoker.core.reasons import Reason
from stoker.core.work import JobId, Priority, Request, RequestId, Usage
from stoker.ports import (
    Checkpoint,
    ClaimedJob,
    Clock,
    Engine,
    EngineAnswer,
    EngineCall,
    Job,
    JobStore,
)
from stoker.runtime import intake
from stoker.runtime.calls import Calls
from stoker.runtime.dispatcher import Dispatcher, Preempted
from stoker.runtime.endpoints import RESPONSES
from stoker.runtime.response_events import ResponseEvents
from stoker.runtime.waiters import Waiters

log = structlog.get_logger("stoker.jobs")

Rename = Callable[[bytes, str | None], bytes]
"""A body, and the model in it, to the body that the engine is sent."""

_TOKENIZE_TIMEOUT_S = 5.0


@dataclass(slots=True)
class _Held:
    """A row that we hold: its task, and what it would leave behind if it were stopped now."""

    claimed: ClaimedJob
    task: asyncio.Task[None] | None = None
    checkpoint: Checkpoint | None = None
    has_started: bool = False
    has_arrived: bool = False
    is_cancelled: bool = False
    is_lost: bool = False


@dataclass(frozen=True, slots=True)
class _Prepared:
    request: Request
    """As the scheduler sees it."""
    body: bytes
    """As the engine is sent it."""
    is_followed: bool
    """Whether somebody may read along: it is a Response that was asked for as a stream."""


@dataclass(frozen=True, slots=True)
class _Result:
    body: bytes
    usage: Usage | None


class JobRunner:
    """Everything between the job table and the engine. `run()` is its life."""

    def __init__(
        self,
        store: JobStore,
        engine: Engine,
        dispatcher: Dispatcher,
        calls: Calls,
        waiters: Waiters,
        clock: Clock,
        *,
        lease_s: float,
        retry: RetryPolicy,
    ) -> None:
        self._store = store
        self._engines: Sequence[str] = ("",)
        self._rename: Rename = lambda body, _model: body
        self._engine = engine
        self._dispatcher = dispatcher
        self._calls = calls
        self._waiters = waiters
        self._events = ResponseEvents()
        self._clock = clock
        self._lease_s = lease_s
        self._retry = retry
        self._asked: asyncio.Queue[ClaimJobs] = asyncio.Queue()
        self._held: dict[JobId, _Held] = {}
        self.counts: Mapping[JobState, int] = dict.fromkeys(JobState, 0)
        """Jobs per state for this engine, about a second old at most."""
        dispatcher.on_claim(self._asked.put_nowait)

    def claim_for(self, engines: Sequence[str], rename: Rename) -> None:
        """Claim the jobs of these engines; `rename` lets a body ask for its model by the name that
        ours knows.
        """
        self._engines, self._rename = engines, rename

    def tell(self, events: ResponseEvents) -> None:
        """Put the events of streamed Responses there, where others follow them."""
        self._events = events

    @property
    def held(self) -> int:
        """Jobs that this process holds."""
        return len(self._held)

    async def run(self) -> None:
        """Claim and run jobs until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._renew_leases(), name="renew leases")
            while True:
                asked = await self._asked.get()
                for held in await self._claim(asked):
                    name = held.claimed.job.id
                    held.task = tasks.create_task(self._work(held), name=name)

    def holds(self, id: JobId) -> bool:
        """Whether it runs that job now."""
        return id in self._held

    async def ping(self, counts: Mapping[str, Mapping[JobState, int]]) -> None:
        """Tell the scheduler how many jobs could be claimed now. `counts` are the store's, by
        engine.
        """
        of_engines = [counts[name] for name in self._engines if name in counts]
        self.counts = {state: sum(one[state] for one in of_engines) for state in JobState}
        tenants = await self._store.waiting_tenants(self._engines)
        self._dispatcher.tell(
            JobsAvailable(self._clock.monotonic(), self.counts[JobState.AVAILABLE], tenants)
        )

    def note_enqueued(self, tenants: Mapping[str, int]) -> None:
        """So many new jobs of each tenant are there; the exact numbers come with the next ping."""
        claims = self._dispatcher.scheduler.state.claims
        known = max(0, claims.available) + sum(tenants.values())
        self._dispatcher.tell(
            JobsAvailable(self._clock.monotonic(), known, claims.with_more(tenants))
        )

    async def cancel(self, id: JobId) -> Job:
        """Cancel a job, wherever it is. Raises `NotFound`, or `Conflict` when it is over."""
        job = await self._store.cancel(id, now=self._clock.wall())
        held = self._held.get(id)
        if held is not None:
            self._stop(held, is_cancelled=True)
        self._waiters.wake([id])
        return job

    # ------------------------------------------------------------------ claiming and leases

    async def _claim(self, asked: ClaimJobs) -> list[_Held]:
        rows: list[ClaimedJob] = []
        try:
            rows = await self._store.claim(
                asked.count,
                lease_s=self._lease_s,
                now=self._clock.wall(),
                family=asked.family,
                tenant=asked.tenant,
                engines=self._engines,
            )
        except StoreError as error:
            log.error("claim_failed", error=str(error))
        helds = [_Held(row) for row in rows]
        self._held |= {held.claimed.job.id: held for held in helds}
        self._dispatcher.tell(
            JobsClaimed(self._clock.monotonic(), asked.count, len(rows), asked.tenant)
        )
        return helds

    async def _renew_leases(self) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 3)
            leases = [(id, held.claimed.lease_id) for id, held in self._held.items()]
            if not leases:
                continue
            try:
                renewals = await self._store.renew(
                    leases, lease_s=self._lease_s, now=self._clock.wall()
                )
            except StoreError as error:
                log.error("renew_failed", error=str(error), jobs=len(leases))
                continue
            for renewal in renewals:
                held = self._held.get(renewal.id)
                if held is not None and not renewal.is_held:
                    held.is_lost = True
                    self._stop(held, is_cancelled=False)
                elif held is not None and renewal.is_cancel_requested:
                    self._stop(held, is_cancelled=True)

    def _stop(self, held: _Held, *, is_cancelled: bool) -> None:
        is_first = not held.is_cancelled
        held.is_cancelled |= is_cancelled
        if held.task is not None and is_first:
            held.task.cancel()

    # ------------------------------------------------------------------ one job

    async def _work(self, held: _Held) -> None:
        """Run one held job to whatever end it has, and record that end."""
        job = held.claimed.job
        try:
            try:
                await self._attempt(held)
            except asyncio.CancelledError:
                if not (held.is_cancelled or held.is_lost):
                    await asyncio.shield(self._give_back(held))
                    raise
                await self._settle_stopped(held)
        except StoreError as error:
            # The lease lapses and the job is rescued: it runs again rather than being lost.
            log.error("job_not_recorded", job_id=job.id, error=str(error))
        finally:
            del self._held[job.id]
            if not held.has_arrived:
                self._dispatcher.tell(JobsClaimed(self._clock.monotonic(), 1, 0, job.tenant))
            self._waiters.wake([job.id])

    async def _attempt(self, held: _Held) -> None:
        try:
            result = await self._infer(held)
        except Preempted:
            await self._give_back(held)
        except Rejected as error:
            await self._rejected(held, error)
        except TimeoutError:
            await self._discard(held, "deadline_exceeded", "its deadline passed while it ran")
        except EngineError as error:
            await self._fail(held, error)
        except StokerError as error:
            await self._discard(held, error.code, str(error))
        except Exception as error:  # the job's boundary: one must not end all others
            id = held.claimed.job.id
            log.error("job_hit_a_fault", job_id=id, exc_info=error)
            message = f"internal error; the log has the details under {id}"
            await self._discard(held, "internal_error", message)
        else:
            await self._complete(held, result)

    async def _infer(self, held: _Held) -> _Result:
        job, clock = held.claimed.job, self._clock
        prepared = await self._prepared(held.claimed)
        request = prepared.request
        deadline = None if job.deadline_at is None else job.deadline_at - clock.wall()
        call = EngineCall(
            request.id,
            job.endpoint,
            prepared.body,
            Priority.P2,
            is_collected=True,
            checkpoint=held.claimed.checkpoint,
        )
        held.has_arrived = True
        async with asyncio.timeout(deadline), self._calls.open(request, call) as answer:
            held.has_started = True
            try:
                if prepared.is_followed:
                    await self._read_aloud(job, answer)
                async for _ in answer.chunks():
                    pass
            except BaseException:
                held.checkpoint = answer.checkpoint()
                raise
            return _Result(answer.body(), answer.usage)

    async def _read_aloud(self, job: Job, answer: EngineAnswer) -> None:
        """Read the answer while others may follow."""
        with self._events.run(job.id, age_s=self._clock.wall() - job.created_at) as stream:
            async for chunk in answer.chunks():
                stream.tell_frames(chunk)

    async def _prepared(self, claimed: ClaimedJob) -> _Prepared:
        """With an exact prompt where a tokenizer counts."""
        job, kept = claimed.job, claimed.checkpoint
        inference = intake.parse(
            claimed.body,
            endpoint=job.endpoint,
            priority=Priority.P2,
            request_id=RequestId(job.id),
            now=self._clock.monotonic(),
        )
        body = self._rename(claimed.body, inference.model)
        request = replace(
            inference.request,
            family=job.family or inference.request.family,
            tenant=job.tenant,
            prompt_tokens=await self._prompt_tokens(claimed, body),
            preemptible=True,
            deadline_at=None,
            resumed_tokens=kept.output_tokens if kept else 0,
            job_id=job.id,
        )
        is_response = job.endpoint == RESPONSES and job.batch is None
        return _Prepared(request, body, is_followed=is_response and inference.is_stream)

    async def _prompt_tokens(self, claimed: ClaimedJob, body: bytes) -> int | None:
        kept = claimed.checkpoint
        if kept is not None and kept.prompt_tokens is not None:
            return kept.prompt_tokens
        try:
            async with asyncio.timeout(_TOKENIZE_TIMEOUT_S):
                return await self._engine.count_prompt_tokens(claimed.job.endpoint, body)
        except (EngineError, TimeoutError):
            return None  # the learned bytes per token will do

    # ------------------------------------------------------------------ the ends of a job

    async def _complete(self, held: _Held, result: _Result) -> None:
        is_ours = await self._store.complete(
            held.claimed.job.id,
            held.claimed.lease_id,
            result=result.body,
            usage=result.usage,
            now=self._clock.wall(),
        )
        self._note_recorded(held, "completed", is_ours=is_ours)

    async def _give_back(self, held: _Held) -> None:
        """Back to the table, at its old place, with its text; no attempt is counted."""
        is_ours = await self._store.release(
            held.claimed.job.id,
            held.claimed.lease_id,
            checkpoint=held.checkpoint or held.claimed.checkpoint,
            is_preempted=held.has_started,
            now=self._clock.wall(),
        )
        self._note_recorded(held, "released", is_ours=is_ours)
        self.note_enqueued({held.claimed.job.tenant: 1})

    async def _settle_stopped(self, held: _Held) -> None:
        """A person cancelled it, or the lease went to somebody else."""
        if held.is_lost:
            self._note_recorded(held, "dropped", is_ours=False)
            return
        is_ours = await self._store.finish_cancel(
            held.claimed.job.id, held.claimed.lease_id, now=self._clock.wall()
        )
        self._note_recorded(held, "cancelled", is_ours=is_ours)

    async def _rejected(self, held: _Held, error: Rejected) -> None:
        """Only what can never fit is final; everything else is a place to wait in the table."""
        if error.explanation.reason is Reason.EXCEEDS_CAPACITY:
            await self._discard(held, error.code, str(error))
        else:
            await self._give_back(held)

    async def _fail(self, held: _Held, error: EngineError) -> None:
        job = held.claimed.job
        code = f"engine_{error.status}" if isinstance(error, EngineRefused) else error.code
        failure = after_failure(
            JobError(code, str(error)),
            is_retryable=error.retryable,
            attempts=job.attempts,
            max_attempts=job.max_attempts,
            deadline_at=job.deadline_at,
            now=self._clock.wall(),
            policy=self._retry,
        )
        await self._record_failure(held, failure)

    async def _discard(self, held: _Held, code: str, message: str) -> None:
        await self._record_failure(held, Failure(JobState.DISCARDED, None, JobError(code, message)))

    async def _record_failure(self, held: _Held, failure: Failure) -> None:
        job = held.claimed.job
        is_ours = await self._store.fail(
            job.id, held.claimed.lease_id, failure, now=self._clock.wall()
        )
        log.warning(
            "job_failed",
            job_id=job.id,
            code=failure.error.code,
            message=failure.error.message,
            becomes=failure.state.value,
            attempt=job.attempts,
        )
        self._note_recorded(held, failure.state.value, is_ours=is_ours)

    def _note_recorded(self, held: _Held, what: str, *, is_ours: bool) -> None:
        if not is_ours:
            log.warning("lease_lost", job_id=held.claimed.job.id, dropped=what)
