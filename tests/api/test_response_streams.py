"""A background Response as a stream: begun, cut, gone on with, and always the same events."""

from __future__ import annotations

import asyncio
import json

import pytest

from stoker.core.errors import StoreError
from stoker.runtime import response_events
from stoker.runtime.response_events import ResponseEvents

pytestmark = pytest.mark.virtual_time

PATH = "/v1/responses"


def asked(**fields):
    return {"model": "m", "input": "hello", "background": True, "stream": True, **fields}


def events_of(reply):
    """The events; what each line `event:` says is also in its data."""
    events = []
    for frame in reply.body.decode().split("\n\n"):
        if frame.startswith("event: "):
            name, data = frame.split("\n")
            events.append(json.loads(data.removeprefix("data: ")))
            assert name == f"event: {events[-1]['type']}"
    return events


def kinds(events):
    """The types, each once for a row of them."""
    names = [event["type"].removeprefix("response.") for event in events]
    return [name for index, name in enumerate(names) if [name] != names[index - 1 : index]]


def numbers(events):
    return [event["sequence_number"] for event in events]


def text(events):
    return "".join(event.get("delta", "") for event in events)


async def get(house, id, after=None):
    query = "" if after is None else f"&starting_after={after}"
    return await house.call("GET", f"{PATH}/{id}?stream=true{query}")


async def test_it_comes_as_it_is_made_and_ends_with_the_whole_of_it(kit):
    async with kit.house() as house:
        reply = await house.call("POST", PATH, asked(metadata={"a": "b"}))
        events = events_of(reply)
        first, last = events[0]["response"], events[-1]["response"]
        kept = (await house.call("GET", f"{PATH}/{last['id']}")).json

        assert (reply.status, reply.headers["content-type"]) == (200, "text/event-stream")
        assert reply.headers["x-stoker-class"] == "p2"
        assert reply.headers["x-request-id"].startswith("req_")
        assert kinds(events) == [
            "created",
            "queued",
            "in_progress",
            "output_text.delta",
            "completed",
        ]
        assert numbers(events) == list(range(len(events)))
        assert (first["status"], first["output"], first["metadata"]) == ("queued", [], {"a": "b"})
        assert {event["response"]["id"] for event in events if "response" in event} == {kept["id"]}
        assert last == kept
        assert text(events) == kept["output"][0]["content"][0]["text"]
        assert house.engine.calls[-1].is_collected, "it is a job like any other"


async def test_it_begins_with_number_0_however_slow_the_store_is(kit, monkeypatch):
    async with kit.house(slots=1, natural_tokens=100) as house, asyncio.TaskGroup() as group:
        group.create_task(house.call("POST", "/v1/p1", {"prompt": "x"}))
        await kit.until(lambda: house.running == 1)
        get = house.fabric.jobs.get

        async def slow(id):
            await asyncio.sleep(0.05)
            return await get(id)

        monkeypatch.setattr(house.fabric.jobs, "get", slow)
        events = events_of(await house.call("POST", PATH, asked()))

    assert numbers(events) == list(range(len(events)))


async def test_any_event_is_a_place_to_go_on_from_with_the_very_same_bytes(kit):
    async with kit.house() as house:
        whole = await house.call("POST", PATH, asked())
        events = events_of(whole)
        id = events[0]["response"]["id"]
        for event in events:
            rest = await get(house, id, event["sequence_number"])

            assert whole.body.endswith(rest.body)
            assert numbers(events_of(rest)) == numbers(events)[event["sequence_number"] + 1 :]
        again = await get(house, id)

        assert again.body == whole.body
        assert (await get(house, id, 10**6)).body == b""


async def test_a_stream_that_was_cut_goes_on_where_it_was_while_the_job_runs(kit):
    async with kit.house(natural_tokens=50) as house:
        hang_up, cut = asyncio.Event(), kit.reply()
        async with asyncio.TaskGroup() as group:
            group.create_task(house.call.into(cut, "POST", PATH, asked(), hang_up=hang_up))
            await kit.until(lambda: b"delta" in cut.body)
            hang_up.set()
        before = events_of(cut)
        rest = events_of(
            await get(house, before[0]["response"]["id"], before[-1]["sequence_number"])
        )

        assert house.engine.aborts == 0
        assert numbers(before + rest) == list(range(len(before + rest)))
        whole = rest[-1]["response"]["output"][0]["content"][0]["text"]
        assert text(before + rest) == whole


async def test_several_may_follow_and_each_gets_all(kit):
    async with kit.house(natural_tokens=20) as house, asyncio.TaskGroup() as group:
        first = group.create_task(house.call("POST", PATH, asked()))
        await kit.until(lambda: house.running == 1)
        [job] = await house.fabric.jobs.list_jobs(limit=1)
        id = "resp_" + job.id.removeprefix("job_")
        others = [group.create_task(get(house, id)) for _ in range(3)]
        await asyncio.wait([first, *others])

        assert len({one.result().body for one in (first, *others)}) == 1


async def test_a_run_that_gave_way_is_void_and_said_to_be(kit):
    async with kit.house(slots=1, natural_tokens=30) as house:
        async with asyncio.TaskGroup() as group:
            streamed = group.create_task(house.call("POST", PATH, asked()))
            await kit.until(lambda: house.running == 1)
            await asyncio.sleep(0.3)
            await house.call("POST", "/v1/p0", {"prompt": "x", "max_tokens": 2})
        events = events_of(streamed.result())
        turns = [index for index, event in enumerate(events) if "in_progress" in event["type"]]

        assert len(turns) == 2
        assert events[turns[1] - 1]["type"] == "response.queued"
        assert numbers(events) == list(range(len(events)))
        final = events[-1]["response"]["output"][0]["content"][0]["text"]
        assert text(events[turns[0] : turns[1]]), "something had been said"
        assert text(events[turns[1] :]) == final


async def test_in_a_later_life_the_end_is_still_there_under_a_higher_number(kit):
    async with kit.house() as house:
        events = events_of(await house.call("POST", PATH, asked()))
        id = events[0]["response"]["id"]
        await asyncio.sleep(1)
        forget(house)
        for after in (None, events[-2]["sequence_number"]):
            later = events_of(await get(house, id, after))

            assert later[-1]["response"] == events[-1]["response"]
            assert later[-1]["sequence_number"] > events[-1]["sequence_number"]
            assert text(later) == "", "no deltas are made up"


async def test_a_job_of_an_earlier_life_is_followed_from_its_new_beginning(kit):
    async with kit.house(slots=1, natural_tokens=200) as house:
        hang_up, cut = asyncio.Event(), kit.reply()
        async with asyncio.TaskGroup() as group:
            group.create_task(house.call("POST", "/v1/p1", {"prompt": "x"}))
            await kit.until(lambda: house.running == 1)
            group.create_task(house.call.into(cut, "POST", PATH, asked(), hang_up=hang_up))
            await kit.until(lambda: b"queued" in cut.body)
            hang_up.set()
            await asyncio.sleep(0.1)
            forget(house)
            before = events_of(cut)
            rest = events_of(
                await get(house, before[0]["response"]["id"], before[-1]["sequence_number"])
            )

        assert numbers(rest) == sorted(numbers(rest))
        assert numbers(rest)[0] > numbers(before)[-1]
        assert text(rest) == rest[-1]["response"]["output"][0]["content"][0]["text"]


async def test_who_is_too_far_behind_gets_the_end_and_no_text_with_a_hole(kit, monkeypatch):
    monkeypatch.setattr(response_events, "STREAM_MAX_BYTES", 20_000)
    async with kit.house(natural_tokens=200) as house:
        whole = events_of(await house.call("POST", PATH, asked()))
        late = events_of(await get(house, whole[0]["response"]["id"], 5))

        assert text(whole) == whole[-1]["response"]["output"][0]["content"][0]["text"]
        assert text(late) == ""
        assert late[-1] == whole[-1]


def forget(house):
    """As after a restart: what was told is gone, what is stored is not."""
    events = ResponseEvents()
    house.fabric.response_events = events
    house.fabric._parts.waiters.on_change(events.wake)
    for parts in house.fabric._parts.engines.values():
        parts.runner.tell(events)


@pytest.mark.parametrize("is_running", [True, False])
async def test_cancelling_ends_the_stream(kit, is_running):
    async with kit.house(slots=1, natural_tokens=10_000) as house:
        async with asyncio.TaskGroup() as group:
            other, hang_up = None, asyncio.Event()
            if not is_running:
                body = {"prompt": "x"}
                other = group.create_task(house.call("POST", "/v1/p1", body, hang_up=hang_up))
                await kit.until(lambda: house.running == 1)
            streamed = kit.reply()
            group.create_task(house.call.into(streamed, "POST", PATH, asked()))
            wanted = b"delta" if is_running else b"queued"
            await kit.until(lambda: wanted in streamed.body)
            id = events_of(streamed)[0]["response"]["id"]
            await house.call("POST", f"{PATH}/{id}/cancel")
            await kit.until(lambda: streamed.is_complete)
            hang_up.set()
        last = events_of(streamed)[-1]

        assert other is None or other.done()
        assert (last["type"], last["response"]["status"]) == ("response.cancelled", "cancelled")


async def test_a_failure_ends_the_stream_with_its_code(kit):
    async with kit.house() as house:
        house.engine.refuse_status(400, "no such model")
        last = events_of(await house.call("POST", PATH, asked()))[-1]

        assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
        assert last["response"]["error"]["code"] == "engine_400"


async def test_a_bound_that_cut_it_off_is_told_as_incomplete(kit):
    async with kit.house() as house:
        last = events_of(await house.call("POST", PATH, asked(max_output_tokens=3)))[-1]

        assert last["type"] == "response.incomplete"


async def test_one_that_is_deleted_while_it_is_followed_just_ends(kit):
    async with kit.house(natural_tokens=10_000) as house, asyncio.TaskGroup() as group:
        streamed = kit.reply()
        group.create_task(house.call.into(streamed, "POST", PATH, asked()))
        await kit.until(lambda: b"delta" in streamed.body)
        id = events_of(streamed)[0]["response"]["id"]
        await house.call("DELETE", f"{PATH}/{id}")
        await kit.until(lambda: streamed.is_complete)


async def test_a_store_that_fails_meanwhile_is_told_as_an_error(kit, monkeypatch):
    async def broken(id):
        raise StoreError("the disk is gone")

    async with kit.house(natural_tokens=500) as house, asyncio.TaskGroup() as group:
        streamed = kit.reply()
        group.create_task(house.call.into(streamed, "POST", PATH, asked()))
        await kit.until(lambda: b"delta" in streamed.body)
        with monkeypatch.context() as patch:
            patch.setattr(house.fabric.jobs, "get", broken)
            await kit.until(lambda: streamed.is_complete)

    last = streamed.body.decode().split("event: ")[-1]
    assert last.startswith("error\n")
    assert json.loads(last.split("data: ")[1])["error"]["code"] == "store_error"


async def test_a_stream_that_waits_is_pinged(kit):
    config = kit.config(server={"ping_s": 5.0})
    async with kit.house(config, slots=1, natural_tokens=1000) as house:
        hang_up, streamed = asyncio.Event(), kit.reply()
        async with asyncio.TaskGroup() as group:
            group.create_task(house.call("POST", "/v1/p1", {"prompt": "x"}, hang_up=hang_up))
            await kit.until(lambda: house.running == 1)
            leave = asyncio.Event()
            group.create_task(house.call.into(streamed, "POST", PATH, asked(), hang_up=leave))
            await asyncio.sleep(12.0)
            hang_up.set()
            leave.set()

        assert streamed.body.count(b": ping\n\n") == 2


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("stream=true", "stream"),
        ("stream=maybe", "stream"),
        ("stream=true&starting_after=x", "starting_after"),
        ("starting_after=3", "starting_after"),
    ],
)
async def test_what_cannot_be_followed_is_refused_by_name(kit, query, param):
    async with kit.house() as house:
        id = (await house.call("POST", PATH, asked(stream=False))).json["id"]
        reply = await house.call("GET", f"{PATH}/{id}?{query}")

        assert (reply.status, reply.error["param"]) == (400, param)


async def test_the_same_key_follows_the_same_response(kit):
    async with kit.house() as house:
        headers = {"idempotency-key": "k"}
        one = await house.call("POST", PATH, asked(), headers=headers)
        again = await house.call("POST", PATH, asked(), headers=headers)

        assert one.body == again.body


async def test_a_retried_one_has_a_new_life_in_its_stream(kit):
    async with kit.house() as house:
        house.engine.refuse_status(400, "not today")
        failed = events_of(await house.call("POST", PATH, asked()))
        id = failed[0]["response"]["id"]
        await house.call("POST", f"/v1/p2/job_{id.removeprefix('resp_')}/retry")
        again = events_of(await get(house, id))

        assert numbers(again)[0] > numbers(failed)[-1]
        assert kinds(again)[0] == "created"
        assert kinds(again)[-1] == "completed"
