"""Errors on Anthropic's routes: its shape outside, our code and reason inside."""

from __future__ import annotations

import asyncio
import json

import pytest

from stoker.core.errors import EngineRefused

pytestmark = pytest.mark.virtual_time

ROUTES = ["/v1/messages", "/v1/messages/count_tokens"]


def check_shape(reply, status, kind):
    assert reply.status == status
    assert reply.json["type"] == "error"
    assert reply.error["type"] == kind
    assert reply.error["message"]
    assert reply.json["request_id"] == reply.headers["request-id"]
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-should-retry"] in {"true", "false"}


@pytest.mark.parametrize("path", ROUTES)
async def test_a_malformed_body_is_an_invalid_request(kit, path):
    async with kit.house() as house:
        reply = await house.call("POST", path, {"messages": 3})

        check_shape(reply, 400, "invalid_request_error")
        assert (reply.error["code"], reply.error["param"]) == ("invalid_request", "messages")


@pytest.mark.parametrize("path", ROUTES)
async def test_draining_is_overloaded_with_our_reason(kit, chat, path):
    async with kit.house() as house:
        await house.fabric.drain()
        reply = await house.call("POST", path, chat())

        check_shape(reply, 503, "overloaded_error")
        assert reply.headers["x-stoker-reason"] == reply.error["code"] == "draining"
        assert int(reply.headers["retry-after"]) >= 1


async def test_a_wrong_method_and_a_body_too_large_have_the_shape_too(kit):
    async with kit.house() as house:
        wrong = await house.call("GET", "/v1/messages")
        large = await house.call("POST", "/v1/messages", b" " * 100_001)

        assert (wrong.status, wrong.json["type"]) == (405, "error")
        check_shape(large, 413, "request_too_large")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "no such model", "code": 404}}', "no such model"),
        (b"Not Found", "Not Found"),
    ],
)
async def test_an_engines_refusal_is_put_into_the_shape(kit, chat, body, message):
    async with kit.house() as house:
        house.engine.refuse(EngineRefused(404, body, "text/plain"))
        reply = await house.call("POST", "/v1/messages", chat())

        check_shape(reply, 404, "not_found_error")
        assert reply.error["message"] == message
        assert reply.headers["x-stoker-reason"] == "engine"


async def test_an_engines_refusal_that_has_the_shape_passes_verbatim(kit, chat):
    body = b'{"type": "error", "error": {"type": "BadRequestError", "message": "odd"}}'
    async with kit.house() as house:
        house.engine.refuse(EngineRefused(400, body))
        reply = await house.call("POST", "/v1/messages", chat())

        assert (reply.status, reply.body) == (400, body)


async def test_an_error_inside_a_stream_is_an_error_event(kit, chat):
    config = kit.config({"ping_s": 2.0}, wait_max_p1_s=5.0)
    async with kit.house(config, slots=1, natural_tokens=1_000) as house:
        async with asyncio.TaskGroup() as group:
            group.create_task(house.call("POST", "/v1/p1", chat()))
            await kit.until(lambda: house.running == 1)
            reply = await house.call("POST", "/v1/messages", chat(stream=True))

        assert reply.chunks[0] == b": ping\n\n"
        event = reply.chunks[-1]
        assert event.startswith(b"event: error\ndata: ")
        document = json.loads(event.removeprefix(b"event: error\ndata: "))
        assert (document["type"], document["error"]["code"]) == ("error", "queue_timeout")
