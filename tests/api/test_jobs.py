"""Durable work over HTTP: enqueue, await, list, cancel, retry."""

from __future__ import annotations

import asyncio
import json

import pytest

from stoker.core.errors import EngineRefused

pytestmark = pytest.mark.virtual_time


async def enqueue(house, body, **headers):
    reply = await house.call("POST", "/v1/p2", body, headers=headers)
    assert reply.status == 202, reply.body
    return reply.json["job_id"]


async def finished(house, id):
    reply = await house.call("GET", f"/v1/p2/{id}?wait=60")
    assert reply.status == 200, reply.body
    return reply


async def test_a_job_is_accepted_awaited_and_answered_verbatim(kit, chat):
    async with kit.house() as house:
        accepted = await house.call("POST", "/v1/p2", chat())
        id = accepted.json["job_id"]

        assert accepted.status == 202
        assert accepted.json == {
            "job_id": id,
            "status": "available",
            "class": "p2",
            "is_new": True,
        }
        assert accepted.headers["location"] == f"/v1/p2/{id}"
        reply = await finished(house, id)
        document = reply.json
        assert document["status"] == "completed"
        assert document["class"] == "p2"
        assert document["attempts"] == 1
        assert document["error"] is None
        assert document["usage"]["completion_tokens"] == 8
        assert document["created_at"] <= document["started_at"] <= document["finished_at"]
        assert await house.fabric.jobs.result(id) in reply.body


async def test_the_same_key_is_the_same_job(kit, chat):
    async with kit.house() as house:
        first = await enqueue(house, chat(), **{"Idempotency-Key": "k"})
        again = await house.call("POST", "/v1/p2", chat(), headers={"Idempotency-Key": "k"})
        other = await house.call("POST", "/v1/p2", chat("x"), headers={"Idempotency-Key": "k"})

        assert (again.status, again.json["job_id"], again.json["is_new"]) == (202, first, False)
        assert (other.status, other.error["code"]) == (409, "idempotency_conflict")


async def test_waiting_is_bounded_and_answers_with_the_job_as_it_is(kit, chat):
    async with kit.house(natural_tokens=100_000, context_tokens=200_000) as house:
        id = await enqueue(house, chat())
        began = asyncio.get_running_loop().time()

        reply = await house.call("GET", f"/v1/p2/{id}?wait=7")

        assert reply.status == 202
        assert reply.json["status"] == "running"
        assert reply.json["result"] is None
        assert 7 <= asyncio.get_running_loop().time() - began < 8
        await house.call("DELETE", f"/v1/p2/{id}")


async def test_a_waiting_job_says_why(kit, chat):
    async with kit.house() as house:
        lease = await house.fabric.allocate_p0_priority(60)
        id = await enqueue(house, chat())

        reply = await house.call("GET", f"/v1/p2/{id}")

        assert reply.json["status"] == "available"
        assert reply.json["reason"] == "p0_lease"
        await lease.release()
        await finished(house, id)


async def test_a_failed_job_is_final_with_its_error(kit, chat):
    async with kit.house() as house:
        house.engine.refuse(EngineRefused(422, b'{"error":{"message":"bad schema"}}'))
        id = await enqueue(house, chat())

        document = (await finished(house, id)).json

        assert document["status"] == "discarded"
        assert document["error"]["code"] == "engine_422"
        retried = await house.call("POST", f"/v1/p2/{id}/retry")
        assert retried.status == 202
        assert (await finished(house, id)).json["status"] == "completed"


async def test_a_scheduled_job_says_so(kit, chat):
    async with kit.house() as house:
        run_at = house.fabric.clock.wall() + 30
        body = chat(stoker={"run_at": run_at})
        accepted = await house.call("POST", "/v1/p2", body)

        assert accepted.json["status"] == "scheduled"
        document = (await finished(house, accepted.json["job_id"])).json
        assert document["started_at"] >= run_at


async def test_cancelling_is_at_once_or_asked(kit, chat):
    async with kit.house(natural_tokens=5_000) as house:
        lease = await house.fabric.allocate_p0_priority(60)
        waiting = await enqueue(house, chat())
        cancelled = await house.call("DELETE", f"/v1/p2/{waiting}")
        await lease.release()
        running = await enqueue(house, chat())
        await kit.until(lambda: house.running == 1, 60)
        asked = await house.call("DELETE", f"/v1/p2/{running}")

        assert (cancelled.status, cancelled.json["status"]) == (200, "cancelled")
        assert asked.status == 202
        assert asked.json["is_cancel_requested"]
        assert (await finished(house, running)).json["status"] == "cancelled"


async def test_what_is_completed_cannot_be_cancelled(kit, chat):
    async with kit.house() as house:
        id = await enqueue(house, chat())
        await finished(house, id)
        reply = await house.call("DELETE", f"/v1/p2/{id}")

        assert (reply.status, reply.error["type"]) == (409, "conflict_error")


async def test_listing_pages_newest_first(kit, chat):
    async with kit.house() as house:
        lease = await house.fabric.allocate_p0_priority(600)
        ids = []
        for number in range(5):
            reply = await house.call("POST", "/v1/p2?batch=night", chat(str(number)))
            ids.append(reply.json["job_id"])
        page = (await house.call("GET", "/v1/p2?limit=2&batch=night")).json
        rest = (await house.call("GET", f"/v1/p2?limit=9&before={ids[3]}")).json
        none = (await house.call("GET", "/v1/p2?state=completed")).json

        assert [job["job_id"] for job in page["data"]] == [ids[4], ids[3]]
        assert page["has_more"]
        assert page["counts"]["available"] == 5
        assert [job["job_id"] for job in rest["data"]] == [ids[2], ids[1], ids[0]]
        assert not rest["has_more"]
        assert none["data"] == []
        await lease.release()


@pytest.mark.parametrize(
    ("method", "path", "status", "param"),
    [
        ("GET", "/v1/p2/job_none", 404, None),
        ("DELETE", "/v1/p2/job_none", 404, None),
        ("POST", "/v1/p2/job_none/retry", 404, None),
        ("GET", "/v1/p2/job_none?wait=1", 404, None),
        ("GET", "/v1/p2/job_none?wait=-1", 400, "wait"),
        ("GET", "/v1/p2/job_none?wait=nan", 400, "wait"),
        ("GET", "/v1/p2?state=odd", 400, "state"),
        ("GET", "/v1/p2?limit=0", 400, "limit"),
        ("GET", "/v1/p2?limit=x", 400, "limit"),
    ],
)
async def test_bad_asking_is_named(kit, method, path, status, param):
    async with kit.house() as house:
        reply = await house.call(method, path)

        assert (reply.status, reply.error["param"]) == (status, param)


async def test_a_malformed_job_is_refused_before_it_is_stored(kit):
    async with kit.house() as house:
        reply = await house.call("POST", "/v1/p2", b"{}")
        long = await house.call("POST", "/v1/p2", b"{}", headers={"Idempotency-Key": "k" * 300})

        assert reply.status == 400
        assert (long.status, long.error["param"]) == (400, "Idempotency-Key")
        assert sum((await house.fabric.jobs.counts()).values()) == 0


async def test_a_long_poll_ends_with_its_client_and_with_the_server(kit, chat):
    async with kit.house(natural_tokens=5_000) as house:
        id = await enqueue(house, chat())
        hang_up = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            gone = group.create_task(house.call("GET", f"/v1/p2/{id}?wait=500", hang_up=hang_up))
            left = group.create_task(house.call("GET", f"/v1/p2/{id}?wait=500"))
            await asyncio.sleep(0.1)
            hang_up.set()
            house.app.closing.set()

        assert gone.result().status is None or gone.result().status == 503
        assert (left.result().status, left.result().error["code"]) == (503, "draining")
        await house.call("DELETE", f"/v1/p2/{id}")


async def test_the_result_may_hold_any_json(kit, chat):
    async with kit.house() as house:
        id = await enqueue(house, {"input": "x"})

        document = (await finished(house, id)).json

        assert document["result"] == json.loads(await house.fabric.jobs.result(id))
        assert document["endpoint"] == "/v1/embeddings"
