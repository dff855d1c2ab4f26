"""Many streams at once through the real process."""

from __future__ import annotations

import asyncio

import aiohttp

from tests.e2e.service import Service, fake_engine

STREAMS = 200
TOKENS = 64


async def test_two_hundred_streams_flow_side_by_side(tmp_path):
    async with fake_engine("--slots", str(STREAMS), "--token-ms", "20") as url:
        service = Service(tmp_path, "--engine", url, engine__requests=STREAMS + 8)
        async with service.running():
            await service.wait_ready()
            connector = aiohttp.TCPConnector(limit=0)
            async with (
                asyncio.timeout(60),
                aiohttp.ClientSession(service.url, connector=connector) as session,
                asyncio.TaskGroup() as group,
            ):
                streams = [group.create_task(read_stream(session)) for _ in range(STREAMS)]

    for stream in streams:
        frames, longest_gap_s = stream.result()
        assert frames[-1] == b"data: [DONE]\n"
        assert sum(b'"content"' in frame for frame in frames) >= TOKENS
        assert longest_gap_s < 10


async def read_stream(session: aiohttp.ClientSession) -> tuple[list[bytes], float]:
    """Its frames, and the longest silence between two of them."""
    loop, frames, longest_gap_s = asyncio.get_running_loop(), [], 0.0
    body = {
        "messages": [{"role": "user", "content": "Tell me about the sea."}],
        "max_tokens": TOKENS,
        "stream": True,
    }
    async with session.post("/v1/p1", json=body) as response:
        assert response.status == 200, await response.text()
        seen_at = loop.time()
        async for line in response.content:
            longest_gap_s = max(longest_gap_s, loop.time() - seen_at)
            seen_at = loop.time()
            if line.strip():
                frames.append(line)
    return frames, longest_gap_s
