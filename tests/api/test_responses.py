"""`background: true` is a durable job that OpenAI's clients see as a Response."""

from __future__ import annotations

import asyncio

import pytest

pytestmark = pytest.mark.virtual_time

PATH = "/v1/responses"


def asked(**fields):
    return {"model": "fake-model", "input": "hello", "background": True, **fields}


async def wait_final(house, id):
    await house.fabric.wait_job("job_" + id.removeprefix("resp_"), 600)
    return (await house.call("GET", f"{PATH}/{id}")).json


async def test_it_is_queued_then_completed_under_one_id(kit):
    async with kit.house() as house:
        created = await house.call("POST", PATH, asked(metadata={"a": "b"}, instructions="kind"))
        id = created.json["id"]
        done = await wait_final(house, id)

        assert created.status == 200
        assert created.headers["x-stoker-class"] == "p2"
        assert id.startswith("resp_")
        first = created.json
        assert (first["status"], first["output"], first["background"]) == ("queued", [], True)
        assert (first["metadata"], first["instructions"]) == ({"a": "b"}, "kind")
        assert (done["id"], done["status"], done["object"]) == (id, "completed", "response")
        assert done["created_at"] == first["created_at"]
        assert done["output"][0]["content"][0]["text"].startswith("t0 t1")
        assert done["usage"]["output_tokens"] == 8
        assert (done["service_tier"], done["metadata"]) == ("flex", {"a": "b"})
        assert done["error"] is None


async def test_the_job_behind_it_is_a_job_like_any_other(kit):
    async with kit.house() as house:
        id = (await house.call("POST", PATH, asked())).json["id"]
        await wait_final(house, id)
        job = (await house.call("GET", f"/v1/p2/job_{id.removeprefix('resp_')}")).json

        assert (job["status"], job["endpoint"]) == ("completed", PATH)
        assert job["result"]["id"] == "resp_fake"


async def test_a_bound_that_cut_it_off_is_an_incomplete_response(kit):
    async with kit.house() as house:
        id = (await house.call("POST", PATH, asked(max_output_tokens=3))).json["id"]
        done = await wait_final(house, id)

        assert done["status"] == "incomplete"
        assert done["incomplete_details"] == {"reason": "max_output_tokens"}


async def test_the_same_key_is_the_same_response(kit):
    async with kit.house() as house:
        headers = {"idempotency-key": "k"}
        one = await house.call("POST", PATH, asked(), headers=headers)
        again = await house.call("POST", PATH, asked(), headers=headers)
        other = await house.call("POST", PATH, asked(input="x"), headers=headers)

        assert one.json["id"] == again.json["id"]
        assert (other.status, other.error["code"]) == (409, "idempotency_conflict")


@pytest.mark.parametrize("is_running", [True, False])
async def test_cancelling_ends_it_and_twice_is_once(kit, is_running):
    async with kit.house(slots=1, natural_tokens=10_000) as house:
        hang_up = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            if not is_running:
                chat = {"messages": [{"role": "user", "content": "x"}]}
                group.create_task(house.call("POST", "/v1/p1", chat, hang_up=hang_up))
                await kit.until(lambda: house.running == 1)
            id = (await house.call("POST", PATH, asked())).json["id"]
            if is_running:
                await kit.until(lambda: house.running == 1)
                await asyncio.sleep(0.5)
                shown = (await house.call("GET", f"{PATH}/{id}")).json
                assert shown["status"] == "in_progress"
            cancelled = await house.call("POST", f"{PATH}/{id}/cancel")
            twice = await house.call("POST", f"{PATH}/{id}/cancel")
            hang_up.set()

        assert (cancelled.status, cancelled.json["status"]) == (200, "cancelled")
        assert twice.json == cancelled.json
        assert house.engine.aborts == 1
        assert house.running == 0


async def test_deleting_forgets_it_also_while_it_runs(kit):
    async with kit.house(natural_tokens=10_000) as house:
        id = (await house.call("POST", PATH, asked())).json["id"]
        await kit.until(lambda: house.running == 1)
        deleted = await house.call("DELETE", f"{PATH}/{id}")
        gone = await house.call("GET", f"{PATH}/{id}")

        assert deleted.json == {"id": id, "object": "response", "deleted": True}
        assert (gone.status, gone.error["code"]) == (404, "not_found")
        assert house.engine.aborts == 1


async def test_what_the_engine_refuses_is_a_failed_response_with_its_code(kit):
    async with kit.house() as house:
        house.engine.refuse_status(400, "no such model")
        id = (await house.call("POST", PATH, asked())).json["id"]
        done = await wait_final(house, id)

        assert done["status"] == "failed"
        assert done["error"]["code"] == "engine_400"
        assert "no such model" in done["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"store": False}, "store"),
        ({"store": "no"}, "store"),
        ({"background": "yes"}, "background"),
        ({"stream": "yes"}, "stream"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"service_tier": "warp"}, "service_tier"),
        ({"input": 3}, "input"),
        ({"stoker": {"family": ""}}, "stoker.family"),
    ],
)
async def test_what_cannot_be_stored_is_refused_by_its_name(kit, fields, param):
    async with kit.house() as house:
        reply = await house.call("POST", PATH, asked(**fields))

        assert (reply.status, reply.error["param"]) == (400, param)


async def test_a_body_that_is_no_text_is_a_400(kit):
    async with kit.house() as house:
        for body in (
            b'{"input":"\xff","background":true}',
            b'{"background":true',
            b'["background"]',
        ):
            reply = await house.call("POST", PATH, body)

            assert reply.status == 400


async def test_ids_of_other_jobs_are_no_responses(kit):
    async with kit.house() as house:
        id = (await house.call("POST", "/v1/p2", {"prompt": "x"})).json["job_id"]

        for wrong in (f"resp_{id.removeprefix('job_')}", id, "resp_none"):
            for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel")):
                reply = await house.call(method, f"{PATH}/{wrong}{path}")
                assert (reply.status, reply.error["code"]) == (404, "not_found")


async def test_going_on_from_a_background_response_is_refused_by_name_and_others_are_the_engines(
    kit,
):
    async with kit.house() as house:
        id = (await house.call("POST", PATH, asked())).json["id"]
        await wait_final(house, id)
        ours = await house.call("POST", PATH, {"input": "x", "previous_response_id": id})
        theirs = await house.call("POST", PATH, {"input": "x", "previous_response_id": "resp_9"})

        assert (ours.status, ours.error["param"]) == (400, "previous_response_id")
        assert "input" in ours.error["message"]
        assert theirs.status == 200


async def test_its_input_is_listed_item_by_item(kit):
    call = {"type": "function_call_output", "call_id": "c", "output": "4"}
    items = [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "I ask", "id": "msg_own"},
        call,
    ]
    async with kit.house() as house:
        one = (await house.call("POST", PATH, asked(input="hello"))).json["id"]
        many = (await house.call("POST", PATH, asked(input=items))).json["id"]
        single = (await house.call("GET", f"{PATH}/{one}/input_items")).json
        path = f"{PATH}/{many}/input_items"
        newest_first = (await house.call("GET", path)).json
        first = (await house.call("GET", f"{path}?order=asc&limit=2")).json
        rest = (await house.call("GET", f"{path}?order=asc&after={first['last_id']}")).json
        wrong = [
            await house.call("GET", f"{path}?{query}")
            for query in ("order=up", "limit=0", "after=msg_none")
        ]
        unknown = await house.call("GET", f"{PATH}/resp_none/input_items")

        [item] = single["data"]
        assert (item["type"], item["role"]) == ("message", "user")
        assert item["content"] == [{"type": "input_text", "text": "hello"}]
        assert single["first_id"] == single["last_id"] == item["id"]
        assert [one["id"] for one in first["data"]][1] == "msg_own"
        assert first["data"][1]["content"] == [{"type": "output_text", "text": "I ask"}]
        assert (first["has_more"], rest["has_more"], first["object"]) == (True, False, "list")
        assert {name: rest["data"][0][name] for name in call} == call
        assert newest_first["data"] == [*rest["data"], *reversed(first["data"])]
        assert [one.status for one in wrong] == [400, 400, 404]
        assert unknown.status == 404


@pytest.mark.parametrize("is_stream", [True, False])
async def test_without_background_the_engine_answers(kit, is_stream):
    async with kit.house() as house:
        body = {"input": "hello", "background": False, "stream": is_stream, "service_tier": "fast"}
        reply = await house.call("POST", PATH, body)

        assert reply.headers["x-stoker-class"] == "p0"
        assert b'"service_tier":"priority"' in reply.body
        assert (b"response.completed" in reply.body) == is_stream
