"""What the service shows of itself: one snapshot of everything, and why a request or job waits.

Read by the metrics, the dashboard and `/v1/fabric/state`; nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from stoker.assembly import Assembly
from stoker.core.batches import BatchStatus
from stoker.core.errors import NotFound
from stoker.core.jobs import JobState
from stoker.core.reasons import Explanation, Reason
from stoker.core.snapshot import Snapshot, Story
from stoker.core.story import Entry
from stoker.core.work import JobId, Priority, RequestId
from stoker.engine_parts import EngineParts
from stoker.ports import Clock, Job, JobStore
from stoker.runtime.control_loop import OptimizerView
from stoker.runtime.engine_monitor import EngineStatus
from stoker.runtime.key_refusals import KeyRefusals
from stoker.runtime.meter import ClassMeter


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """One engine with everything around it."""

    scheduler: Snapshot
    engine: EngineStatus
    optimizer: OptimizerView
    jobs: Mapping[JobState, int]
    """Jobs in the store for this engine."""
    meters: Mapping[Priority, ClassMeter]
    jobs_held: int
    background_waits_for: Reason | None
    models: tuple[str, ...]
    """The names that are on its own list."""


@dataclass(frozen=True, slots=True)
class FabricSnapshot:
    """Everything that the dashboard, the metrics and `/v1/fabric/state` show.

    What is one engine's is that of the default one; the others are in `engines`.
    """

    default: str
    engines: Mapping[str, EngineSnapshot]
    """By name, the default one first."""
    jobs: Mapping[JobState, int]
    """Of all engines, those included that are not configured any more."""
    batches: Mapping[BatchStatus, int]
    key_refusals: Mapping[str, int]
    """Requests and jobs refused for a limit of their API key, by limit."""
    uptime_s: float
    loop_lag_s: float | None
    """The longest that the event loop was late, lately."""

    @property
    def scheduler(self) -> Snapshot:
        return self.engines[self.default].scheduler

    @property
    def engine(self) -> EngineStatus:
        return self.engines[self.default].engine

    @property
    def optimizer(self) -> OptimizerView:
        return self.engines[self.default].optimizer

    @property
    def meters(self) -> Mapping[Priority, ClassMeter]:
        return self.engines[self.default].meters

    @property
    def background_waits_for(self) -> Reason | None:
        return self.engines[self.default].background_waits_for

    @property
    def jobs_held(self) -> int:
        """Jobs that this process holds, for whichever engine."""
        return sum(one.jobs_held for one in self.engines.values())


_BEGINNINGS = frozenset({"arrived", "rejected"})
"""What a request's story begins with, if it is all there."""
_SAME_S = 0.5
"""Clocks and rows agree to within this."""


class Overview:
    """Looks at the parts of one service."""

    def __init__(
        self,
        parts: Assembly,
        store: JobStore,
        clock: Clock,
        *,
        refused: Mapping[str, int],
        refusals: KeyRefusals,
    ) -> None:
        self._refused = refused
        self._refusals = refusals
        self._parts = parts
        self._store = store
        self._clock = clock
        self._opened_at = clock.monotonic()

    def snapshot(self) -> FabricSnapshot:
        """The state of everything, now (job counts: of the last second)."""
        now, parts = self._clock.monotonic(), self._parts
        return FabricSnapshot(
            default=parts.default.name,
            engines={name: _engine_snapshot(one, now) for name, one in parts.engines.items()},
            jobs=parts.housekeeping.counts,
            batches=parts.batches.counts,
            key_refusals=self._refused,
            uptime_s=now - self._opened_at,
            loop_lag_s=parts.loop_lag.worst_s,
        )

    async def explain(self, id: str) -> Story:
        """Why a request or a job is where it is, and its story, as far back as the event log in the
        data folder goes. Raises `NotFound`.
        """
        story, job = self._story(id), await self._job(id)
        entries = () if story is None else story.entries
        if _is_older(job, entries, self._offset_s):
            entries = await self._with_past(id, entries)
        if job is not None:
            entries = told_by_row(job, entries, self._offset_s)
        if story is None and not entries:
            raise NotFound(f"no job {id}, and no request of it is remembered")
        if story is None:
            story = Story(RequestId(id), "gone", None, None, None, None, ())
        if job is not None and story.state == "gone":
            why = self._why_job_waits(job) if job.state is JobState.AVAILABLE else None
            named = job.engine or self._parts.default.name
            story = replace(story, state=job.state.value, explanation=why, engine=named)
        began_at = entries[0].at + self._offset_s if entries else None
        return replace(story, entries=entries, began_at=began_at)

    async def _job(self, id: str) -> Job | None:
        try:
            return await self._store.get(JobId(id))
        except NotFound:
            return None

    async def _with_past(self, id: str, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """What is remembered, after what was written down before that."""
        since = entries[0].at if entries else float("inf")
        found = [entry for one in self._parts.engines.values() for entry in await one.past(id)]
        older = [entry for entry in found if entry.at < since - _SAME_S]
        return (*sorted(older, key=lambda entry: entry.at), *entries)

    @property
    def _offset_s(self) -> float:
        """From the time of the events to seconds since 1970."""
        return self._clock.wall() - self._clock.monotonic()

    def job_reason(self, job: Job) -> str | None:
        """Why a job is not running, or not over; `None` when it is."""
        if job.state in (JobState.SCHEDULED, JobState.RETRYABLE):
            return str(job.state.value)
        if job.state is JobState.AVAILABLE:
            return str(self._why_job_waits(job).reason.value)
        if job.state is JobState.RUNNING:
            story = self._story(job.id)
            if story is not None and story.explanation is not None:
                return str(story.explanation.reason.value)
        return None

    def _why_job_waits(self, job: Job) -> Explanation:
        parts = self._parts.engine_of(job)
        if parts is None:
            note = f"{job.engine}; add it again, or cancel the job"
            return Explanation(Reason.ENGINE_GONE, "engines", note=note)
        return parts.why_background_waits()

    def _story(self, id: str) -> Story | None:
        """Of whichever engine has it now, or else remembers it; or why its key was refused."""
        stories = [one.story(id) for one in self._parts.engines.values()]
        stories.append(self._refusals.story(id))
        found = [story for story in stories if story is not None]
        return min(found, key=lambda story: story.state == "gone", default=None)


def _is_older(job: Job | None, entries: tuple[Entry, ...], offset_s: float) -> bool:
    """Whether something happened before what is remembered, so that it is worth looking for."""
    if not entries or entries[0].what not in _BEGINNINGS:
        return True
    started_at = None if job is None else job.started_at
    return started_at is not None and started_at < entries[0].at + offset_s - _SAME_S


def told_by_row(job: Job, entries: tuple[Entry, ...], offset_s: float) -> tuple[Entry, ...]:
    """With what the job's row knows: when it was stored, and how it ended if nothing else says."""
    named = {"batch": job.batch, "tenant": job.tenant, "key": job.key}
    enqueued = {name: value for name, value in named.items() if value}
    first = Entry(job.created_at - offset_s, "enqueued", enqueued)
    if job.finished_at is None:
        return (first, *entries)
    ended: dict[str, object] = {"attempts": job.attempts, "preemptions": job.preemptions}
    if job.error is not None:
        ended |= {"code": job.error.code, "message": job.error.message}
    if job.usage is not None:
        ended |= {
            "prompt_tokens": job.usage.prompt_tokens,
            "output_tokens": job.usage.output_tokens,
        }
    return (first, *entries, Entry(job.finished_at - offset_s, job.state.value, ended))


def _engine_snapshot(parts: EngineParts, now: float) -> EngineSnapshot:
    jobs = parts.runner.counts
    is_waiting = bool(jobs[JobState.AVAILABLE])
    return EngineSnapshot(
        scheduler=parts.scheduler.snapshot(now),
        engine=parts.monitor.status(),
        optimizer=parts.control.view(),
        jobs=jobs,
        meters={priority: parts.meter.of(priority, now) for priority in Priority},
        jobs_held=parts.runner.held,
        background_waits_for=parts.why_background_waits().reason if is_waiting else None,
        models=parts.served.ids,
    )
