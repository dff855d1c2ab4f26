"""A real uvicorn on loopback: the official client, raw sockets that hang up, shutdown."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from contextlib import asynccontextmanager

import openai
import pytest

from stoker.api.serve import bind, listening, require_loopback
from stoker.core.errors import CannotListen, ConfigError
from stoker.testing.fake_engine import FakeTiming

pytestmark = pytest.mark.slow


async def test_the_official_client_talks_to_us(kit):
    async with (
        kit.server() as house,
        openai.AsyncOpenAI(base_url=f"{house.url}/v1", api_key="none", max_retries=0) as client,
    ):
        messages = [{"role": "user", "content": "hello"}]
        whole = await client.chat.completions.create(model="m", messages=messages)
        stream = await client.chat.completions.create(
            model="m", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        completion = await client.completions.create(model="m", prompt="hello")
        embedding = await client.embeddings.create(model="m", input="hello")
        fast = await client.chat.completions.with_raw_response.create(
            model="m", messages=messages, service_tier="priority"
        )

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == 8
    assert completion.choices[0].text
    assert embedding.data[0].embedding
    assert fast.headers["x-stoker-class"] == "p0"


async def test_the_official_client_raises_its_own_errors(kit):
    async with (
        kit.server(context_tokens=64) as house,
        openai.AsyncOpenAI(base_url=f"{house.url}/v1", api_key="none", max_retries=0) as client,
    ):
        messages = [{"role": "user", "content": "hello " * 5000}]
        with pytest.raises(openai.BadRequestError) as too_long:
            await client.chat.completions.create(model="m", messages=messages)
        house.engine.drop(after_tokens=2)
        stream = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "x"}], stream=True
        )
        with pytest.raises(openai.APIError) as broken:
            [chunk async for chunk in stream]

    assert too_long.value.code == "exceeds_capacity"
    assert broken.value.code == "engine_interrupted"


@pytest.mark.parametrize("is_stream", [False, True])
async def test_the_engines_bytes_arrive_unchanged(kit, chat, is_stream):
    async with kit.server() as house:
        body = chat(stream=is_stream)
        sent = []
        real_send = house.engine.send

        @asynccontextmanager
        async def listened(call):
            async with real_send(call) as answer:
                real_chunks = answer.chunks

                async def chunks():
                    async for chunk in real_chunks():
                        sent.append(chunk)
                        yield chunk

                answer.chunks = chunks
                yield answer

        house.engine.send = listened
        async with house.session.post("/v1/p0", json=body) as response:
            received = await response.read()

    assert received == b"".join(sent)


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_socket_that_closes_frees_the_slot(kit, chat, is_stream):
    async with kit.server(natural_tokens=100_000, context_tokens=200_000) as house:
        reader, writer = await open_request(house.url, chat(stream=is_stream))
        await kit.until(lambda: house.running == 1)

        writer.close()
        await writer.wait_closed()
        await kit.until(lambda: house.running == 0)

        assert house.engine.aborts == 1
        del reader


async def test_a_socket_that_closes_while_queued_leaves_the_queue(kit, chat):
    async with kit.server(slots=1, natural_tokens=100_000, context_tokens=200_000) as house:
        _, running = await open_request(house.url, chat(stream=True))
        await kit.until(lambda: house.running == 1)
        _, queued = await open_request(house.url, chat())
        await kit.until(lambda: house.waiting == 1)

        queued.close()
        await queued.wait_closed()
        await kit.until(lambda: house.waiting == 0)

        assert house.running == 1
        running.close()
        await running.wait_closed()
        await kit.until(lambda: house.running == 0)


async def test_random_disconnects_leave_no_slot_taken(kit, chat):
    """The small sibling of the ten thousand in the benchmark folder."""
    rng = random.Random(7)
    async with kit.server(slots=4, natural_tokens=40) as house:

        async def hang_up_somewhere():
            _, writer = await open_request(house.url, chat(stream=rng.random() < 0.5))
            await asyncio.sleep(rng.random() * 0.03)
            writer.transport.abort()

        for _ in range(10):
            await asyncio.gather(*(hang_up_somewhere() for _ in range(20)))
        await kit.until(lambda: house.running == house.waiting == 0)
        await asyncio.sleep(0.05)  # the engine hears of the last hang-up just after us
        sample = await house.engine.sample()
        assert (sample.running, sample.waiting) == (0, 0)
        async with house.session.post("/v1/p0", json=chat()) as response:
            assert response.status == 200


async def test_a_stream_comes_as_it_is_made(kit, chat):
    """Each frame arrives on its own: nothing on the way collects them."""
    slow = FakeTiming(prefill_s_per_token=0.0, decode_s=0.03)
    async with kit.server(timing=slow, natural_tokens=5) as house:
        now = asyncio.get_running_loop().time
        async with house.session.post("/v1/p0", json=chat(stream=True)) as response:
            times = [now() async for _ in response.content.iter_any()]

    assert times[-1] - times[0] > 0.1
    assert len(times) >= 5


async def test_an_oversized_chunked_body_is_cut_off(kit):
    async def endless():
        while True:
            yield b" " * 65_536

    async with kit.server() as house, house.session.post("/v1/p0", data=endless()) as response:
        assert response.status == 413
        assert (await response.json())["error"]["code"] == "body_too_large"


async def test_a_port_in_use_is_said_in_one_line(kit):
    async with kit.server() as house:
        port = int(house.url.rpartition(":")[2])
        with pytest.raises(CannotListen, match=f"port {port} on 127.0.0.1 is in use"):
            async with listening(house.fabric, port=port):
                pytest.fail("two servers on one port")


def test_a_host_that_is_not_ours_is_said():
    with pytest.raises(CannotListen, match=r"no address of this machine|cannot listen"):
        bind("203.0.113.7", 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_loopback_needs_no_keys(host):
    require_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "box.local"])
def test_anything_wider_is_refused(host):
    with pytest.raises(ConfigError, match="no API keys"):
        require_loopback(host)


async def test_ipv6_is_a_loopback_too(kit):
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    async with kit.server() as house:
        try:
            async with listening(house.fabric, host="::1", port=0) as url:
                assert url.startswith("http://[::1]:")
        except CannotListen:
            pytest.skip("no IPv6 loopback here")


async def open_request(url, body):
    host, _, port = url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    raw = json.dumps(body).encode()
    head = f"POST /v1/p1 HTTP/1.1\r\nhost: x\r\ncontent-length: {len(raw)}\r\n\r\n"
    writer.write(head.encode() + raw)
    await writer.drain()
    return reader, writer
