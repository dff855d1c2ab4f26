"""Questions about jobs, asked on a connection that waits for no writer."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence

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
    *,
    state: JobState | None,
    batch: str | None,
    tenant: str | None,
    limit: int,
    before: JobId | None,
) -> list[Job]:
    """Newest first."""
    # A name in the condition: the index holds only tenants that have one.
    # Written out for each combination: `:state IS NULL OR state = :state` would hide the index.
    conditions = {
        "state = :state": None if state is None else state.value,
        "batch = :batch": batch,
        ("tenant <> '' AND tenant = :tenant" if tenant else "tenant = :tenant"): tenant,
        "seq < :seq": None if before is None else find(connection, before)["seq"],
    }
    wanted = [condition for condition, value in conditions.items() if value is not None]
    where = f"WHERE {' AND '.join(wanted)}" if wanted else ""
    values = {condition.rpartition(":")[2]: value for condition, value in conditions.items()} | {
        "limit": max(0, limit)
    }
    sql = f"SELECT * FROM jobs {where} ORDER BY seq DESC LIMIT :limit"
    return [to_job(row) for row in connection.execute(sql, values)]


def counts(
    connection: sqlite3.Connection, batch: str | None, tenant: str | None
) -> dict[JobState, int]:
    """Jobs per state, of one batch, of one tenant, or both; every state is there."""
    name = "counts" if tenant is None else "tenant_counts"
    if batch is not None:
        name = "batch_counts" if tenant is None else "tenant_batch_counts"
    values = {"batch": batch, "tenant": tenant}
    rows = connection.execute(query(name), values)
    found = {JobState(row["state"]): row["jobs"] for row in rows}
    return {state: found.get(state, 0) for state in JobState}


def counts_by_engine(connection: sqlite3.Connection) -> dict[str, dict[JobState, int]]:
    """The same for each engine that a job was ever for."""
    found: dict[str, dict[JobState, int]] = {}
    for row in connection.execute(query("counts_by_engine")):
        of_engine = found.setdefault(row["engine"], dict.fromkeys(JobState, 0))
        of_engine[JobState(row["state"])] += row["jobs"]
    return found


def waiting_tenants(connection: sqlite3.Connection, engines: Sequence[str]) -> dict[str, int]:
    """Available jobs of each tenant that has any."""
    found: Counter[str] = Counter()
    for engine in engines:
        for row in connection.execute(query("waiting_tenants"), {"engine": engine}):
            found[row["tenant"]] += row["jobs"]
    return dict(sorted(found.items()))
