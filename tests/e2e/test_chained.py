"""A Stoker in front of a Stoker: the outer one takes the inner one for a plain OpenAI server."""

from __future__ import annotations

import aiohttp
import pytest

from tests.e2e.service import Service, until

pytestmark = pytest.mark.embedded

SMALL = {
    "engine__embedded_slots": 2,
    "engine__embedded_context_tokens": 512,
    "engine__embedded_threads": 1,
}


async def test_both_serve_and_the_inner_one_is_no_llama_cpp(tmp_path):
    for name in ("inner", "outer"):
        (tmp_path / name).mkdir()
    inner = Service(tmp_path / "inner", **SMALL)
    async with inner.running():
        await until(lambda: is_ready(inner), limit_s=90)
        outer = Service(tmp_path / "outer", "--engine", inner.url)
        async with outer.running(), aiohttp.ClientSession(outer.url) as session:
            await until(lambda: is_ready(outer), limit_s=30)
            state = await outer.state()
            chat = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
            async with session.post("/v1/p0", json=chat) as response:
                answer = await response.json()
            async with session.post("/v1/p2", json={"prompt": "Once", "max_tokens": 4}) as response:
                job = (await response.json())["job_id"]
            async with session.get(f"/v1/p2/{job}?wait=60") as response:
                done = await response.json()

            assert state["engine"]["name"] == "openai"
            assert answer["usage"]["completion_tokens"] > 0
            assert done["status"] == "completed"


async def is_ready(service: Service) -> bool:
    return (await service.get("/readyz"))[0] == 200
