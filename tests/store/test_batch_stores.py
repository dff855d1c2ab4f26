"""What every store of batches and files does, asked of the one in SQLite and the one in a dict."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stoker.core.batches import Batch, BatchStatus, StoredFile, moved
from stoker.core.errors import Conflict, NotFound
from stoker.core.jobs import JobState
from stoker.core.work import JobId, Usage
from stoker.ports import NewJob
from stoker.store.sqlite import SqliteJobStore
from stoker.testing.job_store import InMemoryJobStore

CHAT = "/v1/chat/completions"


@pytest.fixture(params=["sqlite", "dict"])
async def jobs(request, tmp_path):
    is_sqlite = request.param == "sqlite"
    store = SqliteJobStore(tmp_path / "jobs.sqlite3") if is_sqlite else InMemoryJobStore()
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def store(jobs):
    return jobs.batches


def a_file(id, *, tenant="", purpose="batch", expires_at=None):
    return StoredFile(id, tenant, f"{id}.jsonl", purpose, 3, 1.5, expires_at)


def a_batch(id, input_file_id="f", **changes):
    return Batch(id, changes.pop("tenant", ""), CHAT, input_file_id, "24h", 2.5, 99.0, **changes)


async def shown(store, *files):
    for file in files:
        await store.add_file(replace(file, filename="", purpose="", bytes=0))
        await store.show_file(file)


async def page(store, **query):
    options = {"tenant": "", "purpose": None, "limit": 10, "after": None, "is_ascending": True}
    return [file.id for file in await store.list_files(**{**options, **query})]


async def test_a_file_is_seen_by_nobody_until_it_is_shown(store):
    await store.add_file(a_file("f"))

    with pytest.raises(NotFound):
        await store.file("f", tenant="")
    assert await page(store) == []
    assert await store.hidden_files() == ["f"]
    assert await store.is_hidden("f")

    await store.show_file(a_file("f", purpose="vision", expires_at=9.0))

    assert await store.file("f", tenant="") == a_file("f", purpose="vision", expires_at=9.0)
    assert await store.hidden_files() == []
    assert not await store.is_hidden("f")


async def test_only_a_hidden_file_can_be_dropped(store):
    await shown(store, a_file("f"))

    await store.drop_file("f")
    assert await page(store) == ["f"]
    await store.hide_file("f", tenant="")
    assert await page(store) == []
    await store.drop_file("f")

    assert await store.hidden_files() == []
    with pytest.raises(NotFound):
        await store.hide_file("f", tenant="")
    with pytest.raises(NotFound):
        await store.show_file(a_file("f"))


async def test_files_come_by_pages_and_a_tenant_sees_its_own(store):
    await shown(store, *(a_file(f"f{n}", purpose="ab"[n % 2]) for n in range(6)))
    await shown(store, a_file("theirs", tenant="t"))

    assert await page(store) == [f"f{n}" for n in range(6)]
    assert await page(store, is_ascending=False, limit=2, after="f4") == ["f3", "f2"]
    assert await page(store, purpose="b", after="f1") == ["f3", "f5"]
    assert await page(store, tenant="t") == ["theirs"]
    assert await page(store, tenant=None, after="f4") == ["f5", "theirs"]
    assert await page(store, tenant=None, purpose="batch") == ["theirs"]
    assert (await store.file("theirs", tenant=None)).tenant == "t"
    with pytest.raises(NotFound):
        await store.file("theirs", tenant="")
    with pytest.raises(NotFound):
        await page(store, after="theirs")


async def test_expired_files_are_hidden_unless_an_open_batch_reads_them(store):
    await shown(store, a_file("old", expires_at=5.0), a_file("read", expires_at=5.0), a_file("f"))
    await store.add_batch(a_batch("b", "read"))

    assert await store.hide_expired(now=4.9) == []
    assert await store.hide_expired(now=5.0) == ["old"]
    with pytest.raises(Conflict) as caught:
        await store.hide_file("read", tenant="")
    assert caught.value.code == "file_in_use"

    await store.change_batch("b", lambda last: moved(last, BatchStatus.FAILED, 6.0))

    assert await store.hide_expired(now=6.0) == ["read"]


async def test_a_batch_needs_its_file(store):
    await store.add_file(a_file("hidden"))
    await shown(store, a_file("theirs", tenant="t"))

    for id in ("none", "hidden", "theirs"):
        with pytest.raises(NotFound):
            await store.add_batch(a_batch("b", id))

    assert await store.list_batches(tenant="", limit=9, after=None) == []


async def test_a_batch_comes_back_as_it_was_kept(store):
    await shown(store, a_file("f"), a_file("t", tenant="t"))
    batch = a_batch("b", metadata={"k": "v"}, output_expires_after_s=7)
    await store.add_batch(batch)
    await store.add_batch(a_batch("theirs", "t", tenant="t"))
    await store.add_batch(a_batch("c"))

    assert await store.batch("b", tenant="") == batch
    assert [one.id for one in await store.list_batches(tenant="", limit=9, after=None)] == [
        "c",
        "b",
    ]
    assert [one.id for one in await store.list_batches(tenant="", limit=1, after="c")] == ["b"]
    every = await store.list_batches(tenant=None, limit=9, after=None)
    assert [one.id for one in every] == ["c", "theirs", "b"]
    assert every[1] == await store.batch("theirs", tenant=None)
    assert [one.id for one in await store.open_batches()] == ["b", "theirs", "c"]
    with pytest.raises(NotFound):
        await store.batch("theirs", tenant="")
    with pytest.raises(NotFound):
        await store.list_batches(tenant="", limit=1, after="theirs")


async def test_a_change_and_the_files_it_shows_are_one(store):
    await shown(store, a_file("f"))
    await store.add_batch(a_batch("b"))
    await store.add_file(a_file("out"))

    def broken(last):
        raise Conflict("no")

    with pytest.raises(Conflict):
        await store.change_batch("b", broken, files=[a_file("out")])
    assert await store.is_hidden("out")
    changed = await store.change_batch(
        "b", lambda last: moved(last, BatchStatus.FAILED, 3.0), files=[a_file("out")]
    )

    assert changed == await store.batch("b", tenant="")
    assert (changed.status, changed.reached) == (BatchStatus.FAILED, {"failed": 3.0})
    assert await page(store) == ["f", "out"]
    assert await store.open_batches() == []
    counts = await store.batch_counts()
    assert {status: n for status, n in counts.items() if n} == {BatchStatus.FAILED: 1}
    assert set(counts) == set(BatchStatus)
    with pytest.raises(NotFound):
        await store.change_batch("none", lambda last: last)


async def test_the_jobs_of_a_batch_are_found_by_key_and_cancelled_in_bites(jobs, store):
    new = [NewJob(JobId(f"j{n}"), CHAT, b"x", key=f"b/{n}", batch="b") for n in range(5)]
    await jobs.enqueue([*new, NewJob(JobId("other"), CHAT, b"x", key="o", batch="c")], now=1.0)
    done, running = await jobs.claim(2, lease_s=10.0, now=1.0)
    await jobs.complete(done.job.id, done.lease_id, result=b"{}", usage=Usage(1, 2, 0), now=2.0)

    first = await store.cancel_waiting("b", now=3.0, limit=2)
    rest = await store.cancel_waiting("b", now=3.0, limit=9)

    assert sorted([*first, *rest]) == ["j2", "j3", "j4"]
    assert len(first) == 2
    assert (await jobs.get(running.job.id)).state is JobState.RUNNING
    assert (await jobs.get(JobId("other"))).state is JobState.AVAILABLE
    ends = {end.key: end for end in await store.line_ends(["b/0", "b/3", "b/9"], batch="b")}
    assert ends.keys() == {"b/0", "b/3"}
    assert (ends["b/0"].state, ends["b/0"].result) == (JobState.COMPLETED, b"{}")
    assert (ends["b/0"].job_id, ends["b/0"].usage) == ("j0", Usage(1, 2, 0))
    assert (ends["b/3"].state, ends["b/3"].result) == (JobState.CANCELLED, None)


async def test_jobs_of_an_open_batch_are_not_pruned(jobs, store):
    await shown(store, a_file("f"))
    await store.add_batch(a_batch("b"))
    names = [("in", "b"), ("label", "no batch of that name"), ("alone", None)]
    new = [NewJob(JobId(id), CHAT, b"x", batch=batch) for id, batch in names]
    await jobs.enqueue(new, now=1.0)
    for id, _ in names:
        await jobs.cancel(JobId(id), now=1.0)

    assert await jobs.prune(finished_before=9.0, limit=9) == 2
    await store.change_batch("b", lambda last: moved(last, BatchStatus.FAILED, 9.0))

    assert await jobs.prune(finished_before=9.0, limit=9) == 1


async def test_files_and_batches_outlive_the_process(jobs, store):
    await shown(store, a_file("f"))
    await store.add_batch(a_batch("b"))

    await jobs.close()
    await jobs.open()

    assert await store.file("f", tenant="") == a_file("f")
    assert await store.open_batches() == [a_batch("b")]
