"""What only a store in a file can get wrong: reopening, damage, strangers, two processes."""

import os
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from stoker.core.errors import StoreError
from stoker.core.jobs import JobState
from stoker.core.work import JobId
from stoker.store import database
from stoker.store.queries import migrations
from stoker.store.sqlite import SCHEMA, SqliteJobStore
from stoker.testing.job_store_suite.steps import LEASE_S, USAGE, claimed, enqueued, names, new_job


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "data" / "jobs.sqlite3"


@asynccontextmanager
async def opened(path: Path):
    store = SqliteJobStore(path)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def test_a_large_transaction_writes_no_file_beside_the_database(path):
    path.parent.mkdir()
    with database.writer_session(path, SCHEMA, 1.0) as db:
        assert db.execute("PRAGMA temp_store").fetchone()[0] == 2, "memory"


async def refusal(path: Path) -> str:
    """The one line that opening `path` must end in."""
    with pytest.raises(StoreError) as caught:
        await SqliteJobStore(path).open()
    message = str(caught.value)
    assert "\n" not in message
    return message


async def test_everything_is_there_after_reopening(path):
    async with opened(path) as store:
        await enqueued(store, "done", "held", "waiting", batch="x")
        done, held = await store.claim(2, lease_s=LEASE_S, now=1.0)
        await store.complete(done.job.id, done.lease_id, result=b"r", usage=USAGE, now=2.0)
        before = await store.list_jobs()

    async with opened(path) as store:
        assert await store.list_jobs() == before
        assert await store.result(JobId("done")) == b"r"
        assert (await store.counts())[JobState.RUNNING] == 1
        # The lease outlives the process: whoever still knows it may finish.
        assert await store.complete(held.job.id, held.lease_id, result=b"", usage=None, now=3.0)
        assert (await claimed(store)).job.id == "waiting"


async def test_a_closed_store_leaves_one_file_and_refuses_politely(path):
    async with opened(path) as store:
        await enqueued(store, "a")

    assert sorted(file.name for file in path.parent.iterdir()) == ["jobs.sqlite3", "stoker.lock"]
    with pytest.raises(StoreError, match="closed"):
        await store.get(JobId("a"))
    await store.close()  # again, harmless


async def test_a_new_file_gets_the_newest_schema(path):
    async with opened(path):
        pass

    with sqlite3.connect(path) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (len(migrations()),)
        assert raw.execute("PRAGMA application_id").fetchone() == (SCHEMA.application_id,)
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    raw.close()


def test_a_broken_migration_leaves_the_schema_as_it_was(path):
    path.parent.mkdir()
    raw = sqlite3.connect(path, isolation_level=None)
    database._migrate(raw, path, replace(SCHEMA, migrations=["CREATE TABLE first (x)"]))

    broken = ["", "CREATE TABLE second (x); INSERT INTO nowhere VALUES (1)"]
    with pytest.raises(sqlite3.Error):
        database._migrate(raw, path, replace(SCHEMA, migrations=broken))

    assert raw.execute("PRAGMA user_version").fetchone() == (1,)
    assert raw.execute("SELECT name FROM sqlite_schema").fetchall() == [("first",)]
    raw.close()


async def test_a_database_of_a_newer_stoker_is_left_alone(path):
    async with opened(path):
        pass
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA user_version = 99")
    raw.close()

    assert "schema 99" in await refusal(path)


async def test_a_file_that_is_no_database_is_left_alone(path):
    path.parent.mkdir()
    path.write_text("dear diary, " * 1000)

    assert "not an SQLite database" in await refusal(path)
    assert path.read_text().startswith("dear diary")


async def test_a_database_of_another_program_is_left_alone(path):
    path.parent.mkdir()
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE diary (day, text)")
    raw.close()

    assert "not Stoker's" in await refusal(path)


async def test_a_damaged_database_is_refused_at_the_door(path):
    async with opened(path) as store:
        await store.enqueue([new_job(f"job{i}", body=b"x" * 2000) for i in range(200)], now=0.0)
    with path.open("r+b") as file:
        file.seek(20 * 4096)
        file.write(os.urandom(60 * 4096))

    assert "damaged" in await refusal(path)


async def test_damage_met_later_is_told_to_whoever_reads(path, monkeypatch):
    async with opened(path) as store:
        await store.enqueue([new_job(f"job{i}", body=b"x" * 2000) for i in range(200)], now=0.0)
    with path.open("r+b") as file:
        file.seek(20 * 4096)
        file.write(os.urandom(60 * 4096))
    monkeypatch.setattr(database, "_CHECKED_BYTES_MAX", 0)

    async with opened(path) as store:
        with pytest.raises(StoreError, match="damaged"):
            await store.claim(200, lease_s=LEASE_S, now=1.0)


async def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    message = await refusal(tmp_path / "file" / "data" / "jobs.sqlite3")

    assert str(tmp_path / "file" / "data") in message
    assert "--data" in message


async def test_two_stores_of_one_process_do_not_share_a_folder(path):
    async with opened(path):
        assert f"pid {os.getpid()}" in await refusal(path)

    async with opened(path) as store:
        await enqueued(store, "a")


HOLDER = """
    import asyncio, sys
    from pathlib import Path
    from stoker.core.work import JobId
    from stoker.ports import NewJob
    from stoker.store.sqlite import SCHEMA, SqliteJobStore

    async def enqueue_for_ever(store, caller):
        for number in range(1_000_000):
            id = f"{sys.argv[2]}-{caller}-{number}"
            body = id.encode() * 50
            await store.enqueue([NewJob(JobId(id), "/v1/chat/completions", body)], now=1.0)
            print(id, flush=True)

    async def main():
        store = SqliteJobStore(Path(sys.argv[1]))
        await store.open()
        await asyncio.gather(*(enqueue_for_ever(store, caller) for caller in range(8)))

    asyncio.run(main())
"""


def writer_process(path: Path, run: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), str(path), str(run)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
async def test_two_processes_do_not_share_a_folder(path):
    with writer_process(path, 0) as other:
        other.stdout.readline()

        message = await refusal(path)

        other.kill()
    assert f"pid {other.pid}" in message


@pytest.mark.slow
async def test_kill_9_in_the_middle_of_enqueues_loses_nothing_acknowledged(path):
    acknowledged = []
    for run, lines in enumerate((1, 7, 50, 333)):
        with writer_process(path, run) as writer:
            acknowledged += [writer.stdout.readline().strip() for _ in range(lines)]
            writer.kill()
            # Complete lines only: the last one may be cut off by the kill.
            acknowledged += [line.strip() for line in writer.stdout if line.endswith("\n")]

    async with opened(path) as store:
        jobs = await store.list_jobs(limit=1_000_000)
        assert set(acknowledged) <= set(names(jobs))
        held = await store.claim(len(jobs), lease_s=LEASE_S, now=2.0)
        assert [one.body for one in held] == [one.job.id.encode() * 50 for one in held]
        assert (await store.counts())[JobState.RUNNING] == len(jobs)


async def test_jobs_from_before_there_were_engines_are_kept_counted_and_claimed(path):
    scripts = migrations()
    before = next(at for at, script in enumerate(scripts) if "COLUMN engine" in script)
    path.parent.mkdir()
    with sqlite3.connect(path, isolation_level=None) as raw:
        database._migrate(raw, path, replace(SCHEMA, migrations=scripts[:before]))
        for number, state in enumerate(["available", "available", "scheduled"], start=1):
            raw.execute(
                "INSERT INTO jobs (seq, job_id, state, endpoint, family, max_attempts, created_at)"
                " VALUES (?, ?, ?, '/v1/completions', '', 1, 0.0)",
                (number, f"old{number}", state),
            )
            raw.execute("INSERT INTO bodies VALUES (?, x'00')", (number,))

    async with opened(path) as store:
        counts = await store.counts()
        held = await store.claim(9, lease_s=LEASE_S, now=1.0)

    assert (counts[JobState.AVAILABLE], counts[JobState.SCHEDULED]) == (2, 1)
    assert [(one.job.id, one.job.engine) for one in held] == [("old1", ""), ("old2", "")]
