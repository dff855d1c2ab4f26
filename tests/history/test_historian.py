"""A whole fabric in virtual time, and what its history says of it afterwards."""

from __future__ import annotations

import asyncio

import pytest

from stoker.core.errors import NotFound, StoreError
from stoker.history.document import Wanted, history_document
from stoker.history.file import HISTORY_FILE
from stoker.store.faults import StoreDamaged
from stoker.testing.fake_engine import FakeTiming
from tests.history.conftest import FileHere, running

pytestmark = pytest.mark.virtual_time

SLOW = FakeTiming(decode_s=0.5)


async def document(fabric, *, last_s=3600.0, **wanted):
    await asyncio.sleep(12)  # the period that is open is written
    now = fabric.clock.wall()
    kept = fabric.history.kept
    return await fabric.history.read(
        lambda db: history_document(db, Wanted(now - last_s, now + 1, **wanted), kept)
    )


def kinds(found):
    return [one["kind"] for one in found["happenings"]]


async def test_tokens_requests_and_times_are_those_that_were_served(tmp_path):
    async with running(tmp_path) as (fabric, _):
        await asyncio.sleep(3)
        for _ in range(5):
            await fabric.run_p0({"prompt": "hello", "max_tokens": 7})
        await fabric.run_p1({"prompt": "hello", "max_tokens": 9})

        found = (await document(fabric))["engines"]["default"]["whole"]

    assert found["sums"]["p0.output_tokens"] == 35
    assert found["sums"]["p0.finished"] == 5
    assert found["sums"]["p1.output_tokens"] == 9
    assert found["times"]["p0.ttft_s"]["count"] == 5
    assert found["times"]["p1.e2e_s"]["p50"] == pytest.approx(0.2, rel=0.3)
    assert found["gauges"]["slots"] == {"mean": 4, "least": 4, "most": 4}


async def test_who_waits_is_kept_with_the_reason(tmp_path):
    async with running(tmp_path, slots=2, timing=SLOW) as (fabric, _):
        async with asyncio.TaskGroup() as calls:
            for _ in range(6):
                calls.create_task(one(fabric.run_p1({"prompt": "hello"})))

        found = (await document(fabric))["engines"]["default"]["whole"]["sums"]

    waited = {name: s for name, s in found.items() if name.startswith("p1.blocked_s.")}
    assert waited.keys() <= {"p1.blocked_s.slots_full", "p1.blocked_s.slot_reserve"}
    assert sum(waited.values()) > 5


async def one(call):
    await call


async def test_a_lease_a_preemption_and_its_resume_are_happenings(tmp_path):
    async with running(tmp_path, slots=2, timing=SLOW, natural_tokens=40) as (fabric, _):
        job = await fabric.enqueue_p2({"prompt": "job"})
        await asyncio.sleep(5)
        async with await fabric.allocate_p0_priority(30):
            await fabric.run_p0({"prompt": "hi", "max_tokens": 2})
        await fabric.await_job(job)
        found = await document(fabric)

    by_kind = {one["kind"]: one for one in found["happenings"]}
    assert by_kind["lease"]["seconds"] == pytest.approx(30)
    assert by_kind["lease_ended"]["held_s"] > 0
    assert by_kind["preempted"]["ids"] == by_kind["resumed"]["ids"] == [job]
    assert by_kind["preempted"]["tokens"] > 0
    assert found["engines"]["default"]["whole"]["sums"]["preemptions"] == 1


async def test_engine_down_and_up_are_happenings(tmp_path):
    async with running(tmp_path) as (fabric, engine):
        await asyncio.sleep(3)
        engine.is_down = True
        await asyncio.sleep(60)
        engine.is_down = False
        await asyncio.sleep(30)
        found = await document(fabric)

    assert kinds(found) == ["started", "engine_up", "engine_down", "engine_up"]
    assert found["engines"]["default"]["whole"]["sums"]["down_s"] > 20


async def test_the_slowest_request_has_its_story(tmp_path):
    async with running(tmp_path, slots=2, timing=SLOW) as (fabric, _):
        async with asyncio.TaskGroup() as calls:
            for _ in range(4):
                calls.create_task(one(fabric.run_p1({"prompt": "hello"})))
        await asyncio.sleep(60)
        found = (await document(fabric))["slowest"]

    assert len(found) == 3
    assert found[0]["ttft_s"] >= found[1]["ttft_s"] >= found[2]["ttft_s"]
    assert found[0]["entries"][0]["what"] == "arrived"
    assert found[0]["entries"][-1]["what"] == "finished"
    assert "waits" in [entry["what"] for entry in found[0]["entries"]]


async def test_the_next_life_goes_on_in_the_same_file(tmp_path):
    async with running(tmp_path) as (fabric, _):
        await fabric.run_p0({"prompt": "hello", "max_tokens": 7})
        await asyncio.sleep(3)
    async with running(tmp_path) as (fabric, _):
        await asyncio.sleep(3)
        await fabric.run_p0({"prompt": "hello", "max_tokens": 7})
        found = await document(fabric)

    assert found["engines"]["default"]["whole"]["sums"]["p0.finished"] >= 1
    assert kinds(found).count("started") == 2
    assert kinds(found).count("stopped") == 1


async def test_one_engine_and_some_series_can_be_asked_for(tmp_path):
    async with running(tmp_path) as (fabric, _):
        await fabric.run_p0({"prompt": "hello"})
        found = await document(fabric, series=("p0.running", "jobs."), engine="default")

    assert list(found["engines"]["default"]["gauges"]) == ["p0.running"]
    assert all(name.startswith("jobs.") for name in found["box"]["gauges"])


class FileInTrouble(FileHere):
    """Its writes raise what it is told to."""

    error: StoreError | None = None
    begun = 0

    async def write(self, *what):
        if self.error is not None:
            raise self.error
        await super().write(*what)

    async def begin_anew(self, error):
        self.begun += 1
        self.error = None
        await super().begin_anew(error)


def in_trouble(folder):
    return FileInTrouble(folder / HISTORY_FILE, max_bytes=2**24, retention_s=86_400.0)


async def test_a_full_disk_ends_nothing_and_happenings_wait_for_room(tmp_path):
    file = in_trouble(tmp_path)
    async with running(tmp_path, file=file) as (fabric, _):
        await asyncio.sleep(15)
        file.error = StoreError("the disk is full")
        async with await fabric.allocate_p0_priority(5):
            await asyncio.sleep(40)
        file.error = None
        found = await document(fabric)

    assert kinds(found) == ["started", "engine_up", "lease", "lease_ended"]


async def test_damage_that_is_met_while_serving_begins_a_new_file(tmp_path):
    file = in_trouble(tmp_path)
    async with running(tmp_path, file=file) as (fabric, _):
        await asyncio.sleep(15)
        file.error = StoreDamaged("the database is damaged")
        await asyncio.sleep(15)
        await fabric.run_p0({"prompt": "hello"})
        found = await document(fabric)

    assert file.begun == 1
    assert found["engines"]["default"]["whole"]["sums"]["p0.finished"] == 1
    assert (tmp_path / "history.sqlite3.damaged").exists()


async def test_a_folder_that_cannot_be_written_costs_the_history_alone(tmp_path):
    folder = tmp_path / "file"
    folder.write_text("no folder")
    async with running(folder) as (fabric, _):
        await fabric.run_p0({"prompt": "hello"})

        with pytest.raises(NotFound, match="no history"):
            _ = fabric.history
