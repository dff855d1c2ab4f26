"""Keeps LLM work moving: planned stages become jobs, answers are stored, then interpreted in order.

It has no state that counts: what is to be done is read from the store, what runs is in the job
table. After a crash at any point the next round goes on from what the two say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

import structlog

from stoker.core.errors import Conflict, NotFound, StokerError, StoreError
from stoker.core.jobs import JobState
from stoker.core.work import JobId
from stoker.memories.meters import Meters
from stoker.memories.ports import BackgroundJobs, MemoryStore, NewWork
from stoker.memories.records import Answered, Draft, Stage, StageEffect, StageKey, StageState
from stoker.memories.tiles import Tile
from stoker.ports import Clock, Job

log = structlog.get_logger("stoker.memories")

SWEEP_S = 30.0
"""Backstop: wake-ups may be missed (a job of another process), the tables are not."""
_AT_ONCE = 32


class Handler(Protocol):
    """What the stages mean: how they are asked, and what follows from an answer."""

    @property
    def embedder_name(self) -> str:
        """Whose vectors the effects carry."""

    async def ask(self, stage: Stage) -> bytes | None:
        """The request body; `None` where its text was erased meanwhile."""

    async def read(self, answers: Sequence[Answered]) -> list[Draft]:
        """What each of the next answers says by itself: of all, or of the first few.

        It may be read again after a crash.
        """

    def relate(self, effect: StageEffect, known: Sequence[Sequence[Tile]]) -> StageEffect:
        """Add how the tiles of an effect relate to each other and to those that are known."""

    def drop_read(self) -> None:
        """Read everything anew that is not taken in yet."""

    async def embed_missing(self) -> int:
        """Give vectors to the next rows without one; returns how many."""


class Ingest:
    """One loop over the tables. `run()` is its life."""

    def __init__(
        self,
        store: MemoryStore,
        jobs: BackgroundJobs,
        handler: Handler,
        clock: Clock,
        *,
        ahead_max: int,
        meters: Meters | None = None,
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._handler = handler
        self._clock = clock
        self._ahead_max = ahead_max
        self._meters = meters or Meters()
        self._wake = asyncio.Event()
        self._outstanding: dict[JobId, Stage] = {}
        self._changed: set[JobId] = set()
        jobs.on_change(self._note_changed)

    def nudge(self) -> None:
        """There is something new to do."""
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled. A store that fails for a while is tried again."""
        while True:
            self._wake.clear()
            try:
                await self.round()
            except StoreError as error:
                log.error("memories_failed", error=str(error))
            except Exception:  # the task's boundary: an import must not end the service
                log.exception("memories_round_failed")
            try:
                async with asyncio.timeout(SWEEP_S):
                    await self._wake.wait()
            except TimeoutError:
                self._outstanding.clear()  # look at everything again

    async def round(self) -> None:
        """Everything that can be done now: collect, interpret, and ask for more."""
        if not self._outstanding:
            await self.collect_all()
        await self._collect_changed()
        while answers := await self._store.next_answers(_AT_ONCE):
            await self._take_in(answers)
            await self._feed()
        await self._feed()
        # What others wait for comes first: with work left over, the next round goes on from here.
        if await self._embed():
            self._wake.set()

    async def _embed(self) -> bool:
        try:
            return await self._handler.embed_missing() > 0
        except StoreError:
            raise
        except StokerError as error:  # an engine that embeds may be away; text is found meanwhile
            log.warning("memories_not_embedded", error=str(error))
            return False

    async def collect_all(self) -> None:
        """Take over every answer that there is; jobs that finished are then free to be deleted."""
        for stage in await self._store.stages_in_jobs():
            assert stage.job_id is not None, f"{stage.key} is queued without a job"
            self._outstanding[JobId(stage.job_id)] = stage
        self._changed |= set(self._outstanding)
        await self._collect_changed()

    # ------------------------------------------------------------------ answers

    def _note_changed(self, ids: Iterable[JobId]) -> None:
        ours = {id for id in ids if id in self._outstanding}
        if ours:
            self._changed |= ours
            self._wake.set()

    async def _collect_changed(self) -> None:
        while self._changed:
            group = [self._changed.pop() for _ in range(min(len(self._changed), _AT_ONCE))]
            stages = {id: self._outstanding[id] for id in group if id in self._outstanding}
            # Together, so that their answers share a commit.
            ends = await asyncio.gather(
                *(self._collect(id, stage) for id, stage in stages.items()), return_exceptions=True
            )
            for id, end in zip(stages, ends, strict=True):
                if end is True:
                    self._outstanding.pop(id, None)
            for end in ends:
                if isinstance(end, BaseException):
                    raise end

    async def _collect(self, id: JobId, stage: Stage) -> bool:
        """Take over what became of a job; false while it is not over."""
        try:
            job = await self._jobs.get(id)
            if not job.state.is_final:
                return False
            answer = await self._jobs.result(id)
        except NotFound:
            log.warning("memories_job_lost", job_id=id, stage=stage.key)
            await self._store.mark_ready([stage.key])
            return True
        if answer is not None:
            now = self._clock.wall()
            await self._store.store_answer(stage.key, answer, usage=job.usage, now=now)
            self._meters.answered(job.usage)
        else:
            await self._give_up(stage, job)
        return True

    async def _give_up(self, stage: Stage, job: Job) -> None:
        is_cancelled = job.state is JobState.CANCELLED
        reason = "its job was cancelled"
        if job.error is not None and not is_cancelled:
            reason = f"{job.error.code}: {job.error.message}"
        await self._store.give_up(stage.key, StageState.QUARANTINED, reason, now=self._clock.wall())

    async def _take_in(self, answers: Sequence[Answered]) -> None:
        drafts = await self._handler.read(answers)
        try:
            taken = await self._apply(drafts)
        except StoreError:
            raise
        except Exception as error:  # one strange answer must not stop all others
            first = drafts[0].answered
            log.exception("memories_answer_failed", stage=first.stage.key)
            taken = await self._apply([Draft(first, broken(first.stage.key, error))])
        if not taken:
            self._handler.drop_read()

    async def _apply(self, drafts: Sequence[Draft]) -> int:
        return await self._store.apply(
            drafts,
            self._handler.relate,
            embedder=self._handler.embedder_name,
            now=self._clock.wall(),
        )

    # ------------------------------------------------------------------ questions

    async def _feed(self) -> None:
        """Make jobs of what is ready, as far ahead as is allowed."""
        while (room := self._ahead_max - len(self._outstanding)) > 0:
            stages = await self._store.ready_stages(room)
            if not stages:
                return
            asked = await asyncio.gather(*(self._ask(stage) for stage in stages))
            bodies = [
                (stage, body) for stage, body in zip(stages, asked, strict=True) if body is not None
            ]
            if bodies and not await self._submit(bodies):
                return

    async def _ask(self, stage: Stage) -> bytes | None:
        """The body of a stage; one that cannot be asked is given up, and the others go on."""
        state, reason = StageState.CANCELLED, "its text was erased"
        try:
            body = await self._handler.ask(stage)
        except StoreError:
            raise
        except Exception as error:
            log.exception("memories_not_asked", stage=stage.key)
            body = None
            state, reason = StageState.QUARANTINED, f"internal_error: {type(error).__name__}"
        if body is None:
            await self._store.give_up(stage.key, state, reason, now=self._clock.wall())
        return body

    async def _submit(self, asked: Sequence[tuple[Stage, bytes]]) -> bool:
        """Enqueue them; false where nothing could be."""
        work = [NewWork(f"{stage.key}.{stage.attempts}", body) for stage, body in asked]
        try:
            ids = await self._jobs.submit(work)
        except Conflict:
            # A crash came between, and since then an update that asks in other words.
            await self._store.mark_ready([stage.key for stage, _ in asked])
            return True
        except StokerError as error:
            log.error("memories_not_enqueued", error=str(error))
            return False
        for (stage, _), id in zip(asked, ids, strict=True):
            self._outstanding[id] = stage
        queued = [(stage.key, str(id)) for (stage, _), id in zip(asked, ids, strict=True)]
        await self._store.mark_queued(queued)
        # A key that was used before a crash may name a job that is over already.
        self._changed |= set(ids)
        self._wake.set()
        return True


def broken(key: StageKey, error: Exception) -> StageEffect:
    """What becomes of an answer on which we break: a person may look at it, and retry."""
    return StageEffect(key, StageState.QUARANTINED, f"internal_error: {type(error).__name__}")
