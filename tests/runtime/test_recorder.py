"""The event log: bounded in every direction, and never in the way of the teller."""

from __future__ import annotations

import asyncio
import json

import pytest

from stoker.runtime.event_file import EventFile
from stoker.runtime.recorder import EventLog

pytestmark = pytest.mark.virtual_time


async def test_only_the_newest_events_are_remembered():
    log = EventLog(size=3)

    for number in range(5):
        log.record("arrived", float(number), {"id": f"req_{number}"})

    assert [event.seq for event in log.recent()] == [3, 4, 5]
    assert [event.seq for event in log.recent(2)] == [4, 5]
    assert log.recorded == 5


async def test_events_about_an_id_are_found_by_request_and_by_job():
    log = EventLog()
    log.record("arrived", 1.0, {"id": "req_1", "job_id": "job_1"})
    log.record("arrived", 2.0, {"id": "req_2"})
    log.record("completed", 3.0, {"id": "job_1"})

    assert [event.at for event in log.about("job_1")] == [1.0, 3.0]


async def test_a_subscriber_gets_what_comes_after_it():
    log = EventLog()
    log.record("before", 0.0, {})

    with log.subscribe() as subscription:
        waiting = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(1)
        log.record("after", 1.0, {})
        event = await waiting

    assert event.kind == "after"


async def test_a_slow_subscriber_loses_the_oldest_and_is_told_how_many():
    log = EventLog()

    with log.subscribe(size=2) as subscription:
        for number in range(5):
            log.record("event", float(number), {})

        assert subscription.dropped == 3
        assert [event.at for event in subscription.take()] == [3.0, 4.0]

    log.record("event", 9.0, {})
    assert subscription.take() == []


async def test_the_file_turns_over_before_it_is_too_large(tmp_path):
    log, path = EventLog(), tmp_path / "logs" / "events.jsonl"
    file = EventFile(path, max_bytes=400)

    for number in range(12):
        log.record("event", float(number), {"id": f"req_{number}", "odd": object()})
        file.write(log.recent(1))

    old = path.with_name("events.jsonl.1").read_text()
    new = path.read_text()
    assert max(len(old), len(new)) <= 400
    numbers = [json.loads(line)["seq"] for line in (old + new).splitlines()]
    assert numbers == list(range(13 - len(numbers), 13))


async def test_events_of_the_last_moment_reach_the_file(tmp_path):
    log, path = EventLog(), tmp_path / "events.jsonl"
    writing = asyncio.ensure_future(EventFile(path).follow(log))
    await asyncio.sleep(0)

    log.record("last", 1.0, {})
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing

    assert json.loads(path.read_text())["kind"] == "last"
