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
from stoker.core.reasons import Reason
from stoker.core.snapshot import Snapshot, Story
from stoker.core.work import JobId, Priority, RequestId
from stoker.ports import Clock, Job, JobStore
from stoker.runtime.control_loop import OptimizerView
from stoker.runtime.engine_monitor import EngineStatus
from stoker.runtime.meter import ClassMeter


@dataclass(frozen=True, slots=True)
class FabricSnapshot:
    """Everything that the dashboard, the metrics and `/v1/fabric/state` show."""

    scheduler: Snapshot
    engine: EngineStatus
    optimizer: OptimizerView
    jobs: Mapping[JobState, int]
    meters: Mapping[Priority, ClassMeter]
    jobs_held: int
    batches: Mapping[BatchStatus, int]
    uptime_s: float
    background_waits_for: Reason | None


class Overview:
    """Looks at the parts of one service."""

    def __init__(self, parts: Assembly, store: JobStore, clock: Clock) -> None:
        self._parts = parts
        self._store = store
        self._clock = clock
        self._opened_at = clock.monotonic()

    def snapshot(self) -> FabricSnapshot:
        """The state of everything, now (job counts: of the last second)."""
        now, parts = self._clock.monotonic(), self._parts.engine
        jobs = parts.runner.counts
        is_waiting = bool(jobs[JobState.AVAILABLE])
        return FabricSnapshot(
            scheduler=parts.scheduler.snapshot(now),
            engine=parts.monitor.status(),
            optimizer=parts.control.view(),
            jobs=jobs,
            meters={priority: parts.meter.of(priority, now) for priority in Priority},
            jobs_held=parts.runner.held,
            batches=self._parts.batches.counts,
            uptime_s=now - self._opened_at,
            background_waits_for=parts.why_background_waits().reason if is_waiting else None,
        )

    async def explain(self, id: str) -> Story:
        """Why a request or a job is where it is, and its story. Raises `NotFound`."""
        parts = self._parts.engine
        story = parts.story(id)
        if story is not None and story.state != "gone":
            return story
        try:
            job = await self._store.get(JobId(id))
        except NotFound:
            if story is None:
                raise NotFound(f"no job {id}, and no request of it is remembered") from None
            return story
        story = story or Story(RequestId(id), "gone", None, None, None, None, ())
        why = parts.why_background_waits() if job.state is JobState.AVAILABLE else None
        return replace(story, state=job.state.value, explanation=why)

    def job_reason(self, job: Job) -> str | None:
        """Why a job is not running, or not over; `None` when it is."""
        parts = self._parts.engine
        if job.state in (JobState.SCHEDULED, JobState.RETRYABLE):
            return str(job.state.value)
        if job.state is JobState.AVAILABLE:
            return str(parts.why_background_waits().reason.value)
        if job.state is JobState.RUNNING:
            story = parts.story(job.id)
            if story is not None and story.explanation is not None:
                return str(story.explanation.reason.value)
        return None
