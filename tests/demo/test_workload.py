"""The workload on a real service with a scripted engine: what the journal has afterwards."""

from __future__ import annotations

import asyncio

import pytest

from stoker.demo import script
from stoker.demo.documents import Document
from stoker.demo.journal import Group, Journal
from stoker.demo.report import report
from stoker.demo.watch import Watch
from stoker.demo.workload import ALONE_QUESTIONS, Workload
from stoker.testing.fake_engine import FakeTiming

pytestmark = pytest.mark.slow

DOCUMENTS = [Document(f"doc {number}", "word " * 200) for number in range(30)]


def a_workload(fabric, client, journal, seconds=2.0):
    return Workload(client, DOCUMENTS, journal, fabric.clock, seconds=seconds)


async def test_every_class_is_served_and_measured(service, monkeypatch):
    monkeypatch.setattr(script, "TYPING_S", 0.1)
    monkeypatch.setattr(script, "TOOL_S", 0.1)
    journal = Journal()
    async with service() as (fabric, client, _):
        workload = a_workload(fabric, client, journal)
        await workload.alone()
        await workload.mixed()
        leases = await client.leases()
        state = await client.state()

    found = report(journal)
    rows = {row.group: row for row in found.rows}
    assert journal.failures == []
    assert rows[Group.ALONE].completed == ALONE_QUESTIONS
    assert rows[Group.LEASED].completed == script.QUESTIONS
    assert rows[Group.UNLEASED].completed == 1
    assert rows[Group.AGENTS].completed >= 4
    assert rows[Group.DOCUMENTS].completed >= 10
    assert all(answer.ttft_s > 0 for answer in journal.of(Group.AGENTS))
    assert all(answer.prompt_tokens > 200 for answer in journal.of(Group.DOCUMENTS))
    assert journal.latest[0].startswith("doc ")
    assert found.jobs == sum(state["jobs"].values()) >= 30
    assert leases == []


async def test_people_come_less_often_to_a_slow_box(service, monkeypatch):
    monkeypatch.setattr(script, "PERIOD_S", 0.5)
    journal = Journal()
    async with service() as (fabric, client, _):
        await a_workload(fabric, client, journal, seconds=6.0).mixed()

    # A burst takes its typing second at least, and the rest after it half as much again: three of
    # the twelve that are planned find the time.
    assert len(journal.of(Group.LEASED)) + journal.cut_off[Group.LEASED] <= 3 * script.QUESTIONS
    assert journal.failures == []


async def test_refusals_are_counted_and_are_no_failures(service):
    journal = Journal()
    timing = FakeTiming(decode_s=0.02)
    async with service(slots=1, timing=timing, wait_max_p1_s=0.05) as (fabric, client, _):
        await a_workload(fabric, client, journal, seconds=1.5).mixed()

    assert journal.failures == []
    assert journal.refused[Group.AGENTS] >= 1
    assert journal.refused.total() == journal.refused[Group.AGENTS]


async def test_an_engine_that_is_gone_is_a_failure_with_a_name(service):
    journal = Journal()
    async with service() as (fabric, client, _):
        fabric.engine.drop(after_tokens=2)
        await a_workload(fabric, client, journal).alone()

    assert [failure.startswith("P0 alone: ") for failure in journal.failures] == [True]
    assert not report(journal).is_success


async def test_the_watch_sees_preempted_jobs_come_back(service, monkeypatch):
    monkeypatch.setattr(script, "TYPING_S", 0.3)
    journal = Journal()
    async with service(shed_pause_s=0.1) as (fabric, client, _):
        watch, looks = Watch(client, journal), []
        watch.listen(lambda: looks.append(watch.state["scheduler"]["at"]))
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch.run())
            await a_workload(fabric, client, journal).mixed()
            await asyncio.sleep(0.6)
            watching.cancel()

    assert len(looks) >= 4
    assert looks == sorted(looks)
    assert journal.preempted >= 1
    assert 0 <= journal.resumed <= journal.preempted
    assert any("lease" in line for _, line in watch.notes.lines)
