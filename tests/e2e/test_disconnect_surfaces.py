"""A client that hangs up frees the engine's slot on every surface, streaming or not."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.e2e.service import Service, until
from tests.e2e.test_disconnects import House, listening_at, llama_cpp_count

STORY = [{"role": "user", "content": "Write a very long story about the sea."}]
LONG = 2_000
BODIES = {
    "/v1/chat/completions": {"messages": STORY, "max_tokens": LONG},
    "/v1/completions": {"prompt": "Once upon a time", "max_tokens": LONG},
    "/v1/responses": {"input": "Write a very long story.", "max_output_tokens": LONG},
    "/v1/messages": {"messages": STORY, "max_tokens": LONG},
}
SLOTS = 2


@pytest.mark.embedded
async def test_hanging_up_frees_the_slot_of_llama_cpp_on_every_surface(tmp_path):
    service = Service(tmp_path, engine__embedded_threads=1, engine__embedded_slots=SLOTS)
    async with service.running():
        await service.wait_ready()
        url = listening_at(service.engine_process())
        house = House(service, lambda: llama_cpp_count(url))

        for path in BODIES:
            for is_stream in (True, False):
                async with AsyncExitStack() as running:
                    for _ in range(SLOTS):
                        await running.enter_async_context(asked(service.url, path, is_stream))
                    await until(lambda: is_counted(house, engine=SLOTS, stoker=SLOTS))
                    async with asked(service.url, path, is_stream):
                        await until(lambda: is_counted(house, engine=SLOTS, stoker=SLOTS + 1))
                    await until(lambda: is_counted(house, engine=SLOTS, stoker=SLOTS))
                await house.check_at_rest()


@pytest.mark.embedded
async def test_a_background_response_that_is_cancelled_leaves_llama_cpp(tmp_path):
    service = Service(tmp_path, engine__embedded_threads=1, engine__embedded_slots=SLOTS)
    async with service.running(), aiohttp.ClientSession() as session:
        await service.wait_ready()
        url = listening_at(service.engine_process())
        house = House(service, lambda: llama_cpp_count(url))
        path = f"{service.url}/v1/responses"
        body = BODIES["/v1/responses"] | {"background": True, "ignore_eos": True}
        async with session.post(path, json=body) as created:
            id = (await created.json())["id"]
        await until(lambda: is_counted(house, engine=1, stoker=1))

        async with session.post(f"{path}/{id}/cancel") as cancelled:
            assert (await cancelled.json())["status"] == "cancelled"

        await house.check_at_rest()


@asynccontextmanager
async def asked(url: str, path: str, is_stream: bool):
    """A call on a socket of its own; leaving the block hangs up."""
    body = json.dumps({**BODIES[path], "stream": is_stream, "ignore_eos": True}).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: stoker\r\ncontent-length: {len(body)}\r\n\r\n"
    address = urlsplit(url)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(head.encode() + body)
        yield
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def is_counted(house: House, *, engine: int, stoker: int) -> bool:
    return (await house.engine_count(), await house.stoker_count()) == (engine, stoker)
