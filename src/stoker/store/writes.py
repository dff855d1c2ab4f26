"""What happens to a job after it was enqueued. Each function runs inside a transaction.

A change to a running job names its lease: once the job has left the worker, `lease_id` no longer
matches and nothing happens.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from stoker.core.errors import Conflict, NotFound
from stoker.core.jobs import Failure, JobState
from stoker.core.work import JobId, Usage
from stoker.ports import Checkpoint, ClaimedJob, Job, Renewal
from stoker.store.queries import query
from stoker.store.rows import to_claimed, to_job

Held = tuple[JobId, str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a claim asks for: so many jobs of these engines, those of `family` first, and only those
    of `tenant`, if that is named.
    """

    count: int
    family: str
    engines: Sequence[str]
    tenant: str | None


def claim(
    connection: sqlite3.Connection, wanted: Wanted, lease_until: float, now: float
) -> list[ClaimedJob]:
    """Move available jobs to running and read them with their payloads: those of `family` first,
    if one is named, then the oldest; of one tenant only, if that is named.
    """
    count = max(0, wanted.count)
    seqs: list[int] = []
    if wanted.family:
        seqs = _claimable(connection, "claimable_of_family", wanted)
    if len(seqs) < count:
        oldest = _claimable(connection, "claimable", wanted)
        seqs += [seq for seq in oldest if seq not in seqs][: count - len(seqs)]
    if not seqs:
        return []
    chosen = json.dumps(seqs)
    _run(connection, "claim", seqs=chosen, lease_until=lease_until, now=now)
    return [to_claimed(row) for row in _run(connection, "claimed", seqs=chosen)]


def _claimable(connection: sqlite3.Connection, name: str, wanted: Wanted) -> list[int]:
    """The first waiting jobs of these engines together."""
    count = max(0, wanted.count)
    which = {"family": wanted.family, "count": count}
    seqs = [
        row["seq"]
        for engine in wanted.engines
        for tenant in _tenants(connection, engine, wanted)
        for row in _run(connection, name, engine=engine, tenant=tenant, **which)
    ]
    return sorted(seqs)[:count]


def _tenants(connection: sqlite3.Connection, engine: str, wanted: Wanted) -> list[str]:
    """The tenant that is named, or each that has jobs waiting for this engine."""
    if wanted.tenant is not None:
        return [wanted.tenant]
    return [row["tenant"] for row in _run(connection, "waiting_tenants", engine=engine)]


def renew(
    connection: sqlite3.Connection, held: Sequence[Held], lease_until: float
) -> list[Renewal]:
    """Prolong each lease that still stands."""
    return [_renew_one(connection, one, lease_until) for one in held]


def complete(
    connection: sqlite3.Connection, held: Held, result: bytes, usage: Usage | None, now: float
) -> bool:
    """Store the result and the new state together."""
    seq = _leave(
        connection,
        "complete",
        held,
        now=now,
        prompt_tokens=None if usage is None else usage.prompt_tokens,
        output_tokens=None if usage is None else usage.output_tokens,
        cached_tokens=None if usage is None else usage.cached_tokens,
    )
    if seq is None:
        return False
    _run(connection, "insert_result", seq=seq, result=result)
    return True


def fail(connection: sqlite3.Connection, held: Held, failure: Failure, now: float) -> bool:
    """Record the failure. The next attempt begins afresh: the checkpoint may be what failed."""
    seq = _leave(
        connection,
        "fail",
        held,
        now=now,
        state=failure.state.value,
        run_at=failure.run_at,
        code=failure.error.code,
        message=failure.error.message,
    )
    if seq is None:
        return False
    _run(connection, "drop_checkpoint", seq=seq)
    return True


def release(
    connection: sqlite3.Connection,
    held: Held,
    checkpoint: Checkpoint | None,
    *,
    is_preempted: bool,
    now: float,
) -> bool:
    """Give it back as if it had not been claimed, but for what it had produced."""
    seq = _leave(connection, "release", held, now=now, preempted=int(is_preempted))
    if seq is None:
        return False
    if checkpoint is not None:
        _run(
            connection,
            "keep_checkpoint",
            seq=seq,
            text=checkpoint.text,
            output_tokens=checkpoint.output_tokens,
            prompt_tokens=checkpoint.prompt_tokens,
        )
    return True


def finish_cancel(connection: sqlite3.Connection, held: Held, now: float) -> bool:
    """Cancel it, if that was asked."""
    return _leave(connection, "finish_cancel", held, now=now) is not None


def rescue(connection: sqlite3.Connection, now: float) -> int:
    """Take back every job whose lease has lapsed."""
    return connection.execute(query("rescue"), {"now": now}).rowcount


def promote(connection: sqlite3.Connection, now: float) -> int:
    """Make every job whose time has come available."""
    return connection.execute(query("promote"), {"now": now}).rowcount


def expire(connection: sqlite3.Connection, now: float) -> list[JobId]:
    """Discard waiting jobs past their deadline; ids in order of enqueue."""
    message = "its deadline passed before it could finish"
    expired = _run(connection, "expire", now=now, message=message)
    # RETURNING promises no order.
    return [JobId(row["job_id"]) for row in sorted(expired, key=lambda row: row["seq"])]


def prune(connection: sqlite3.Connection, finished_before: float, limit: int) -> int:
    """Delete the jobs that finished first; a trigger takes their payloads along."""
    parameters = {"before": finished_before, "limit": max(0, limit)}
    return connection.execute(query("prune"), parameters).rowcount


def cancel(connection: sqlite3.Connection, id: JobId, now: float) -> Job:
    """Cancel a waiting job, mark a running one; a cancelled one stays as it is."""
    row = find(connection, id)
    state = JobState(row["state"])
    if state is JobState.CANCELLED:
        return to_job(row)
    if state.is_final:
        raise Conflict(f"job {id}: already {state.value}, too late to cancel")
    if state is JobState.RUNNING:
        (row,) = _run(connection, "request_cancel", seq=row["seq"])
    else:
        (row,) = _run(connection, "cancel", seq=row["seq"], now=now)
    return to_job(row)


def retry(connection: sqlite3.Connection, id: JobId, now: float) -> Job:
    """Reset a discarded or cancelled job; it keeps its place in the queue."""
    row = find(connection, id)
    state = JobState(row["state"])
    if state not in {JobState.DISCARDED, JobState.CANCELLED}:
        raise Conflict(f"job {id}: {state.value}; only a discarded or cancelled job can be retried")
    (row,) = _run(connection, "retry", seq=row["seq"], now=now)
    return to_job(row)


def delete(connection: sqlite3.Connection, id: JobId) -> None:
    """Forget a final job; a trigger takes its payloads along."""
    row = find(connection, id)
    state = JobState(row["state"])
    if not state.is_final:
        raise Conflict(f"job {id}: still {state.value}; cancel it first")
    _run(connection, "delete", seq=row["seq"])


def find(connection: sqlite3.Connection, id: JobId) -> sqlite3.Row:
    """The job's row. Raises `NotFound`."""
    rows = _run(connection, "get", id=id)
    if not rows:
        raise NotFound(f"job {id}: no such job, or pruned since")
    return rows[0]


def _renew_one(connection: sqlite3.Connection, held: Held, lease_until: float) -> Renewal:
    rows = _run(connection, "renew", id=held[0], lease_id=held[1], lease_until=lease_until)
    is_cancel_requested = bool(rows and rows[0]["cancel_requested"])
    return Renewal(held[0], is_held=bool(rows), is_cancel_requested=is_cancel_requested)


def _leave(connection: sqlite3.Connection, name: str, held: Held, **values: object) -> int | None:
    """Run a change that ends a lease; `None` when the lease was not ours any more."""
    rows = _run(connection, name, id=held[0], lease_id=held[1], **values)
    return rows[0]["seq"] if rows else None


def _run(connection: sqlite3.Connection, name: str, **values: object) -> list[sqlite3.Row]:
    # fetchall, always: a statement left half-read would keep the transaction from committing.
    return connection.execute(query(name), values).fetchall()
