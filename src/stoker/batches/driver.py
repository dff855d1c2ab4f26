"""Takes one batch from status to status until it is final, also over the death of the process.

Every step can be done again: a file is checked from its beginning, a line that was sent twice is
one job, and output files are shown in the transaction that ends the batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from stoker.batch_ports import BatchStore
from stoker.batches.files import Files
from stoker.batches.lines import FAULTS_MAX, Line, LineChecker, LineReader, read_line
from stoker.batches.output import OutputWriter
from stoker.core.batches import (
    Batch,
    BatchCounts,
    BatchStatus,
    LineFault,
    line_key,
    moved,
)
from stoker.core.errors import Conflict, InvalidRequest, ModelNotFound, StokerError
from stoker.core.jobs import JobState
from stoker.core.work import JobId
from stoker.ports import Clock, Job, JobStore
from stoker.runtime.submitting import P2Submission, Submitter
from stoker.runtime.waiters import Waiters

log = structlog.get_logger("stoker.batches")

RETRY_S = 10.0
_CANCEL_JOBS = 200
"""Jobs cancelled in one transaction."""
_MARK_EVERY = 16
"""Slices between two notes of how far the input was sent: each is a sync of the disk."""
_UNFINISHED = [state for state in JobState if not state.is_final]


@dataclass(frozen=True, slots=True)
class DriverParts:
    """Whom a driver works with."""

    jobs: JobStore
    submitter: Submitter
    cancel_job: Callable[[JobId], Awaitable[Job]]
    """Wherever it is; `Conflict` when it is over."""
    waiters: Waiters
    files: Files
    output: OutputWriter
    clock: Clock
    note_moved: Callable[[], Awaitable[None]]
    lines_max: int
    line_max_bytes: int


class Driver:
    """Drives batches; each in a task of its caller."""

    def __init__(self, parts: DriverParts) -> None:
        self._parts = parts
        self._store: BatchStore = parts.jobs.batches
        self._stirred: dict[str, asyncio.Event] = {}
        # Reading and writing files is work for one batch at a time; waiting for jobs is for all.
        self._reading = asyncio.Semaphore(1)

    async def drive(self, batch: Batch) -> None:
        """Return when it is final. Whatever fails is logged and tried again."""
        if batch.id in self._stirred:
            return  # created in the moment in which those of before were looked for
        self._stirred[batch.id] = asyncio.Event()
        try:
            while not batch.status.is_final:
                batch = await self._stepped(batch)
                await self._parts.note_moved()
        finally:
            del self._stirred[batch.id]
        log.info("batch_ended", batch_id=batch.id, status=batch.status.value)

    def stir(self, id: str) -> None:
        """Its status was changed from outside: look again."""
        event = self._stirred.get(id)
        if event is not None:
            event.set()

    async def _stepped(self, batch: Batch) -> Batch:
        try:
            return await self._step_or_fail(batch)
        except (StokerError, OSError) as error:
            log.error("batch_step_failed", batch_id=batch.id, error=str(error))
        except Exception as error:
            # The task's boundary: one broken batch must not end the service.
            log.error("batch_step_broke", batch_id=batch.id, exc_info=error)
        await asyncio.sleep(RETRY_S)
        return await self._again(batch)

    async def _step_or_fail(self, batch: Batch) -> Batch:
        try:
            return await self._step(batch)
        except FileNotFoundError:
            message = "The content of the input file is gone from the data folder."
            fault = LineFault(code="file_not_found", message=message)
        except (InvalidRequest, Conflict, ModelNotFound) as error:
            # All lines were checked before. What is left is a model that is gone since, a key of
            # that name that somebody else has used, and a file that an older version checked.
            fault = LineFault(code=error.code, message=str(error))
        return await self._failed(batch, [fault])

    async def _again(self, batch: Batch) -> Batch:
        try:
            return await self._store.batch(batch.id, tenant=batch.tenant)
        except StokerError as error:
            log.error("batch_not_read", batch_id=batch.id, error=str(error))
            return batch

    async def _step(self, batch: Batch) -> Batch:
        match batch.status:
            case BatchStatus.VALIDATING:
                async with self._reading:
                    return await self._check(batch)
            case BatchStatus.IN_PROGRESS:
                async with self._reading:
                    batch = await self._send(batch)
                if batch.status is BatchStatus.IN_PROGRESS:
                    batch = await self._await_jobs(batch)
                return batch
            case BatchStatus.CANCELLING:
                await self._stop_jobs(batch)
                async with self._reading:
                    return await self._parts.output.finish(batch)
            case _:
                async with self._reading:
                    return await self._parts.output.finish(batch)

    # ------------------------------------------------------------------ checking

    async def _check(self, batch: Batch) -> Batch:
        parts = self._parts
        checker = LineChecker(
            batch.endpoint, lines_max=parts.lines_max, line_max_bytes=parts.line_max_bytes
        )
        reader = self._reader(batch)
        try:
            while not checker.is_over and not self._stirred[batch.id].is_set():
                if not await asyncio.to_thread(_check_slice, reader, checker):
                    break
        finally:
            reader.close()
        if self._stirred[batch.id].is_set():
            self._stirred[batch.id].clear()
            return await self._store.batch(batch.id, tenant=batch.tenant)
        faults = checker.verdict() or await self._unknown_models(checker)
        if faults:
            return await self._failed(batch, faults, total=checker.total)
        now = self._parts.clock.wall()

        def begin(last: Batch) -> Batch:
            if last.status is not BatchStatus.VALIDATING:
                return last  # cancelled meanwhile
            counts = BatchCounts(checker.total)
            return moved(last, BatchStatus.IN_PROGRESS, now, counts=counts, model=checker.model)

        return await self._store.change_batch(batch.id, begin)

    async def _unknown_models(self, checker: LineChecker) -> list[LineFault]:
        faults = []
        for model, line in checker.models.items():
            try:
                await self._parts.submitter.check_model(model)
            except ModelNotFound as error:
                faults.append(LineFault(error.code, str(error), line, "body.model"))
        return faults[:FAULTS_MAX]

    async def _failed(self, batch: Batch, faults: Sequence[LineFault], *, total: int = 0) -> Batch:
        await self._stop_jobs(batch)
        now = self._parts.clock.wall()
        counts = BatchCounts(total or batch.counts.total)

        def fail(last: Batch) -> Batch:
            return moved(last, BatchStatus.FAILED, now, errors=tuple(faults), counts=counts)

        return await self._store.change_batch(batch.id, fail)

    # ------------------------------------------------------------------ sending

    async def _send(self, batch: Batch) -> Batch:
        """Make jobs of the lines that are none yet, until it is told to stop or expires."""
        if batch.sent_line == _ALL_SENT:
            return batch
        reader = self._reader(batch, offset=batch.sent_bytes, line=batch.sent_line)
        try:
            slices = 0
            while batch.status is BatchStatus.IN_PROGRESS and not self._is_late(batch):
                lines = await asyncio.to_thread(reader.slice)
                if not lines:
                    return await self._mark(batch, 0, _ALL_SENT)
                await self._submit(batch, lines)
                slices += 1
                if slices % _MARK_EVERY == 0 or self._stirred[batch.id].is_set():
                    self._stirred[batch.id].clear()
                    batch = await self._mark(batch, lines[-1].end, lines[-1].number)
        finally:
            reader.close()
        return batch

    async def _submit(self, batch: Batch, lines: Sequence[Line]) -> None:
        submissions = []
        for line in lines:
            request = read_line(line)
            assert not isinstance(request, LineFault), "the input has changed since it was checked"
            submissions.append(
                P2Submission(
                    body=bytes(request.body),
                    key=line_key(batch.id, line.number),
                    endpoint=batch.endpoint,
                    batch=batch.id,
                    deadline_at=batch.expires_at,
                    tenant=batch.tenant,
                )
            )
        await self._parts.submitter.submit(submissions)

    async def _mark(self, batch: Batch, offset: int, line: int) -> Batch:
        return await self._store.change_batch(
            batch.id, lambda last: replace(last, sent_bytes=offset, sent_line=line)
        )

    def _reader(self, batch: Batch, *, offset: int = 0, line: int = 0) -> LineReader:
        path = self._parts.files.path(batch.input_file_id)
        most = self._parts.line_max_bytes
        return LineReader(path, line_max_bytes=most, offset=offset, line=line)

    def _is_late(self, batch: Batch) -> bool:
        return self._parts.clock.wall() >= batch.expires_at

    # ------------------------------------------------------------------ waiting and stopping

    async def _await_jobs(self, batch: Batch) -> Batch:
        """Wait until every job has ended, or it is cancelled. An expired job ends by itself."""
        stirred = self._stirred[batch.id]
        # Counting reads an index entry for each line: a large batch is looked at less often.
        every_s = min(5.0, max(0.2, batch.counts.total / 10_000))
        while await self._unfinished(batch):
            try:
                async with asyncio.timeout(every_s):
                    await stirred.wait()
            except TimeoutError:
                continue
            stirred.clear()
            batch = await self._store.batch(batch.id, tenant=batch.tenant)
            if batch.status is not BatchStatus.IN_PROGRESS:
                return batch
        now = self._parts.clock.wall()

        def finalize(last: Batch) -> Batch:
            if last.status is not BatchStatus.IN_PROGRESS:
                return last
            return moved(last, BatchStatus.FINALIZING, now)

        return await self._store.change_batch(batch.id, finalize)

    async def _stop_jobs(self, batch: Batch) -> None:
        """Cancel what waits, stop what runs, and wait until all have ended."""
        parts = self._parts
        while stopped := await self._store.cancel_waiting(
            batch.id, now=parts.clock.wall(), limit=_CANCEL_JOBS
        ):
            parts.waiters.wake(stopped)
        while await self._unfinished(batch):
            for job in await parts.jobs.list_jobs(
                state=JobState.RUNNING, batch=batch.id, limit=_CANCEL_JOBS
            ):
                try:
                    await parts.cancel_job(job.id)
                except Conflict:
                    continue  # it has just ended
            await asyncio.sleep(0.1)
            await self._store.cancel_waiting(batch.id, now=parts.clock.wall(), limit=_CANCEL_JOBS)

    async def _unfinished(self, batch: Batch) -> int:
        counts = await self._parts.jobs.counts(batch=batch.id)
        return sum(counts[state] for state in _UNFINISHED)


_ALL_SENT = -1


def _check_slice(reader: LineReader, checker: LineChecker) -> bool:
    """Whether there was a slice to check."""
    lines = reader.slice()
    checker.check(lines)
    return bool(lines)
