"""The fabric: five verbs over the parts of one service (`assembly.py` builds and runs them).

async with Fabric.open(config) as fabric:
    async with await fabric.allocate_p0_priority(30):
        answer = await fabric.run_p0({"messages": [...]})
    job_id = await fabric.enqueue_p2({"prompt": "..."}, key="report-7")
    result = await fabric.await_job(job_id)
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from stoker.assembly import Assembly, started
from stoker.config import Config
from stoker.core.errors import (
    JobFailed,
    JobNotDone,
    NotFound,
)
from stoker.core.jobs import JobState
from stoker.core.load import Load
from stoker.core.quotas import Quotas
from stoker.core.snapshot import Story
from stoker.core.work import JobId, LeaseId, Priority, RequestId
from stoker.engine_parts import EngineSetup
from stoker.history.file import HistoryFile
from stoker.history.historian import build_history, keeping
from stoker.memories.service import Memories
from stoker.memories.store.sqlite import SqliteMemoryStore
from stoker.memories_parts import build_memory_store, remembering
from stoker.overview import EngineSnapshot, FabricSnapshot, Overview
from stoker.ports import (
    Clock,
    Engine,
    EngineAnswer,
    EngineCall,
    Enqueued,
    HostReader,
    Job,
    JobStore,
)
from stoker.runtime import intake
from stoker.runtime.clock import SystemClock
from stoker.runtime.event_file import EventFile
from stoker.runtime.intake import Inference
from stoker.runtime.key_refusals import KeyRefusals
from stoker.runtime.leases import Lease
from stoker.runtime.meter import Finished
from stoker.runtime.model_router import Target
from stoker.runtime.recorder import EventLog
from stoker.runtime.request_call import Call
from stoker.runtime.submitting import P2Submission
from stoker.runtime.warm_start import WarmStart
from stoker.wiring import build_engines, build_store, build_tracing, build_warm_start, traced

if TYPE_CHECKING:
    from stoker.tracing.tracing import Tracing

__all__ = [
    "Call",
    "EngineSetup",
    "EngineSnapshot",
    "Fabric",
    "FabricSnapshot",
    "Lease",
    "P2Submission",
]

Json = Mapping[str, Any]


class Fabric:
    """Serve P0, P1 and durable P2 from one box's engines. Make it with `open` (or `assemble`)."""

    def __init__(
        self,
        config: Config,
        *,
        setups: Mapping[str, EngineSetup],
        store: JobStore,
        clock: Clock,
        log: EventLog,
        host: HostReader | None = None,
        warm_start: WarmStart | None = None,
    ) -> None:
        self.config = config
        self.jobs = store
        self.clock = clock
        self.log = log
        self._parts = Assembly(
            config,
            setups,
            store=store,
            clock=clock,
            log=log,
            host=host,
            warm_start=warm_start,
        )
        self.ids = self._parts.ids
        self.batches = self._parts.batches
        self.response_events = self._parts.response_events
        self.engine = self._parts.default.engine
        """The default one."""
        self.quotas = Quotas()
        """What the callers with a key have had, of all engines together."""
        self.key_refusals = KeyRefusals(self._parts.default.log, clock)
        """Those who were refused for their key."""
        self._overview = Overview(
            self._parts,
            store,
            clock,
            refused=self.quotas.refused,
            refusals=self.key_refusals,
        )
        self._memories: Memories | None = None
        self._history: HistoryFile | None = None
        self.tracing: Tracing | None = None

    # ------------------------------------------------------------------ life

    @classmethod
    @asynccontextmanager
    async def open(cls, config: Config | None = None) -> AsyncGenerator[Fabric]:
        """Build everything that `config` names and run it while the block lasts.

        Raises `ConfigError` and `StoreError`. An engine that does not answer yet is no error: the
        fabric starts, says that it is not ready, and serves as soon as the engine does.
        """
        config = config or Config()
        clock = SystemClock()
        async with cls.assemble(
            config,
            engine=await build_engines(config),
            store=build_store(config),
            clock=clock,
            warm_start=build_warm_start(config),
            memories=build_memory_store(config),
            history=build_history(config),
            tracing=build_tracing(config),
        ) as fabric:
            yield fabric

    @classmethod
    @asynccontextmanager
    async def assemble(  # noqa: PLR0913 - the parts of a whole
        cls,
        config: Config,
        *,
        engine: Engine | Mapping[str, EngineSetup],
        store: JobStore,
        clock: Clock,
        log: EventLog | None = None,
        host: HostReader | None = None,
        warm_start: WarmStart | None = None,
        event_files: Sequence[EventFile] = (),
        memories: SqliteMemoryStore | None = None,
        history: HistoryFile | None = None,
        tracing: Tracing | None = None,
    ) -> AsyncGenerator[Fabric]:
        """The same from parts that the caller brings (tests, embedding): one engine, or several by
        name, the default one first.
        """
        if isinstance(engine, Mapping):
            setups = engine
        else:
            name, settings = next(iter(config.all_engines().items()))
            setups = {name: EngineSetup(engine, settings, event_files)}
        if tracing is not None:
            setups, log = traced(setups, tracing), log or tracing.log
        await store.open()
        try:
            # Whoever held jobs before is gone: the data folder has one owner at a time.
            orphans = await store.rescue(now=clock.wall() + config.jobs.lease_s)
            async with started(setups):
                fabric = cls(
                    config,
                    setups=setups,
                    store=store,
                    clock=clock,
                    log=log or EventLog(),
                    host=host,
                    warm_start=warm_start,
                )
                fabric.tracing = tracing
                if orphans:
                    fabric.log.record("JobsRescued", clock.monotonic(), {"count": orphans})
                parts, overview = fabric._parts, fabric._overview
                async with (
                    remembering(config, memories, parts, store, clock) as served,
                    keeping(history, parts, overview, fabric.log, clock, served) as kept,
                    parts.running(),
                ):
                    fabric._memories, fabric._history = served, kept
                    yield fabric
        finally:
            await store.close()
            if tracing is not None:
                await tracing.close()

    @property
    def memories(self) -> Memories:
        """The memory server. Raises `NotFound` where there is none (`memories.enabled`)."""
        if self._memories is None:
            raise NotFound("there is no memory server here; set memories.enabled = true")
        return self._memories

    @property
    def history(self) -> HistoryFile:
        """What the service has looked like so far. Raises `NotFound` where none is kept."""
        if self._history is None:
            raise NotFound("no history is kept here; set history.enabled = true, or see the log")
        return self._history

    async def drain(self, timeout_s: float | None = None) -> None:
        """Take nobody new, give background work back to the store, let the others finish.

        Those that have not finished after `timeout_s` (server.drain_timeout_s) are broken off.
        """
        await self._parts.drain(timeout_s)

    async def wait_ready(self, engine: str | None = None) -> None:
        """Return when that engine has proved that it works; without a name, when all have."""
        names = self._parts.engines if engine is None else [engine]
        for name in names:
            await self._parts.engines[name].monitor.wait_ready()

    # ------------------------------------------------------------------ the five verbs

    async def allocate_p0_priority(self, seconds: float, *, tenant: str = "") -> Lease:
        """Keep the box for interactive work for `seconds`. Use it as `async with`, or release it.

        Raises `InvalidRequest` for a time that is not in (0, policy.lease_max_s].
        """
        return self._parts.leases.grant(seconds, tenant)

    def run_p0(self, request: Json) -> Call:
        """Run an interactive request: `await` it for the answer, or `async for` over its chunks."""
        return self._call(request, Priority.P0)

    def run_p1(self, request: Json) -> Call:
        """Run a normal request: `await` it for the answer, or `async for` over its chunks."""
        return self._call(request, Priority.P1)

    def _call(self, request: Json, priority: Priority) -> Call:
        def parse(body: Json) -> Inference:
            return intake.parse(
                body,
                priority=priority,
                request_id=self.new_request_id(),
                now=self.clock.monotonic(),
            )

        return Call(request, parse=parse, infer=self.infer)

    async def enqueue_p2(self, request: Json, key: str | None = None) -> JobId:
        """Store a background job; it is durable when this returns. Same key, same job."""
        [enqueued] = await self.submit([P2Submission(msgspec.json.encode(request), key)])
        return enqueued.id

    async def await_job(self, job_id: JobId, timeout_s: float | None = None) -> dict[str, Any]:
        """The engine's answer to a job, now or when it is done.

        Raises `NotFound`, `JobNotDone` after `timeout_s`, and `JobFailed` when it was cancelled
        or discarded.
        """
        job = await self._parts.waiters.wait(job_id, timeout_s)
        if not job.state.is_final:
            raise JobNotDone(f"job {job_id} is still {job.state.value}; await it again")
        if job.state is not JobState.COMPLETED:
            error = job.error
            code = error.code if error else job.state.value
            message = error.message if error else f"it was {job.state.value}"
            raise JobFailed(f"job {job_id}: {message}", code=code)
        result = await self.jobs.result(job_id)
        assert result is not None, f"{job_id} is completed without a result"
        answer: dict[str, Any] = msgspec.json.decode(result)
        return answer

    # ------------------------------------------------------------------ for the shells

    def infer(self, inference: Inference) -> AbstractAsyncContextManager[EngineAnswer]:
        """Wait for a turn and open the call. Leaving the block frees the slot on every path.

        Raises `Rejected` and `EngineError`; where there are several engines, `ModelNotFound`.
        """
        target = self._parts.router.find(inference.model)
        return self._routed(inference) if target is None else self._open(inference, target)

    @asynccontextmanager
    async def _routed(self, inference: Inference) -> AsyncGenerator[EngineAnswer]:
        target = await self._parts.router.route(inference.model)
        async with self._open(inference, target) as answer:
            yield answer

    def _open(
        self, inference: Inference, target: Target
    ) -> AbstractAsyncContextManager[EngineAnswer]:
        request = inference.request
        call = EngineCall(
            request.id,
            inference.endpoint,
            inference.body,
            request.priority,
            model=target.model,
        )
        return self._parts.engines[target.engine].calls.open(request, call)

    def predicted(self, inference: Inference) -> Load:
        """What a request is thought to take in the engine that it will go to."""
        target = self._parts.router.find(inference.model)
        parts = self._parts.default if target is None else self._parts.engines[target.engine]
        return parts.scheduler.state.predictor.estimate(inference.request)

    def waiting_of(self, tenant: str) -> int:
        """How many requests of a tenant wait for their turn, at whichever engine."""
        return sum(
            one.scheduler.state.queues.count_of(priority, tenant)
            for one in self._parts.engines.values()
            for priority in Priority
        )

    async def submit(self, submissions: Sequence[P2Submission]) -> list[Enqueued]:
        """Store background jobs, all or none. Raises `InvalidRequest`, `Conflict`, `StoreError`."""
        return await self._parts.submitter.submit(submissions)

    async def wait_job(self, job_id: JobId, timeout_s: float) -> Job:
        """The job's row when it is final, or as it is after `timeout_s`. Raises `NotFound`."""
        return await self._parts.waiters.wait(job_id, timeout_s)

    async def cancel_job(self, job_id: JobId) -> Job:
        """Cancel it, waiting or running. Raises `NotFound`, or `Conflict` when it is over."""
        return await self._parts.cancel(job_id)

    async def retry_job(self, job_id: JobId) -> Job:
        """Give a discarded or cancelled job a new life. Raises `NotFound`, `Conflict`."""
        job = await self.jobs.retry(job_id, now=self.clock.wall())
        parts = self._parts.engine_of(job)
        if parts is not None:
            parts.runner.note_enqueued({job.tenant: 1})
        return job

    def leases(self) -> list[Lease]:
        """The active P0 leases, oldest first."""
        return self._parts.leases.active()

    async def extend_lease(self, lease_id: LeaseId, seconds: float) -> Lease:
        """Let a lease end `seconds` from now. Raises `NotFound`, `InvalidRequest`."""
        return self._parts.leases.extend(lease_id, seconds)

    async def release_lease(self, lease_id: LeaseId) -> None:
        """End a lease now. Raises `NotFound` when it is not active."""
        if not self._parts.leases.release(lease_id):
            raise NotFound(f"no active P0 lease {lease_id}; it has ended, or never was")

    async def models(self) -> tuple[int, bytes]:
        """The list of models, with its HTTP status. Raises `EngineError`.

        That of the only engine is verbatim; those of several, and other names for models, are
        merged.
        """
        router = self._parts.router
        if router.is_plain:
            return await self.engine.models()
        await router.learn()
        return 200, router.merged_list()

    @property
    def engine_names(self) -> tuple[str, ...]:
        """The default one first."""
        return tuple(self._parts.engines)

    def listen(self, listener: Callable[[str, Finished], None]) -> None:
        """Call `listener` with the engine's name for each finished request."""
        for name, parts in self._parts.engines.items():
            parts.meter.listen(partial(listener, name))

    def new_request_id(self) -> RequestId:
        return self.ids.request()

    def snapshot(self) -> FabricSnapshot:
        """The state of everything, now (job counts: of the last second)."""
        return self._overview.snapshot()

    async def explain(self, id: str) -> Story:
        """Why a request or a job is where it is, and its story. Raises `NotFound`."""
        return await self._overview.explain(id)

    def job_reason(self, job: Job) -> str | None:
        """Why a job is not running, or not over; `None` when it is."""
        return self._overview.job_reason(job)
