"""The rules inside the schema, and the plans behind the queries."""

import sqlite3
from itertools import product

import pytest

from stoker.core.jobs import TRANSITIONS, JobState
from stoker.store import reads
from stoker.store.queries import migrations, query, query_names

COMPLETED = JobState.COMPLETED
NEW_LIVES = {
    (JobState.CANCELLED, JobState.AVAILABLE),
    (JobState.DISCARDED, JobState.AVAILABLE),
}


@pytest.fixture
def db():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.row_factory = sqlite3.Row
    for script in migrations():
        connection.executescript(script)
    yield connection
    connection.close()


def move(db, state: JobState) -> None:
    lease = ("x", 1.0) if state is JobState.RUNNING else (None, None)
    finished_at = 1.0 if state.is_final else None
    db.execute(
        "UPDATE jobs SET state = ?, lease_id = ?, lease_until = ?, finished_at = ?",
        (state.value, *lease, finished_at),
    )


@pytest.mark.parametrize(("before", "after"), [*product(JobState, JobState)])
def test_the_database_itself_allows_exactly_the_legal_transitions(db, before, after):
    lease = ("x", 1.0) if before is JobState.RUNNING else (None, None)
    db.execute(
        "INSERT INTO jobs (job_id, state, endpoint, family, max_attempts, created_at,"
        " lease_id, lease_until, finished_at) VALUES ('a', ?, '', '', 1, 0.0, ?, ?, ?)",
        (before.value, *lease, 1.0 if before.is_final else None),
    )
    is_legal = after in TRANSITIONS[before] or (before, after) in NEW_LIVES

    if is_legal:
        move(db, after)
    else:
        with pytest.raises(sqlite3.IntegrityError, match="illegal job transition"):
            move(db, after)

    counts = {row["state"]: row["jobs"] for row in db.execute(query("counts"))}
    assert counts == {
        state.value: int(state is (after if is_legal else before)) for state in JobState
    }


class AnyValue(dict):
    """Binds NULL to every parameter: a plan does not depend on the values."""

    def __missing__(self, name):
        return None


def plan(db, sql, parameters=AnyValue()) -> str:  # noqa: B008 - never changed
    rows = db.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)
    return "\n".join(row["detail"] for row in rows)


@pytest.mark.parametrize("name", [name for name in query_names() if "?" not in query(name)])
def test_no_query_scans_or_sorts_the_jobs(db, name):
    steps = plan(db, query(name)).splitlines()

    assert [step for step in steps if step.startswith("SCAN jobs")] == []
    # `claimed` sorts what it claimed; nothing else may sort.
    assert name == "claimed" or not any("TEMP B-TREE" in step for step in steps)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "SCAN jobs"),  # backwards along the primary key, as far as the limit
        ({"state": COMPLETED}, "SEARCH jobs USING INDEX jobs_state (state=?)"),
        (
            {"state": COMPLETED, "batch": "x"},
            "SEARCH jobs USING INDEX jobs_batch (batch=? AND state=?)",
        ),
        ({"tenant": "t"}, "SEARCH jobs USING INDEX jobs_of_tenant (tenant=?)"),
    ],
)
def test_a_page_of_jobs_is_read_in_order_from_an_index(db, filters, expected):
    statements: list[str] = []
    db.set_trace_callback(statements.append)
    reads.list_jobs(
        db, **{"state": None, "batch": None, "tenant": None, **filters}, limit=10, before=None
    )
    db.set_trace_callback(None)

    assert plan(db, statements[0], ()) == expected
