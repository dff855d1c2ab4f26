"""Group commit, and what one caller's trouble means for the others."""

import asyncio
import sqlite3
import threading
from contextlib import asynccontextmanager

import pytest

from stoker.core.errors import Conflict, StoreError
from stoker.core.jobs import JobState
from stoker.core.work import JobId
from stoker.store.sqlite import SqliteJobStore
from stoker.testing.job_store_suite.steps import LEASE_S, claimed, enqueued, new_job


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jobs.sqlite3"


@pytest.fixture
async def store(path):
    store = SqliteJobStore(path, busy_timeout_s=0.05)
    await store.open()
    yield store
    await store.close()


@asynccontextmanager
async def busy_writer(store):
    """Hold the writer inside an operation, so that what is asked meanwhile becomes one group."""
    is_held, may_go = threading.Event(), threading.Event()

    def hold(_):
        is_held.set()
        may_go.wait(10)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(store._writer.submit(hold))
        await asyncio.to_thread(is_held.wait, 10)
        try:
            yield tasks
            await asyncio.sleep(0)  # let the tasks put their tickets into the queue
        finally:
            may_go.set()


async def outcome(attempt):
    try:
        return await attempt
    except Exception as error:  # noqa: BLE001 - the error is the outcome
        return error


async def test_all_writes_that_wait_share_one_commit(store):
    statements: list[str] = []
    await store._writer.submit(lambda db: db.set_trace_callback(statements.append))

    async with busy_writer(store) as tasks:
        statements.clear()
        for i in range(50):
            tasks.create_task(store.enqueue([new_job(f"job{i}")], now=0.0))

    holders_and_ours = 2
    assert statements.count("COMMIT") == holders_and_ours
    assert (await store.counts())[JobState.AVAILABLE] == 50


async def test_one_caller_s_error_fails_nobody_else_in_its_group(store):
    await enqueued(store, "old", key="k", body=b"x")

    async with busy_writer(store) as tasks:
        answers = [
            tasks.create_task(outcome(store.enqueue(jobs, now=1.0)))
            for jobs in (
                [new_job("a")],
                [new_job("b"), new_job("c", key="k", body=b"other")],
                [new_job("d")],
            )
        ]

    first, second, third = [await answer for answer in answers]
    assert (first[0].is_new, third[0].is_new) == (True, True)
    assert isinstance(second, Conflict)
    found = await store.list_jobs()
    assert [job.id for job in found] == ["d", "a", "old"]


async def test_a_bug_in_one_operation_reaches_its_caller_alone(store):
    async with busy_writer(store) as tasks:
        bug = tasks.create_task(outcome(store._writer.submit(lambda _: 1 // 0)))
        good = tasks.create_task(store.enqueue([new_job("a")], now=1.0))

    assert isinstance(await bug, ZeroDivisionError)
    assert (await good)[0].is_new


async def test_a_full_disk_fails_the_write_that_does_not_fit_and_not_its_neighbours(store):
    def leave_little_room(db):
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages + 20}")

    await store._writer.submit(leave_little_room)

    async with busy_writer(store) as tasks:
        small = tasks.create_task(outcome(store.enqueue([new_job("small")], now=1.0)))
        large = tasks.create_task(
            outcome(store.enqueue([new_job("large", body=b"x" * 10**6)], now=1.0))
        )
        late = tasks.create_task(outcome(store.enqueue([new_job("late")], now=1.0)))

    assert isinstance(await large, StoreError)
    assert "disk is full" in str(await large)
    assert [(await task)[0].is_new for task in (small, late)] == [True, True]
    assert (await store.counts())[JobState.AVAILABLE] == 2


async def test_a_program_that_holds_the_database_locked_is_named_as_the_cause(store, path):
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("BEGIN IMMEDIATE")

    error = await outcome(store.enqueue([new_job("a")], now=1.0))

    assert isinstance(error, StoreError)
    assert "locked" in str(error)
    raw.execute("ROLLBACK")
    raw.close()
    await enqueued(store, "a")


async def test_reads_do_not_wait_for_the_writer(store):
    await enqueued(store, "a")

    async with busy_writer(store):
        async with asyncio.timeout(5):
            assert (await store.get(JobId("a"))).state is JobState.AVAILABLE
            assert (await store.counts())[JobState.AVAILABLE] == 1


async def test_a_caller_who_gives_up_before_its_turn_changes_nothing(store):
    await enqueued(store, "a")

    async with busy_writer(store) as tasks:
        impatient = tasks.create_task(store.claim(1, lease_s=LEASE_S, now=1.0))
        await asyncio.sleep(0)
        impatient.cancel()

    assert (await claimed(store)).job.attempts == 1


async def test_closing_serves_what_was_asked_before(path):
    store = SqliteJobStore(path)
    await store.open()
    asked = [asyncio.ensure_future(store.enqueue([new_job(f"job{i}")], now=0.0)) for i in range(20)]
    await asyncio.sleep(0)

    await store.close()

    assert all(answer.is_new for (answer,) in await asyncio.gather(*asked))
