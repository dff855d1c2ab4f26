"""Batches and files of one service: what the routes ask for, and the loops behind it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from stoker.batches.driver import Driver, DriverParts
from stoker.batches.files import Files
from stoker.batches.output import OutputWriter
from stoker.config import Config
from stoker.core.batches import Batch, BatchStatus, StoredFile, cancelling
from stoker.core.errors import Conflict, InvalidRequest, NotFound, StoreError
from stoker.core.jobs import JobState
from stoker.core.work import JobId
from stoker.ports import Clock, Job, JobStore
from stoker.runtime.endpoints import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES
from stoker.runtime.ids import Ids
from stoker.runtime.submitting import Submitter
from stoker.runtime.waiters import Waiters

log = structlog.get_logger("stoker.batches")

UPKEEP_EVERY_S = 60.0
FILES_FOLDER = "files"
ENDPOINTS = (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES)
PURPOSES = ("batch", "assistants", "fine-tune", "vision", "user_data", "evals", "batch_output")
WINDOW_MAX_S = 30 * 86_400
_WINDOW = re.compile(r"([1-9]\d{0,3})([hd])")
_UNIT_S = {"h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class NewBatch:
    """What a client asks for."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: Mapping[str, str] | None = None
    output_expires_after_s: int | None = None


class Batches:
    """Everything about files and batches. `run()` is its life."""

    def __init__(
        self,
        config: Config,
        store: JobStore,
        submitter: Submitter,
        waiters: Waiters,
        *,
        clock: Clock,
        ids: Ids,
        cancel_job: Callable[[JobId], Awaitable[Job]],
    ) -> None:
        settings = config.batches
        line_max_bytes = config.server.body_max_bytes
        self.files = Files(store.batches, config.data / FILES_FOLDER, clock, ids)
        self.counts: Mapping[BatchStatus, int] = dict.fromkeys(BatchStatus, 0)
        """Batches per status, as of the last change."""
        self._jobs = store
        self._store = store.batches
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self._new: asyncio.Queue[Batch] = asyncio.Queue()
        output = OutputWriter(
            store.batches,
            self.files,
            clock,
            line_max_bytes=line_max_bytes,
            retention_s=settings.output_retention_s,
        )
        self._driver = Driver(
            DriverParts(
                jobs=store,
                submitter=submitter,
                cancel_job=cancel_job,
                waiters=waiters,
                files=self.files,
                output=output,
                clock=clock,
                note_moved=self._count,
                lines_max=settings.lines_max,
                line_max_bytes=line_max_bytes,
            )
        )

    # ------------------------------------------------------------------ batches

    async def create(self, new: NewBatch, *, tenant: str = "") -> Batch:
        """Accept a batch; it is durable when this returns. Raises `InvalidRequest`."""
        if new.endpoint not in ENDPOINTS:
            allowed = ", ".join(ENDPOINTS)
            raise InvalidRequest(
                f"endpoint {new.endpoint[:80]!r} cannot be used in a batch; use one of {allowed}",
                param="endpoint",
            )
        now = self._clock.wall()
        batch = Batch(
            id=self._ids.batch(),
            tenant=tenant,
            endpoint=new.endpoint,
            input_file_id=(await self._input(new.input_file_id, tenant)).id,
            completion_window=new.completion_window,
            created_at=now,
            expires_at=now + window_s(new.completion_window),
            metadata=new.metadata,
            output_expires_after_s=new.output_expires_after_s,
        )
        await self._store.add_batch(batch)
        self._new.put_nowait(batch)
        await self._count()
        return batch

    async def get(self, id: str, *, tenant: str | None = "") -> Batch:
        """The batch with its counts as they are now. Raises `NotFound`."""
        return await self._counted(await self._store.batch(id, tenant=tenant))

    async def page(
        self, *, tenant: str | None = "", limit: int = 20, after: str | None = None
    ) -> list[Batch]:
        """Newest first. Raises `NotFound` for an unknown `after`."""
        batches = await self._store.list_batches(tenant=tenant, limit=limit, after=after)
        return [await self._counted(batch) for batch in batches]

    async def unfinished(self) -> list[Batch]:
        """Whoever's, oldest first; of their counts only the total."""
        return await self._store.open_batches()

    async def cancel(self, id: str, *, tenant: str | None = "") -> Batch:
        """Ask it to stop; what was done is kept. Raises `NotFound`, `Conflict` when it is over."""
        known = await self._store.batch(id, tenant=tenant)
        now = self._clock.wall()
        batch = await self._store.change_batch(known.id, lambda last: cancelling(last, now))
        if batch.status not in {BatchStatus.CANCELLING, BatchStatus.CANCELLED}:
            raise Conflict(f"batch {id}: already {batch.status.value}, too late to cancel")
        self._driver.stir(batch.id)
        return await self._counted(batch)

    async def _input(self, id: str, tenant: str) -> StoredFile:
        try:
            file = await self.files.get(id, tenant=tenant)
        except NotFound as error:
            raise InvalidRequest(str(error), param="input_file_id") from None
        if file.purpose != "batch":
            raise InvalidRequest(
                f"file {file.id} was uploaded with the purpose {file.purpose!r}; a batch needs "
                "'batch'",
                param="input_file_id",
            )
        return file

    async def _counted(self, batch: Batch) -> Batch:
        if batch.status.is_final or not batch.counts.total:
            return batch
        jobs = await self._jobs.counts(batch=batch.id)
        failed = jobs[JobState.DISCARDED] + jobs[JobState.CANCELLED]
        counts = replace(batch.counts, completed=jobs[JobState.COMPLETED], failed=failed)
        return replace(batch, counts=counts)

    # ------------------------------------------------------------------ files

    def expires_at(
        self, purpose: str, created_at: float, expires_after_s: int | None
    ) -> float | None:
        """When a file that is uploaded goes: when its owner said, or after the retention."""
        if expires_after_s is None and purpose == "batch":
            return created_at + self._settings.retention_s
        return None if expires_after_s is None else created_at + expires_after_s

    # ------------------------------------------------------------------ life

    async def run(self) -> None:
        """Go on with every batch that is not final, and with new ones, until cancelled."""
        for batch in await self._recovered():
            self._new.put_nowait(batch)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._upkeep(), name="files upkeep")
            while True:
                batch = await self._new.get()
                tasks.create_task(self._driver.drive(batch), name=batch.id)

    async def _recovered(self) -> list[Batch]:
        while True:
            try:
                await self.files.recover()
                await self._count()
                return await self._store.open_batches()
            except (StoreError, OSError) as error:
                log.error("batches_not_recovered", error=str(error))
                await asyncio.sleep(UPKEEP_EVERY_S)

    async def _upkeep(self) -> None:
        while True:
            await asyncio.sleep(UPKEEP_EVERY_S)
            try:
                await self.files.expire()
            except (StoreError, OSError) as error:
                log.error("files_not_expired", error=str(error))

    async def _count(self) -> None:
        try:
            self.counts = await self._store.batch_counts()
        except StoreError as error:
            log.error("batches_not_counted", error=str(error))


def window_s(window: str) -> int:
    """Seconds of a completion window: `24h`, or another number of hours or days."""
    match = _WINDOW.fullmatch(window)
    seconds = int(match[1]) * _UNIT_S[match[2]] if match else 0
    if not 0 < seconds <= WINDOW_MAX_S:
        raise InvalidRequest(
            f"completion_window {window[:40]!r} is no number of hours or days up to 30 days, such "
            "as '24h'",
            param="completion_window",
        )
    return seconds
