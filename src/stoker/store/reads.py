"""Questions about jobs, asked on a connection that waits for no writer."""

from __future__ import annotations

import sqlite3

from stoker.core.errors import NotFound
from stoker.core.jobs import JobState
from stoker.core.work import JobId
from stoker.ports import Job
from stoker.store.queries import query
from stoker.store.rows import to_job
from stoker.store.writes import find


def get(connection: sqlite3.Connection, id: JobId) -> Job:
    """The job without its payloads. Raises `NotFound`."""
    return to_job(find(connection, id))


def result(connection: sqlite3.Connection, id: JobId) -> bytes | None:
    """The engine's answer, if there is one. Raises `NotFound`."""
    row = connection.execute(query("result"), {"id": id}).fetchone()
    if row is None:
        raise NotFound(f"job {id}: no such job, or pruned since")
    answer: bytes | None = row["result"]
    return answer


def body(connection: sqlite3.Connection, id: JobId) -> bytes:
    """What the job was enqueued with. Raises `NotFound`."""
    row = connection.execute(query("body"), {"id": id}).fetchone()
    if row is None:
        raise NotFound(f"job {id}: no such job, or pruned since")
    found: bytes = row["body"]
    return found


def list_jobs(
    connection: sqlite3.Connection,
    state: JobState | None,
    batch: str | None,
    limit: int,
    before: JobId | None,
) -> list[Job]:
    """Newest first."""
    # Written out for each combination: `:state IS NULL OR state = :state` would hide the index.
    conditions = {
        "state = :state": None if state is None else state.value,
        "batch = :batch": batch,
        "seq < :seq": None if before is None else find(connection, before)["seq"],
    }
    wanted = [condition for condition, value in conditions.items() if value is not None]
    where = f"WHERE {' AND '.join(wanted)}" if wanted else ""
    state_value, batch_value, seq = conditions.values()
    values = {"state": state_value, "batch": batch_value, "seq": seq, "limit": max(0, limit)}
    sql = f"SELECT * FROM jobs {where} ORDER BY seq DESC LIMIT :limit"
    return [to_job(row) for row in connection.execute(sql, values)]


def counts(connection: sqlite3.Connection, batch: str | None) -> dict[JobState, int]:
    """Jobs per state; every state is there."""
    name = "counts" if batch is None else "batch_counts"
    found = {
        JobState(row["state"]): row["jobs"]
        for row in connection.execute(query(name), {"batch": batch})
    }
    return {state: found.get(state, 0) for state in JobState}


def counts_by_engine(connection: sqlite3.Connection) -> dict[str, dict[JobState, int]]:
    """The same for each engine that a job was ever for."""
    found: dict[str, dict[JobState, int]] = {}
    for row in connection.execute(query("counts_by_engine")):
        of_engine = found.setdefault(row["engine"], dict.fromkeys(JobState, 0))
        of_engine[JobState(row["state"])] = row["jobs"]
    return found
