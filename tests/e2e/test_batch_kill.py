"""`kill -9` in every stage of a batch: each line is answered exactly once, in one output file."""

from __future__ import annotations

import asyncio
import json
from random import Random

import aiohttp

from tests.e2e.service import Service, fake_engine, free_port

LINES = 300
KILL_AT = (0, 0, 80, 200, LINES)
"""Answered lines at which to strike: two while lines are checked and sent, one at the end, when the
output is being written or has just been."""
LIMIT_S = 120.0
SEED = 20_261_124
FINAL = {"completed", "failed", "expired", "cancelled"}
CHAT = "/v1/chat/completions"


async def test_every_line_is_answered_exactly_once_over_many_kills(tmp_path):
    random, seen = Random(SEED), []
    async with (
        asyncio.timeout(LIMIT_S),
        fake_engine("--slots", "8", "--natural-tokens", "4", "--token-ms", "4") as engine,
    ):
        service = Service(tmp_path, "--engine", engine, port=free_port(), policy__ramp_s=0)
        async with service.running():
            id = await create(service)
            for count in KILL_AT:
                batch = await until(service, id, count)
                seen.append(batch["request_counts"]["completed"])
                await asyncio.sleep(random.uniform(0.0, 0.05))
                await service.kill()
                await service.start()
            batch = await until(service, id)
            lines = (await read(service, f"/v1/files/{batch['output_file_id']}/content")).decode()
            files = json.loads(await read(service, "/v1/files"))
            assert await service.stop() == 0

    assert 80 <= seen[2] < LINES, "the box is too fast for this test"
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": LINES, "completed": LINES, "failed": 0}
    assert [json.loads(line)["custom_id"] for line in lines.splitlines()] == [
        f"line-{number}" for number in range(LINES)
    ]
    assert service.rows("SELECT state, count(*) FROM jobs GROUP BY state") == [("completed", LINES)]
    # No half file is left of those that were being written when it died.
    kept = {file["id"] for file in files["data"]}
    assert kept == {batch["input_file_id"], batch["output_file_id"]}
    assert {path.name for path in (service.data / "files").iterdir()} == kept


async def create(service: Service) -> str:
    lines = [
        {
            "custom_id": f"line-{number}",
            "method": "POST",
            "url": CHAT,
            "body": {"messages": [{"role": "user", "content": f"question {number}"}]},
        }
        for number in range(LINES)
    ]
    form = aiohttp.FormData({"purpose": "batch"})
    form.add_field("file", "\n".join(map(json.dumps, lines)).encode(), filename="in.jsonl")
    async with aiohttp.ClientSession(service.url) as session:
        async with session.post("/v1/files", data=form) as response:
            file = await response.json()
        wanted = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
        async with session.post("/v1/batches", json=wanted) as response:
            assert response.status == 200, await response.text()
            return str((await response.json())["id"])


async def until(service: Service, id: str, completed: int = LINES + 1) -> dict:
    """The batch when so many lines are answered, or when it is final."""
    while True:
        batch = json.loads(await read(service, f"/v1/batches/{id}"))
        if batch["status"] in FINAL or batch["request_counts"]["completed"] >= completed:
            return batch
        await asyncio.sleep(0.02)


async def read(service: Service, path: str) -> bytes:
    async with (
        aiohttp.ClientSession(service.url) as session,
        session.get(path) as response,
    ):
        assert response.status == 200, await response.text()
        return await response.read()
