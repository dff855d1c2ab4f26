"""The shape of the outside world: a few protocols, and the plain data that crosses them.

Adapters (`engines`, `store`, `runtime.clock`) implement these and do not know each other;
`fabric` introduces them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from stoker.batch_ports import BatchStore
from stoker.core.events import EngineSample, HostSample
from stoker.core.jobs import Failure, JobError, JobState
from stoker.core.limits import Capacity
from stoker.core.work import JobId, Priority, RequestId, Usage


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds that never go back: the time inside the scheduler's events."""

    def wall(self) -> float:
        """Seconds since the epoch: the time written into the store."""


# ---------------------------------------------------------------------------------- engines


@dataclass(frozen=True, slots=True)
class EngineTraits:
    """What differs between engines, beyond their gauges."""

    name: str
    has_telemetry: bool
    """Whether it has gauges at all; without them, staleness means nothing."""
    abort_grace_s: float
    """How long a slot may stay taken inside the engine after we hung up."""
    honours_priority: bool
    """Whether it orders its own queue by the priority that we send."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a preempted background call had produced, enough to continue from it."""

    text: str
    output_tokens: int
    prompt_tokens: int | None


@dataclass(frozen=True, slots=True)
class EngineCall:
    """One call to the engine. `body` is the client's JSON, verbatim."""

    request_id: RequestId
    endpoint: str
    """The engine's path, e.g. `/v1/chat/completions`."""
    body: bytes
    priority: Priority
    is_collected: bool = False
    """Stream it inside whatever the body says, and assemble one whole answer (background work)."""
    checkpoint: Checkpoint | None = None
    """Continue from here (only with `is_collected`)."""
    model: str | None = None
    """Ask for this model instead of the body's, empty for the engine's own; for those who call an
    engine by another name. Never set by the time that `Engine.send` sees it."""


class EngineAnswer(Protocol):
    """An engine's answer while it comes. Valid inside `Engine.send(...)` only."""

    @property
    def status(self) -> int: ...
    @property
    def content_type(self) -> str: ...
    @property
    def is_stream(self) -> bool:
        """Whether the client gets server-sent events (never true for a collected call)."""

    @property
    def output_tokens(self) -> int:
        """Output tokens seen so far, this run only; a count of stream frames until usage comes."""

    @property
    def usage(self) -> Usage | None:
        """The engine's own count, once the answer is complete (all runs of a resumed call)."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The bytes for the client as they come: whole SSE frames, or pieces of one JSON body.

        Frames that came together may be one chunk. A collected call yields its frames too
        (progress); its result is `body()`.
        Raises `EngineInterrupted` when the answer breaks off or stalls.
        """

    def body(self) -> bytes:
        """The whole assembled JSON answer of a collected call, after `chunks()` has ended."""

    def checkpoint(self) -> Checkpoint | None:
        """What to continue from if it is stopped now, or `None` where it must start again."""


class Engine(Protocol):
    """The inference server behind us. One instance per server, shared by all requests."""

    @property
    def traits(self) -> EngineTraits: ...

    async def start(self) -> None:
        """Open what is needed. An engine that is not up yet is no error here: `probe` tells."""

    async def stop(self) -> None: ...

    async def capacity(self) -> Capacity:
        """Read the engine's physical limits. Raises `EngineError`."""

    async def sample(self) -> EngineSample:
        """Read its gauges. Raises `EngineError`."""

    async def probe(self, timeout_s: float) -> float:
        """Run one small completion and return its seconds. Raises `EngineError`."""

    async def count_prompt_tokens(self, endpoint: str, body: bytes) -> int | None:
        """Exact prompt tokens, where the engine has a tokenizer endpoint; else `None`."""

    async def models(self) -> tuple[int, bytes]:
        """Its `/v1/models`: status and body, verbatim. Raises `EngineError`."""

    def send(self, call: EngineCall) -> AbstractAsyncContextManager[EngineAnswer]:
        """Open one call. Leaving the block early hangs up, which aborts it in the engine.

        Raises `EngineUnreachable` (retried once on a fresh connection when no byte had come) and
        `EngineRefused` for an HTTP error status.
        """


@runtime_checkable
class Addressed(Protocol):
    """An engine at an address, which may be on this host."""

    @property
    def url(self) -> str: ...


@runtime_checkable
class OwnsProcess(Protocol):
    """An engine whose process is ours, and known."""

    @property
    def pid(self) -> int | None: ...


@runtime_checkable
class Restartable(Protocol):
    """An engine whose process is ours."""

    async def restart(self) -> None:
        """End a hanging process; a fresh one comes up by itself."""


# ---------------------------------------------------------------------------------- the host


class HostReader(Protocol):
    """Reads the pressure of the machine that the engine shares with everybody else."""

    async def read(self) -> HostSample:
        """What it tells now; a figure that it does not have is `None`. Never raises."""


# ---------------------------------------------------------------------------------- job store


@dataclass(frozen=True, slots=True)
class NewJob:
    id: JobId
    endpoint: str
    body: bytes
    key: str | None = None
    """Idempotency key: the same key and body give the same job; another body is a `Conflict`."""
    family: str = ""
    batch: str | None = None
    run_at: float | None = None
    """Not before (wall seconds)."""
    deadline_at: float | None = None
    """Discard it if it has not finished by then (wall seconds)."""
    max_attempts: int = 5
    engine: str = ""
    """Which engine it is for; empty is whichever is the default."""
    tenant: str = ""
    """Whose it is. Idempotency keys are each tenant's own."""


@dataclass(frozen=True, slots=True)
class Enqueued:
    id: JobId
    is_new: bool


@dataclass(frozen=True, slots=True)
class Job:
    """A job row without its payloads."""

    id: JobId
    state: JobState
    endpoint: str
    family: str
    key: str | None
    batch: str | None
    attempts: int
    max_attempts: int
    preemptions: int
    run_at: float | None
    deadline_at: float | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    error: JobError | None
    usage: Usage | None
    is_cancel_requested: bool
    engine: str = ""
    """The engine that it was enqueued for; empty is whichever is the default."""
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A job that this worker now holds, with everything needed to run it."""

    job: Job
    lease_id: str
    body: bytes
    checkpoint: Checkpoint | None


@dataclass(frozen=True, slots=True)
class Renewal:
    """What a heartbeat learned about a held job."""

    id: JobId
    is_held: bool
    is_cancel_requested: bool


class JobStore(Protocol):
    """Durable jobs. Every write is one transaction; `now` is wall seconds from the caller.

    Methods raise `StoreError` when the database cannot be used. Each state change obeys
    `core.jobs.TRANSITIONS`; each change to a running job is conditional on its lease. A running
    job whose cancel was asked never becomes available again: `release`, a retryable `fail` and
    `rescue` cancel it.
    """

    @property
    def batches(self) -> BatchStore:
        """Batches and files, in the same place."""

    async def open(self) -> None:
        """Open and migrate. Raises `StoreError` for a corrupt or newer database."""

    async def close(self) -> None: ...

    async def enqueue(self, jobs: Sequence[NewJob], *, now: float) -> list[Enqueued]:
        """Insert all or none; durable when it returns.

        Raises `Conflict`: `idempotency_conflict` for a reused key, `job_exists` for a reused id.
        """

    async def claim(
        self,
        count: int,
        *,
        lease_s: float,
        now: float,
        family: str = "",
        engines: Sequence[str] = ("",),
        tenant: str | None = None,
    ) -> list[ClaimedJob]:
        """Take up to `count` available jobs of these engines: those of `family` first, if one is
        named, and then the oldest; only those of `tenant`, if that is named. They come in order of
        enqueue; each attempt is counted here.
        """

    async def renew(
        self, held: Sequence[tuple[JobId, str]], *, lease_s: float, now: float
    ) -> list[Renewal]:
        """Heartbeat: prolong the leases that are still ours and report the others."""

    async def complete(
        self, id: JobId, lease_id: str, *, result: bytes, usage: Usage | None, now: float
    ) -> bool:
        """Finish it if the lease is still ours; `False` means it was not, and nothing changed."""

    async def fail(self, id: JobId, lease_id: str, failure: Failure, *, now: float) -> bool:
        """Record a failed attempt if the lease is still ours."""

    async def release(
        self,
        id: JobId,
        lease_id: str,
        *,
        checkpoint: Checkpoint | None,
        is_preempted: bool,
        now: float,
    ) -> bool:
        """Give it back unfinished: available at once, at its old place, no attempt counted.

        Without a checkpoint it keeps the one that it had; a failed attempt drops it.
        """

    async def finish_cancel(self, id: JobId, lease_id: str, *, now: float) -> bool:
        """Turn a running job whose cancel was requested into `cancelled`, if still ours."""

    async def rescue(self, *, now: float) -> int:
        """Make jobs whose lease has lapsed available again, at their old place.

        No attempt is counted: that a worker died says nothing about the job.
        """

    async def promote(self, *, now: float) -> int:
        """Make scheduled and retryable jobs whose time has come available."""

    async def expire(self, *, now: float) -> list[JobId]:
        """Discard waiting jobs past their deadline (code `deadline_exceeded`); return their ids."""

    async def prune(self, *, finished_before: float, limit: int) -> int:
        """Delete finished jobs, payloads and results included; at most `limit` rows.

        Those of a batch that is not final stay: their results are not in its output yet.
        """

    async def cancel(self, id: JobId, *, now: float) -> Job:
        """Cancel a waiting job at once; ask it of a running one; a cancelled one stays as it is.

        Raises `NotFound`, and `Conflict` for a completed or discarded job.
        """

    async def retry(self, id: JobId, *, now: float) -> Job:
        """Give a discarded or cancelled job a new life; a deadline that has passed is dropped.

        Raises `NotFound`, `Conflict`.
        """

    async def get(self, id: JobId) -> Job:
        """Raises `NotFound`."""

    async def result(self, id: JobId) -> bytes | None:
        """The engine's answer, verbatim; `None` unless completed. Raises `NotFound`."""

    async def body(self, id: JobId) -> bytes:
        """What it was enqueued with. Raises `NotFound`."""

    async def delete(self, id: JobId) -> None:
        """Forget a final job, payloads and result included.

        Raises `NotFound`, and `Conflict` for one that is not final.
        """

    async def list_jobs(
        self,
        *,
        state: JobState | None = None,
        batch: str | None = None,
        tenant: str | None = None,
        limit: int = 100,
        before: JobId | None = None,
    ) -> list[Job]:
        """Newest first; page by passing the last id as `before`."""

    async def counts(
        self, *, batch: str | None = None, tenant: str | None = None
    ) -> Mapping[JobState, int]:
        """Jobs per state, of one batch, of one tenant, or both; every state is present. Without
        `batch` it costs no table scan.
        """

    async def waiting_tenants(self, engines: Sequence[str] = ("",)) -> Mapping[str, int]:
        """Available jobs for these engines, of each tenant that has any; costs no table scan."""

    async def counts_by_engine(self) -> Mapping[str, Mapping[JobState, int]]:
        """Jobs per state for each engine that jobs are for. It costs no table scan."""


class Recorder(Protocol):
    """Where events and actions are told to; bounded, and never slows the teller."""

    def record(
        self, kind: str, at: float, fields: Mapping[str, object], *, is_frequent: bool = False
    ) -> None: ...
