"""How the official clients take what only a scripted engine does: retries, pings, breaks."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import anthropic
import openai
import pytest

from stoker.core.errors import EngineRefused
from stoker.testing.fake_engine import FakeTiming

HI = [{"role": "user", "content": "hello"}]
MODEL = "fake-model"


@asynccontextmanager
async def clients(house, **options):
    async with (
        openai.AsyncOpenAI(base_url=f"{house.url}/v1", api_key="unused", **options) as one,
        anthropic.AsyncAnthropic(base_url=house.url, api_key="unused", **options) as other,
    ):
        yield one, other


async def test_a_busy_engine_is_tried_again_when_it_said(kit):
    async with kit.server() as house, clients(house, max_retries=1) as (client, _):
        loop = asyncio.get_running_loop()
        house.engine.refuse(EngineRefused(503, b'{"error":{}}', retry_after_s=1.0))
        asked_at = loop.time()
        answer = await client.chat.completions.with_raw_response.create(model=MODEL, messages=HI)

        assert answer.http_request.headers["x-stainless-retry-count"] == "1"
        assert loop.time() - asked_at >= 1.0


async def test_a_full_queue_is_tried_again_by_both_clients(kit):
    config = kit.config(queue_max_p1=1)
    async with (
        kit.server(config, slots=1, natural_tokens=100_000) as house,
        clients(house, max_retries=2) as (one, other),
        asyncio.TaskGroup() as group,
    ):
        body = {"messages": HI}
        blockers = [
            group.create_task(house.session.post("/v1/p1", json=body).__aenter__())
            for _ in range(2)
        ]
        await kit.until(lambda: (house.running, house.waiting) == (1, 1))
        with pytest.raises(openai.RateLimitError) as refused:
            await one.with_options(max_retries=0).chat.completions.create(model=MODEL, messages=HI)
        with pytest.raises(anthropic.RateLimitError) as overloaded:
            await other.with_options(max_retries=0).messages.create(
                model=MODEL, max_tokens=4, messages=HI
            )
        tried = [
            group.create_task(one.chat.completions.create(model=MODEL, messages=HI)),
            group.create_task(other.messages.create(model=MODEL, max_tokens=4, messages=HI)),
        ]
        await asyncio.sleep(0.2)  # both have been refused once, and wait for a second
        for blocker in blockers:
            blocker.cancel()
        house.engine.natural_tokens = 4

        answers = [await task for task in tried]

    assert refused.value.code == overloaded.value.body["error"]["code"] == "queue_full"
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 120
    assert answers[0].choices[0].message.content
    assert answers[1].content[0].text


async def test_pings_are_no_part_of_either_stream(kit):
    config = kit.config({"ping_s": 0.05})
    async with (
        kit.server(config, slots=1, natural_tokens=1_000) as house,
        clients(house, max_retries=0) as (one, other),
        asyncio.TaskGroup() as group,
    ):
        group.create_task(other.messages.create(model=MODEL, max_tokens=600, messages=HI))
        await kit.until(lambda: house.running == 1)
        chunks = await one.chat.completions.create(
            model=MODEL, messages=HI, max_tokens=600, stream=True
        )
        text = "".join([c.choices[0].delta.content or "" async for c in chunks if c.choices])
        group.create_task(one.chat.completions.create(model=MODEL, messages=HI, max_tokens=600))
        await kit.until(lambda: house.running == 1)
        async with other.messages.stream(model=MODEL, max_tokens=5, messages=HI) as stream:
            message = await stream.get_final_message()

    assert text.startswith("t0 t1")
    assert message.content[0].text == "t0 t1 t2 t3 t4"


async def test_a_stream_that_breaks_off_raises_our_error(kit):
    async with kit.server() as house, clients(house, max_retries=0) as (one, other):
        house.engine.drop(after_tokens=3)
        chunks = await one.chat.completions.create(model=MODEL, messages=HI, stream=True)
        with pytest.raises(openai.APIError) as broken:
            async for _ in chunks:
                pass
        house.engine.drop(after_tokens=3)
        events = await other.messages.create(model=MODEL, max_tokens=20, messages=HI, stream=True)
        with pytest.raises(anthropic.APIStatusError) as interrupted:
            async for _ in events:
                pass

    assert broken.value.code == "engine_interrupted"
    assert interrupted.value.body["error"]["code"] == "engine_interrupted"


async def test_embeddings_are_vectors(kit):
    async with kit.server() as house, clients(house) as (client, _):
        answer = await client.embeddings.create(
            model=MODEL, input=["a b", "c"], encoding_format="float"
        )

    assert answer.data[0].embedding == [0.25, 0.5, 0.75]
    assert answer.usage.prompt_tokens > 0


@pytest.mark.parametrize("is_stream", [True, False])
async def test_a_client_that_is_cancelled_frees_its_place_on_every_surface(kit, is_stream):
    async with kit.server(slots=4, natural_tokens=100_000) as house, clients(house) as (one, other):
        calls = [
            one.chat.completions.create(model=MODEL, messages=HI, stream=is_stream),
            one.completions.create(model=MODEL, prompt="x", stream=is_stream),
            one.responses.create(model=MODEL, input="x", stream=is_stream),
            other.messages.create(model=MODEL, max_tokens=4_000, messages=HI, stream=is_stream),
        ]
        tasks = [asyncio.ensure_future(_whole(call)) for call in calls]
        await kit.until(lambda: house.running == 4)
        waiting = asyncio.ensure_future(
            _whole(one.responses.create(model=MODEL, input="x", stream=is_stream))
        )
        await kit.until(lambda: house.waiting == 1)
        for task in (waiting, *tasks):
            task.cancel()
        await asyncio.gather(waiting, *tasks, return_exceptions=True)

        await kit.until(lambda: (house.running, house.waiting) == (0, 0))
        assert house.engine.aborts == 4


async def _whole(call):
    answer = await call
    if hasattr(answer, "__aiter__"):
        async for _ in answer:
            pass


async def test_a_background_response_is_streamed_cut_and_gone_on_with(kit):
    slow = FakeTiming(prefill_s_per_token=0.0, decode_s=0.005, decode_s_per_sequence=0.0)
    async with (
        kit.server(natural_tokens=40, timing=slow) as house,
        clients(house) as (client, _),
    ):
        events = []
        asked = {"model": MODEL, "input": "x", "background": True}
        async with await client.responses.create(**asked, stream=True) as stream:
            async for event in stream:
                events.append(event)
                if event.type == "response.output_text.delta":
                    break  # and the connection is closed
        id, last = events[0].response.id, events[-1].sequence_number
        rest = await client.responses.retrieve(id, stream=True, starting_after=last)
        events += [event async for event in rest]
        items = await client.responses.input_items.list(id)
        whole = await client.responses.retrieve(id)

        assert [event.sequence_number for event in events] == list(range(len(events)))
        deltas = [one.delta for one in events if one.type == "response.output_text.delta"]
        assert "".join(deltas) == whole.output_text
        assert events[-1].type == "response.completed"
        assert events[-1].response == whole
        assert [item.content[0].text for item in items.data] == ["x"]
        assert house.engine.aborts == 0


async def test_a_background_response_that_is_cancelled_ends_its_stream(kit):
    async with kit.server(natural_tokens=100_000) as house, clients(house) as (client, _):
        asked = {"model": MODEL, "input": "x", "background": True}
        kinds = []
        async with await client.responses.create(**asked, stream=True) as stream:
            async for event in stream:
                kinds.append(event.type)
                if kinds.count("response.output_text.delta") == 1:
                    [job] = await house.fabric.jobs.list_jobs(limit=1)
                    await client.responses.cancel("resp_" + job.id.removeprefix("job_"))

        assert kinds[-1] == "response.cancelled"
