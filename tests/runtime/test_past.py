"""What the event log in the data folder tells of requests that nobody remembers any more."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from stoker.config import Config
from stoker.core.errors import NotFound, Rejected
from stoker.core.policy import Policy
from stoker.core.reasons import Explanation, Reason
from stoker.engine_parts import EngineSetup
from stoker.fabric import Fabric
from stoker.runtime.event_file import EventFile
from stoker.runtime.past import past_entries
from stoker.runtime.recorder import EventLog
from stoker.testing.fake_engine import FakeEngine, FakeTiming
from stoker.testing.job_store import InMemoryJobStore
from stoker.testing.virtual_time import VirtualClock

pytestmark = pytest.mark.virtual_time

CONFIG = Config(policy=Policy(ramp_s=0.0, p0_reserved_slots=0, p1_reserved_slots=0))


@asynccontextmanager
async def a_life(path, store, *, epoch=1_700_000_000.0, max_bytes=2**26):
    """A service whose events are written down when it ends, as `follow` would have done."""
    engine = FakeEngine(slots=1, natural_tokens=20, timing=FakeTiming(decode_s=0.1))
    clock, log = VirtualClock(epoch=epoch), EventLog()
    setup = EngineSetup(engine, events_path=path)
    async with Fabric.assemble(
        CONFIG, engine={"default": setup}, store=store, clock=clock, log=log
    ) as fabric:
        await fabric.wait_ready()
        yield fabric
    file = EventFile(path, max_bytes=max_bytes, clock=clock)
    for event in log.recent():
        file.write([event])


def whats(story):
    return [entry.what for entry in story.entries]


async def test_a_request_of_an_earlier_life_is_explained_with_the_inputs_of_each_decision(tmp_path):
    path, store = tmp_path / "events.jsonl", InMemoryJobStore()
    async with a_life(path, store) as fabric:
        ids = []
        async with asyncio.TaskGroup() as calls:
            for _ in range(2):
                call = fabric.run_p1({"prompt": "hello"})
                calls.create_task(finish(call))
        ids = [
            event.fields["request"].id for event in fabric.log.recent() if event.kind == "Arrived"
        ]
        second = await fabric.explain(ids[1])
    async with a_life(path, store, epoch=1_700_050_000.0) as fabric:
        story = await fabric.explain(ids[1])

    assert story.state == "gone"
    assert whats(story) == whats(second)
    assert whats(story) == ["arrived", "waits", "dispatched", "first_token", "finished"]
    assert story.began_at == pytest.approx(second.began_at, abs=0.01)
    arrived, waits, dispatched, _, finished = (entry.fields for entry in story.entries)
    assert arrived["priority"] == "p1"
    assert waits["reason"] == "slots_full"
    assert (waits["measured"], waits["limit"]) == (1, 1)
    assert dispatched["waited_s"] > 1
    assert dispatched["slots"] == 1
    assert dispatched["predicted_output_tokens"] > 0
    assert dispatched["kv_forecast_tokens"] > 0
    assert finished["output_tokens"] == 20


async def finish(call):
    await call


async def test_a_job_is_told_over_its_lives_and_its_row_fills_in_the_rest(tmp_path):
    path, store = tmp_path / "events.jsonl", InMemoryJobStore()
    async with a_life(path, store) as fabric:
        job = await fabric.enqueue_p2({"prompt": "job"})
        await asyncio.sleep(1)
    async with a_life(path, store, epoch=1_700_003_600.0) as fabric:
        await fabric.await_job(job)
        story = await fabric.explain(job)
        at = [entry.at for entry in story.entries]
    path.unlink()
    async with a_life(path, store, epoch=1_700_007_200.0) as fabric:
        row_alone = await fabric.explain(job)

    assert whats(story)[:3] == ["enqueued", "arrived", "dispatched"]
    assert whats(story).count("arrived") == 2
    assert whats(story)[-2:] == ["finished", "completed"]
    assert at == sorted(at)
    assert at[-1] - at[0] == pytest.approx(3600, abs=10)
    assert whats(row_alone) == ["enqueued", "completed"]
    assert row_alone.entries[-1].fields["output_tokens"] == 20


async def test_what_was_refused_for_its_key_is_told_after_a_restart(tmp_path):
    path, store = tmp_path / "events.jsonl", InMemoryJobStore()
    why = Explanation(Reason.KEY_IN_FLIGHT, "requests_in_flight", 3, 2)
    async with a_life(path, store) as fabric:
        id, error = fabric.new_request_id(), Rejected(why, retry_after_s=2.0)
        fabric.key_refusals.note(id, error, key_id="k1", name="alice", tenant="team")
        now = await fabric.explain(id)
    async with a_life(path, store, epoch=1_700_003_600.0) as fabric:
        later = await fabric.explain(id)

    for story in (now, later):
        [entry] = story.entries
        assert (entry.what, dict(entry.fields)) == (
            "rejected",
            {
                "reason": "key_in_flight",
                "knob": "requests_in_flight",
                "measured": 3,
                "limit": 2,
                "key": "alice",
                "tenant": "team",
            },
        )
    assert later.began_at == pytest.approx(now.began_at, abs=0.01)


async def test_giving_way_and_going_on_are_told_as_they_were(tmp_path):
    path, store = tmp_path / "events.jsonl", InMemoryJobStore()
    async with a_life(path, store) as fabric:
        job = await fabric.enqueue_p2({"prompt": "job"})
        await asyncio.sleep(1)
        await fabric.run_p0({"prompt": "hello", "max_tokens": 2})
        await fabric.await_job(job)
        remembered = await fabric.explain(job)

    found = [entry.what for entry in past_entries(path, job)]

    assert "gives_way" in found
    assert found == [what for what in whats(remembered) if what not in ("enqueued", "completed")]


async def test_the_file_before_is_read_too_and_what_is_no_event_is_passed_over(tmp_path):
    path, store = tmp_path / "events.jsonl", InMemoryJobStore()
    async with a_life(path, store, max_bytes=3000) as fabric:
        job = await fabric.enqueue_p2({"prompt": "job"})
        await fabric.await_job(job)
    with path.open("ab") as file:
        file.write(b'{"seq": 7, "id": "' + job.encode() + b'"}\nno json "' + job.encode() + b'"')

    found = past_entries(path, job)

    assert (tmp_path / "events.jsonl.1").exists()
    assert found[-1].what == "finished"


async def test_no_more_than_the_newest_bytes_are_looked_through(tmp_path):
    path, store = tmp_path / "events.jsonl", InMemoryJobStore()
    async with a_life(path, store) as fabric:
        job = await fabric.enqueue_p2({"prompt": "job"})
        await fabric.await_job(job)
    with path.open("ab") as file:
        file.write(b"\n" * 5000)

    assert past_entries(path, job)
    assert past_entries(path, job, scan_max_bytes=4000) == []


async def test_what_was_never_here_is_not_found(tmp_path):
    async with a_life(tmp_path / "events.jsonl", InMemoryJobStore()) as fabric:
        with pytest.raises(NotFound, match="no job"):
            await fabric.explain("req_none")
