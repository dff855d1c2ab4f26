"""The client against a real server: the same verbs, the same exceptions, async and blocking."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing, asynccontextmanager, closing

import pytest

from stoker.api.serve import listening
from stoker.client import Client, ServerUnreachable, SyncClient
from stoker.client.errors import from_response
from stoker.config import Config, JobsConfig, ServerConfig
from stoker.core.errors import (
    Conflict,
    EngineInterrupted,
    EngineRefused,
    EngineUnreachable,
    InvalidRequest,
    JobFailed,
    JobNotDone,
    NotFound,
    Rejected,
    StokerError,
)
from stoker.core.policy import Policy
from stoker.core.reasons import Reason
from stoker.core.work import JobId
from stoker.fabric import Fabric
from stoker.runtime.clock import SystemClock
from stoker.testing.fake_engine import FakeEngine, FakeTiming
from stoker.testing.job_store import InMemoryJobStore
from tests.in_a_thread import in_a_thread

pytestmark = pytest.mark.slow

CHAT = {"messages": [{"role": "user", "content": "hello"}]}
SHORT = {**CHAT, "max_tokens": 8}
ENDLESS = {"natural_tokens": 100_000}
CONFIG = Config(
    policy=Policy(ramp_s=0.0, p0_linger_s=0.0, p0_reserved_slots=0, p1_reserved_slots=0),
    server=ServerConfig(drain_timeout_s=1.0),
    jobs=JobsConfig(first_delay_s=0.01, max_attempts=2),
)


@asynccontextmanager
async def serving(store=None, port=0, **knobs):
    timing = FakeTiming(prefill_s_per_token=0.0, decode_s=0.0005, decode_s_per_sequence=0.0)
    defaults = {"slots": 2, "natural_tokens": 8, "context_tokens": 300_000, "timing": timing}
    engine = FakeEngine(**{**defaults, **knobs})
    async with (
        Fabric.assemble(
            CONFIG, engine=engine, store=store or InMemoryJobStore(), clock=SystemClock()
        ) as fabric,
        listening(fabric, port=port) as url,
    ):
        await fabric.wait_ready()
        yield url, engine


@asynccontextmanager
async def connected(**knobs):
    async with serving(**knobs) as (url, engine), Client(url) as client:
        yield client, engine


def served_in_a_thread(**knobs):
    """A server with a loop of its own, for a caller that blocks."""
    return in_a_thread(serving(**knobs))


async def test_the_five_verbs():
    async with connected() as (client, _):
        async with await client.allocate_p0_priority(30) as lease:
            assert 29 < lease.expires_in_s <= 30
            await lease.extend(60)
            assert 59 < lease.expires_in_s <= 60
            answer = await client.run_p0(CHAT)
            [held] = await client.leases()
            assert held["lease_id"] == lease.id
        assert await client.leases() == []
        other = await client.run_p1({"prompt": "x"})
        job_id = await client.enqueue_p2(CHAT, key="k")
        assert await client.enqueue_p2(CHAT, key="k") == job_id
        result = await client.await_job(job_id)

    assert answer["object"] == "chat.completion"
    assert other["object"] == "text_completion"
    assert result["choices"] == answer["choices"]


async def test_a_stream_gives_chunks_and_leaving_it_frees_the_slot():
    async with connected(**ENDLESS) as (client, engine):
        chunks = [chunk async for chunk in client.run_p0(SHORT)]
        async with aclosing(aiter(client.run_p1(CHAT))) as stream:
            await anext(stream)
        async with asyncio.timeout(5):
            while engine.aborts == 0:  # noqa: ASYNC110 - the engine does not signal
                await asyncio.sleep(0.005)

    assert chunks[-1]["choices"][0]["finish_reason"]


async def test_an_error_in_a_stream_is_raised_there():
    async with connected() as (client, engine):
        engine.drop(after_tokens=2)
        stream = aiter(client.run_p0(CHAT))
        assert await anext(stream)
        with pytest.raises(EngineInterrupted):
            [chunk async for chunk in stream]


async def test_events_come_as_they_happen_after_those_remembered():
    async with connected() as (client, _):
        first = await client.enqueue_p2(SHORT)
        await client.await_job(first)
        async with asyncio.timeout(5), aclosing(client.events(recent=1000)) as events:
            past = await anext(event async for event in events if event["kind"] == "Left")
            second = await client.enqueue_p2(SHORT)
            live = await anext(event async for event in events if event.get("id") == second)

    assert (past["id"], past["outcome"]) == (first, "finished")
    assert live["seq"] > past["seq"]
    assert live["at"] > past["at"]


async def test_refusals_come_back_as_they_were_raised():
    async with connected(context_tokens=64) as (client, engine):
        with pytest.raises(Rejected) as too_long:
            await client.run_p1({"prompt": "word " * 5000})
        with pytest.raises(InvalidRequest) as invalid:
            await client.run_p0({"messages": 3})
        with pytest.raises(NotFound):
            await client.await_job(JobId("job_none"))
        with pytest.raises(NotFound):
            await client.explain("req_none")
        engine.refuse(EngineRefused(418, b"teapot", "text/plain"))
        with pytest.raises(EngineRefused) as refused:
            await client.run_p0(CHAT)
        engine.refuse(EngineUnreachable("gone"))
        with pytest.raises(EngineUnreachable):
            await client.run_p0(CHAT)
        job_id = await client.enqueue_p2(CHAT, key="k")
        with pytest.raises(Conflict) as conflict:
            await client.enqueue_p2({"prompt": "other"}, key="k")
        await client.await_job(job_id)

    why = too_long.value.explanation
    assert why.reason is Reason.EXCEEDS_CAPACITY
    assert why.measured > why.limit
    assert invalid.value.param == "messages"
    assert (refused.value.status, refused.value.body) == (418, b"teapot")
    assert conflict.value.code == "idempotency_conflict"


async def test_a_job_that_failed_or_is_not_done_says_so():
    async with connected(**ENDLESS) as (client, engine):
        engine.refuse(EngineRefused(422, b"{}"))
        failed = await client.enqueue_p2(SHORT)
        with pytest.raises(JobFailed) as failure:
            await client.await_job(failed)
        going_on = await client.enqueue_p2(CHAT)
        with pytest.raises(JobNotDone):
            await client.await_job(going_on, timeout_s=0.1)
        assert (await client.cancel_job(going_on))["job_id"] == going_on
        with pytest.raises(JobFailed):
            await client.await_job(going_on)
        await client.retry_job(failed)
        assert await client.await_job(failed)
        listing = await client.list_jobs(state="completed")
        story = await client.explain(failed)

    assert failure.value.code == "engine_422"
    assert [job["job_id"] for job in listing["data"]] == [failed]
    assert story["id"] == failed


async def test_awaiting_a_job_survives_a_restart_of_the_server():
    store = InMemoryJobStore()
    async with serving(store) as (url, _):
        port = int(url.rpartition(":")[2])
        async with Client(url) as client:
            lease = await client.allocate_p0_priority(60)  # keeps the job waiting
            job_id = await client.enqueue_p2(CHAT)
            assert (await client.get_job(job_id))["status"] == "available"
            assert lease.id

    async with Client(url) as client, asyncio.TaskGroup() as group:
        waiting = group.create_task(client.await_job(job_id, timeout_s=20))
        await asyncio.sleep(0.2)
        async with serving(store, port=port):
            result = await waiting

    assert result["object"] == "chat.completion"


async def test_no_server_is_one_clear_error():
    async with Client("http://127.0.0.1:9") as client:
        with pytest.raises(ServerUnreachable, match=r"no answer from http://127\.0\.0\.1:9"):
            await client.state()


def test_the_blocking_client_has_the_same_verbs():
    with served_in_a_thread() as (url, _), SyncClient(url) as client:
        with client.allocate_p0_priority(30) as lease:
            lease.extend(40)
            answer = client.run_p0(CHAT)
            assert [held["lease_id"] for held in client.leases()] == [lease.id]
            assert 39 < lease.expires_in_s <= 40
        other = client.run_p1({"prompt": "x"})
        job_id = client.enqueue_p2(CHAT, key="k")
        result = client.await_job(job_id, timeout_s=10)
        document = client.get_job(job_id)
        chunks = [*client.stream_p0(CHAT), *client.stream_p1(CHAT)]
        state = client.state()
        with pytest.raises(Conflict):
            client.cancel_job(job_id)
        with pytest.raises(NotFound):
            client.retry_job(JobId("job_none"))
        story = client.explain(job_id)
        listing = client.list_jobs()

    assert answer["choices"] == result["choices"]
    assert other["object"] == "text_completion"
    assert document["status"] == "completed"
    assert len(chunks) > 16
    assert state["engine"]["is_ready"]
    assert story["id"] == listing["data"][0]["job_id"] == job_id


def test_leaving_a_blocking_stream_hangs_up():
    with served_in_a_thread(**ENDLESS) as (url, engine), SyncClient(url) as client:
        with closing(client.stream_p0(CHAT)) as stream:
            next(stream)
        deadline = threading.Event()
        for _ in range(500):
            if engine.aborts:
                break
            deadline.wait(0.01)

        assert engine.aborts == 1


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"error": 3}', b"{}"])
def test_an_answer_that_is_not_ours_is_shown(body):
    error = from_response(500, body, {})

    assert type(error) is StokerError
    assert "500" in str(error)
