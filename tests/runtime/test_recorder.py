"""The event log: bounded in every direction, and never in the way of the teller."""

from __future__ import annotations

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from stoker.config import Config, LogConfig
from stoker.runtime.event_file import EventFile
from stoker.runtime.recorder import EventLog
from stoker.wiring import build_event_files

pytestmark = pytest.mark.virtual_time


async def test_only_the_newest_events_are_remembered():
    log = EventLog(size=3)

    for number in range(5):
        log.record("arrived", float(number), {"id": f"req_{number}"})

    assert [event.seq for event in log.recent()] == [3, 4, 5]
    assert [event.seq for event in log.recent(2)] == [4, 5]
    assert [event.seq for event in log.recent(3, most=2)] == [3, 4]
    assert log.recorded == 5


async def test_a_subscriber_may_want_some_kinds_alone():
    log = EventLog()

    with log.subscribe(size=2, kinds={"left"}) as subscription:
        for number in range(4):
            log.record("arrived", float(number), {"id": f"req_{number}"})
            log.record("left", float(number), {"id": f"req_{number}"})

    assert [event.kind for event in subscription.take()] == ["left", "left"]
    assert subscription.dropped == 2


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


async def test_a_frequent_event_goes_only_to_those_who_want_it_and_takes_no_number():
    log = EventLog()

    with log.subscribe() as usual, log.subscribe(wants_frequent=True) as everything:
        log.record("arrived", 1.0, {})
        log.record("progressed", 2.0, {}, is_frequent=True)
        log.record("left", 3.0, {})

        assert [(one.seq, one.kind) for one in usual.take()] == [(1, "arrived"), (2, "left")]
        assert [(one.seq, one.kind) for one in everything.take()] == [
            (1, "arrived"),
            (1, "progressed"),
            (2, "left"),
        ]
    assert [event.kind for event in log.recent()] == ["arrived", "left"]


async def test_events_that_come_too_fast_for_the_file_are_counted_in_it(tmp_path):
    log, path = EventLog(), tmp_path / "events.jsonl"
    writing = asyncio.ensure_future(EventFile(path, is_full=True).follow(log))
    await asyncio.sleep(0)

    for _ in range(10_003):
        log.record("progressed", 1.0, {}, is_frequent=True)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing

    first, *rest = map(json.loads, path.read_text().splitlines())
    assert (first["kind"], first["fields"], len(rest)) == ("EventsLost", {"count": 3}, 10_000)


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


async def test_a_file_that_cannot_be_written_ends_nothing_and_goes_on_when_it_can(tmp_path):
    log, folder = EventLog(), tmp_path / "data"
    folder.write_text("a file where the folder should be")
    path = folder / "events.jsonl"
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(EventFile(path).follow(log))
        await asyncio.sleep(0)
        with capture_logs() as told:
            log.record("lost", 1.0, {})
            while not told:  # noqa: ASYNC110 - its thread takes real time
                await asyncio.sleep(0.25)
        folder.unlink()
        log.record("kept", 2.0, {})
        while not path.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.25)
        writing.cancel()

    assert [one["event"] for one in told] == ["events_not_written"]
    [lost, kept] = map(json.loads, path.read_text().splitlines())
    assert (lost["kind"], lost["fields"]) == ("EventsLost", {"count": 1})
    assert (kept["kind"], kept["seq"]) == ("kept", lost["seq"])


async def test_events_are_written_in_their_order_up_to_the_end(tmp_path):
    log, path = EventLog(), tmp_path / "events.jsonl"
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(EventFile(path).follow(log))
        for number in range(200):
            await asyncio.sleep(0.01)
            log.record("event", float(number), {})
        # Right into a write: what its thread has not begun must not be lost.
        await asyncio.sleep(0.25)
        log.record("last", 200.0, {})
        writing.cancel()

    numbers = [json.loads(line)["seq"] for line in path.read_text().splitlines()]
    assert numbers == list(range(1, 202))


def test_the_data_folder_has_the_file_unless_it_is_switched_off(tmp_path):
    log = EventLog()
    log.record("event", 1.0, {})
    config = Config(data=tmp_path, log=LogConfig(events_max_bytes=30))
    for _ in range(2):
        build_event_files(config, tmp_path)[0].write(log.recent())

    assert sorted(file.name for file in tmp_path.iterdir()) == ["events.jsonl", "events.jsonl.1"]
    assert build_event_files(Config(log=LogConfig(events="off")), tmp_path) == ()


async def test_events_of_the_last_moment_reach_the_file(tmp_path):
    log, path = EventLog(), tmp_path / "events.jsonl"
    writing = asyncio.ensure_future(EventFile(path).follow(log))
    await asyncio.sleep(0)

    log.record("last", 1.0, {})
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing

    assert json.loads(path.read_text())["kind"] == "last"


async def test_a_file_of_some_kinds_counts_them_itself(tmp_path):
    log, path = EventLog(), tmp_path / "events.jsonl"
    writing = asyncio.ensure_future(EventFile(path, kinds={"step"}).follow(log))
    await asyncio.sleep(0)

    for kind in ("arrived", "step", "left", "arrived", "step"):
        log.record(kind, 1.0, {})
        await asyncio.sleep(0.3)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing

    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(one["seq"], one["kind"]) for one in written] == [(1, "step"), (2, "step")]
