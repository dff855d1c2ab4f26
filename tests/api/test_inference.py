"""P0, P1 and the OpenAI routes in process: bytes through, errors as HTTP, slots given back."""

from __future__ import annotations

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from stoker.core.errors import EngineRefused, EngineUnreachable

pytestmark = pytest.mark.virtual_time


def frames_of(reply):
    """The JSON documents of a stream."""
    lines = [line[6:] for line in reply.body.splitlines() if line.startswith(b"data: {")]
    return [json.loads(line) for line in lines]


ROUTES = ["/v1/p0", "/v1/p1", "/v1/chat/completions"]


@pytest.mark.parametrize("path", ROUTES)
async def test_an_answer_is_the_engines_with_our_headers(kit, chat, path):
    async with kit.house() as house:
        reply = await house.call("POST", path, chat())

        assert reply.status == 200
        assert reply.json["object"] == "chat.completion"
        assert reply.headers["content-type"] == "application/json"
        assert reply.headers["content-length"] == str(len(reply.body))
        assert reply.headers["x-stoker-request-id"].startswith("req_")
        assert reply.headers["x-stoker-class"] == ("p0" if path == "/v1/p0" else "p1")


async def test_a_stream_is_passed_on_frame_by_frame(kit, chat):
    async with kit.house() as house:
        reply = await house.call("POST", "/v1/p0", chat(stream=True))

        assert reply.headers["content-type"] == "text/event-stream"
        assert all(chunk.endswith(b"\n\n") for chunk in reply.chunks[:-1])
        assert len(reply.chunks) > 8
        assert reply.body.endswith(b"data: [DONE]\n\n")
        assert reply.is_complete


async def test_the_engine_gets_the_clients_bytes(kit):
    body = b'{"messages": [{"role":"user","content":"\\u00e9"}] , "temperature": 0.50, "x": [1]}'
    async with kit.house() as house:
        await house.call("POST", "/v1/p0", body)

        assert house.engine.calls[-1].body == body


@pytest.mark.parametrize(
    ("tier", "label"), [("priority", "p0"), ("fast", "p0"), ("auto", "p1"), ("flex", "p2")]
)
async def test_service_tier_picks_the_class(kit, chat, tier, label):
    async with kit.house() as house:
        reply = await house.call("POST", "/v1/chat/completions", chat(service_tier=tier))

        assert reply.status == 200
        assert reply.headers["x-stoker-class"] == label


async def test_a_header_picks_the_class_where_the_body_does_not(kit, chat):
    async with kit.house() as house:
        path, headers = "/v1/chat/completions", {"x-stoker-class": "p0"}
        by_header = await house.call("POST", path, chat(), headers=headers)
        by_tier = await house.call("POST", path, chat(service_tier="flex"), headers=headers)
        unknown = await house.call("POST", path, chat(), headers={"x-stoker-class": "p7"})

        assert by_header.headers["x-stoker-class"] == "p0"
        assert by_tier.headers["x-stoker-class"] == "p2"
        assert (unknown.status, unknown.error["param"]) == (400, "x-stoker-class")


@pytest.mark.parametrize("is_stream", [True, False])
async def test_who_chose_a_tier_is_told_which_one_served(kit, chat, is_stream):
    async with kit.house() as house:
        path = "/v1/chat/completions"
        chosen = await house.call("POST", path, chat(stream=is_stream, service_tier="fast"))
        silent = await house.call("POST", path, chat(stream=is_stream))

        documents = frames_of(chosen) if is_stream else [chosen.json]
        assert {document["service_tier"] for document in documents} == {"priority"}
        assert b"service_tier" not in silent.body
        assert b"service_tier" not in house.engine.calls[0].body


async def test_the_native_routes_do_not_read_the_tier(kit, chat):
    async with kit.house() as house:
        reply = await house.call("POST", "/v1/p0", chat(service_tier="flex"))

        assert reply.headers["x-stoker-class"] == "p0"


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"{", "invalid_json", None),
        (b"[]", "invalid_request", None),
        (b"", "invalid_json", None),
        ({"messages": "hi"}, "invalid_request", "messages"),
        ({"messages": [{"role": "user"}], "max_tokens": -1}, "invalid_request", "max_tokens"),
    ],
)
async def test_a_malformed_body_is_a_400_that_names_the_field(kit, body, code, param):
    async with kit.house() as house:
        reply = await house.call("POST", "/v1/p0", body)

        assert reply.status == 400
        assert (reply.error["code"], reply.error["param"]) == (code, param)
        assert reply.error["type"] == "invalid_request_error"
        assert reply.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("announced", [True, False])
async def test_an_oversized_body_is_a_413(kit, announced):
    async with kit.house() as house:
        headers = {"content-length": "100001"} if announced else {}
        reply = await house.call("POST", "/v1/p0", b" " * 100_001, headers=headers)

        assert reply.status == 413
        assert reply.error["code"] == "body_too_large"


async def test_unknown_paths_and_methods_are_openai_errors_too(kit):
    async with kit.house() as house:
        unknown = await house.call("GET", "/v1/nothing")
        wrong = await house.call("GET", "/v1/p0")

        assert (unknown.status, unknown.error["code"]) == (404, "not_found")
        assert (wrong.status, wrong.error["code"]) == (405, "method_not_allowed")
        assert wrong.headers["allow"] == "POST"


async def test_a_wrong_method_is_told_every_right_one(kit):
    async with kit.house() as house:
        files = await house.call("PUT", "/v1/files")
        job = await house.call("PATCH", "/v1/p2/job_x")

        assert (files.status, files.headers["allow"]) == (405, "GET, HEAD, POST")
        assert (job.status, job.headers["allow"]) == (405, "DELETE, GET, HEAD")


async def test_what_can_never_fit_is_a_400_with_the_numbers(kit, chat):
    async with kit.house(context_tokens=64) as house:
        reply = await house.call("POST", "/v1/p1", chat("word " * 5000))

        assert reply.status == 400
        assert reply.error["code"] == reply.error["reason"] == "exceeds_capacity"
        assert reply.error["measured"] > reply.error["limit"]
        assert reply.headers["x-stoker-reason"] == "exceeds_capacity"
        assert reply.headers["x-should-retry"] == "false"


async def test_a_full_queue_is_a_429_with_retry_after(kit, chat):
    async with kit.house(kit.config(queue_max_p1=1), slots=1) as house:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(house.call("POST", "/v1/p1", chat()))
            await kit.until(lambda: house.running == 1)
            second = group.create_task(house.call("POST", "/v1/p1", chat()))
            await kit.until(lambda: house.waiting == 1)
            refused = await house.call("POST", "/v1/p1", chat())

        assert refused.status == 429
        assert refused.error["code"] == "queue_full"
        assert 1 <= int(refused.headers["retry-after"]) <= 120
        assert refused.headers["x-should-retry"] == "true"
        assert (first.result().status, second.result().status) == (200, 200)


async def test_waiting_too_long_is_a_503(kit, chat):
    async with kit.house(kit.config(wait_max_p1_s=1.0), slots=1, natural_tokens=500) as house:
        async with asyncio.TaskGroup() as group:
            group.create_task(house.call("POST", "/v1/p1", chat()))
            await kit.until(lambda: house.running == 1)
            refused = await house.call("POST", "/v1/p1", chat())

        assert (refused.status, refused.error["code"]) == (503, "queue_timeout")


async def test_the_engines_own_refusal_passes_verbatim(kit, chat):
    body = b'{"error": {"message": "no such model", "odd": 1}}'
    async with kit.house() as house:
        house.engine.refuse(EngineRefused(404, body, "application/problem+json"))
        reply = await house.call("POST", "/v1/p0", chat())

        assert (reply.status, reply.body) == (404, body)
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.headers["x-stoker-reason"] == "engine"


async def test_an_unreachable_engine_is_a_502(kit, chat):
    async with kit.house() as house:
        house.engine.refuse(EngineUnreachable("connection refused"))
        reply = await house.call("POST", "/v1/p0", chat())

        assert (reply.status, reply.error["code"]) == (502, "engine_unreachable")
        assert reply.headers["x-should-retry"] == "true"


async def test_an_answer_that_breaks_off_before_it_is_whole_is_a_502(kit, chat):
    async with kit.house() as house:
        house.engine.drop(after_tokens=3)
        reply = await house.call("POST", "/v1/p0", chat())

        assert (reply.status, reply.error["code"]) == (502, "engine_interrupted")


async def test_a_stream_that_breaks_off_ends_with_an_error_frame(kit, chat):
    async with kit.house() as house:
        house.engine.drop(after_tokens=3)
        reply = await house.call("POST", "/v1/p0", chat(stream=True))

        assert reply.status == 200
        last = reply.body.split(b"\n\n")[-2]
        assert last.startswith(b'data: {"error":{')
        assert b"engine_interrupted" in last
        assert reply.is_complete


async def test_a_stream_that_breaks_off_before_its_first_frame_is_a_502(kit, chat):
    async with kit.house() as house:
        house.engine.drop(after_tokens=0)
        reply = await house.call("POST", "/v1/p0", chat(stream=True))

        assert (reply.status, reply.error["code"]) == (502, "engine_interrupted")


async def test_a_fault_of_ours_is_a_500_with_the_id_and_a_log(kit, chat):
    class Broken(Exception):
        pass

    async with kit.house() as house:
        house.engine.refuse(Broken("secret detail"))
        with capture_logs() as logged:
            reply = await house.call("POST", "/v1/p0", chat())

        id = reply.headers["x-stoker-request-id"]
        assert (reply.status, reply.error["code"]) == (500, "internal_error")
        assert id in reply.error["message"]
        assert "secret detail" not in reply.error["message"]
        [entry] = [one for one in logged if one["event"] == "internal error"]
        assert entry["request_id"] == id


async def test_a_busy_engines_own_refusal_says_when_to_come_back(kit, chat):
    async with kit.house() as house:
        house.engine.refuse(EngineRefused(429, b"{}", retry_after_s=900.0))
        told = await house.call("POST", "/v1/p0", chat())
        house.engine.refuse(EngineRefused(501, b"{}"))
        never = await house.call("POST", "/v1/p0", chat())

        assert (told.headers["retry-after"], told.headers["x-should-retry"]) == ("120", "true")
        assert "retry-after" not in never.headers
        assert never.headers["x-should-retry"] == "false"


async def test_draining_refuses_at_once(kit, chat):
    async with kit.house() as house:
        await house.fabric.drain()
        reply = await house.call("POST", "/v1/p0", chat())

        assert (reply.status, reply.error["code"]) == (503, "draining")
        assert int(reply.headers["retry-after"]) >= 1


@pytest.mark.parametrize("is_stream", [True, False])
async def test_hanging_up_while_running_aborts_the_engine(kit, chat, is_stream):
    async with kit.house(natural_tokens=10_000) as house:
        hang_up = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            body = chat(stream=is_stream)
            call = group.create_task(house.call("POST", "/v1/p0", body, hang_up=hang_up))
            await kit.until(lambda: house.running == 1)
            await asyncio.sleep(0.5)
            hang_up.set()
            reply = await call

        assert house.running == 0
        assert house.engine.aborts == 1
        assert not reply.is_complete


@pytest.mark.parametrize("is_stream", [True, False])
async def test_hanging_up_while_queued_leaves_the_queue(kit, chat, is_stream):
    async with kit.house(slots=1, natural_tokens=2_000) as house:
        leave, hang_up = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(house.call("POST", "/v1/p1", chat(), hang_up=leave))
            await kit.until(lambda: house.running == 1)
            body = chat(stream=is_stream)
            queued = group.create_task(house.call("POST", "/v1/p1", body, hang_up=hang_up))
            await kit.until(lambda: house.waiting == 1)
            hang_up.set()
            reply = await queued

            assert (house.waiting, house.running) == (0, 1)
            assert reply.status is None
            assert len(house.engine.calls) == 1
            leave.set()


async def test_a_stream_that_waits_is_pinged_until_it_has_something_to_say(kit, chat):
    async with kit.house(kit.config({"ping_s": 2.0}), slots=1, natural_tokens=1_000) as house:
        async with asyncio.TaskGroup() as group:
            group.create_task(house.call("POST", "/v1/p1", chat()))
            await kit.until(lambda: house.running == 1)
            waiting = group.create_task(house.call("POST", "/v1/p1", chat(stream=True)))
        reply = waiting.result()

        pings = reply.chunks.count(b": ping\n\n")
        assert pings > 2
        assert reply.chunks[:pings] == [b": ping\n\n"] * pings
        assert reply.status == 200
        assert reply.headers["content-type"] == "text/event-stream"
        assert reply.body.endswith(b"data: [DONE]\n\n")
        assert reply.is_complete


async def test_a_refusal_after_a_ping_is_told_inside_the_stream(kit, chat):
    config = kit.config({"ping_s": 2.0}, wait_max_p1_s=5.0)
    async with kit.house(config, slots=1, natural_tokens=1_000) as house:
        async with asyncio.TaskGroup() as group:
            group.create_task(house.call("POST", "/v1/p1", chat()))
            await kit.until(lambda: house.running == 1)
            reply = await house.call("POST", "/v1/p1", chat(stream=True))

        assert reply.status == 200
        assert reply.chunks[:2] == [b": ping\n\n"] * 2
        [document] = frames_of(reply)
        assert document["error"]["code"] == "queue_timeout"
        assert reply.is_complete


async def test_without_pings_a_refused_stream_is_an_http_error(kit, chat):
    config = kit.config({"ping_s": 0}, wait_max_p1_s=60.0)
    async with kit.house(config, slots=1, natural_tokens=5_000) as house:
        async with asyncio.TaskGroup() as group:
            group.create_task(house.call("POST", "/v1/p1", chat()))
            await kit.until(lambda: house.running == 1)
            reply = await house.call("POST", "/v1/p1", chat(stream=True))

        assert (reply.status, reply.error["code"]) == (503, "queue_timeout")


async def test_hanging_up_in_the_body_is_no_request(kit):
    async with kit.house() as house:

        async def receive():
            return {"type": "http.disconnect"}

        reply = kit.reply()
        scope = {"type": "http", "method": "POST", "path": "/v1/p0", "headers": []}
        await house.app({**scope, "root_path": "", "query_string": b""}, receive, reply.send)

        assert reply.status is None
        assert house.engine.calls == []
