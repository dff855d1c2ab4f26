"""Inserting jobs: idempotency keys first, then as few statements as possible."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from stoker.core.errors import Conflict
from stoker.core.jobs import JobState
from stoker.core.work import JobId
from stoker.ports import Enqueued, NewJob
from stoker.store.queries import query


def enqueue(connection: sqlite3.Connection, jobs: Sequence[NewJob], now: float) -> list[Enqueued]:
    """Insert all or none, in order. Raises `Conflict`."""
    known = _known_uses(connection, [(job.tenant, job.key) for job in jobs if job.key is not None])
    fresh: list[_Fresh] = []
    answers: list[Enqueued] = []
    for job in jobs:
        use = None if job.key is None else _Use(job.id, _digest(job))
        first = None if job.key is None else known.get((job.tenant, job.key))
        if use is not None and first is not None:
            _check_same(job, use, first)
            answers.append(Enqueued(first.id, is_new=False))
            continue
        if job.key is not None and use is not None:
            known[job.tenant, job.key] = use
        fresh.append(_Fresh(job, use))
        answers.append(Enqueued(job.id, is_new=True))
    _insert(connection, fresh, now)
    return answers


@dataclass(frozen=True, slots=True)
class _Use:
    """What a key stands for: the job that first used it, and a digest of what it asked."""

    id: JobId
    digest: bytes


@dataclass(frozen=True, slots=True)
class _Fresh:
    job: NewJob
    use: _Use | None


def _known_uses(
    connection: sqlite3.Connection, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], _Use]:
    if not keys:
        return {}
    rows = connection.execute(query("known_keys"), {"keys": json.dumps(keys)})
    return {(row["tenant"], row["key"]): _Use(row["job_id"], row["body_hash"]) for row in rows}


def _digest(job: NewJob) -> bytes:
    # An endpoint holds no NUL, so no other pair of endpoint and body gives the same bytes.
    return hashlib.sha256(job.endpoint.encode() + b"\0" + job.body).digest()


def _check_same(job: NewJob, use: _Use, first: _Use) -> None:
    if use.digest != first.digest:
        raise Conflict(
            f"idempotency key {job.key!r}: already used for job {first.id} with another body; "
            "use a new key for a new request",
            code="idempotency_conflict",
        )


def _insert(connection: sqlite3.Connection, fresh: Sequence[_Fresh], now: float) -> None:
    (last,) = connection.execute(query("last_seq")).fetchone()
    try:
        connection.executemany(
            query("insert_job"), (_row(seq, new, now) for seq, new in enumerate(fresh, last + 1))
        )
    except sqlite3.IntegrityError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_CONSTRAINT_UNIQUE:
            raise
        raise Conflict("a job with this id exists already", code="job_exists") from error
    connection.executemany(
        query("insert_body"), ((seq, new.job.body) for seq, new in enumerate(fresh, last + 1))
    )


def _row(seq: int, new: _Fresh, now: float) -> tuple[object, ...]:
    job = new.job
    is_due = job.run_at is None or job.run_at <= now
    return (
        seq,
        job.id,
        job.key,
        None if new.use is None else new.use.digest,
        (JobState.AVAILABLE if is_due else JobState.SCHEDULED).value,
        job.endpoint,
        job.family,
        job.batch,
        job.max_attempts,
        job.run_at,
        job.deadline_at,
        now,
        job.engine,
        job.tenant,
    )
