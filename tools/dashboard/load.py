"""A small mixed load, so that there is something to look at: people, two agents, and a backlog."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import suppress
from typing import Any

import aiohttp

TOPICS = ("tides", "compost", "sourdough", "bicycles", "lighthouses", "bees", "canals", "kites")


NOTES = {
    "harbour.md": (
        "Port Ellen has 14 berths.",
        "Mira repaired the harbour crane in March 2026.",
        "The ferry to Kennacraig leaves at 7 in the morning.",
        "Jonas does not eat shellfish.",
    ),
    "garden.md": (
        "Ada keeps four beehives behind the greenhouse.",
        "The compost is turned every Saturday.",
        "Ada's dog is called Biscuit.",
        "The well ran dry in August 2025.",
    ),
    "workshop.md": (
        "The lathe needs three-phase power.",
        "Omar lent the bench grinder to Mira on 12 May 2026.",
        "Spare belts are in the blue cabinet.",
        "The fire extinguisher was checked in January 2026.",
    ),
}
STATEMENTS = (
    "Ada prefers to be called in the morning.",
    "The staging database is on port 5433.",
    "Omar's birthday is 9 November.",
    "The office in Ghent closes at 18:00.",
)
_REMEMBER_LIMIT_S = 240.0


async def remembered(url: str) -> None:
    """Let the memory server have something to show: statements, documents that are done, one that
    cannot be read. Waits for the model's answers.
    """
    async with aiohttp.ClientSession(url) as session:
        for statement in STATEMENTS:
            await _post(session, "/v1/memories", {"statement": statement})
        async with session.post("/v1/memories/imports?label=house%20and%20harbour") as answer:
            begun = await answer.json()
        at = f"/v1/memories/imports?import={begun['id']}"
        for name, lines in NOTES.items():
            text = f"# {name.removesuffix('.md').title()}\n\n" + "\n\n".join(lines)
            async with session.post(f"{at}&uri={name}", data=text.encode()) as answer:
                await answer.read()
        async with session.post(f"{at}&uri=scan.pdf", data=b"%PDF-1.7 cut off") as answer:
            await answer.read()
        async with asyncio.timeout(_REMEMBER_LIMIT_S):
            while not (await _get(session, f"/v1/memories/imports/{begun['id']}"))["is_done"]:  # noqa: ASYNC110
                await asyncio.sleep(1.0)


class MixedLoad:
    """Sends until cancelled. Everything is seeded, so two runs ask for the same."""

    def __init__(self, url: str, *, jobs: int = 40, seed: int = 7) -> None:
        self._url = url
        self._jobs = jobs
        self._random = random.Random(seed)

    async def run(self) -> None:
        """Keep people, agents and a backlog busy."""
        timeout = aiohttp.ClientTimeout(600)
        async with (
            aiohttp.ClientSession(self._url, timeout=timeout) as session,
            asyncio.TaskGroup() as tasks,
        ):
            await self.batch(session)
            await self.memories(session)
            await self.enqueue(session)
            tasks.create_task(self._people(session))
            for number in range(2):
                tasks.create_task(self._agent(session, f"agent-{number}"))

    async def enqueue(self, session: aiohttp.ClientSession) -> None:
        """Store a backlog of jobs of different lengths."""
        for number in range(self._jobs):
            topic = self._random.choice(TOPICS)
            body = {
                "prompt": f"Write about {topic}, in detail. " * self._random.randint(1, 12),
                "max_tokens": self._random.randint(20, 160),
                "stoker": {"family": topic},
            }
            headers = {"Idempotency-Key": f"{topic}-{number:03}"}
            await _post(session, "/v1/p2?batch=notes", body, headers)

    async def batch(self, session: aiohttp.ClientSession) -> None:
        """One OpenAI batch beside it."""
        lines = [
            {
                "custom_id": f"line-{number}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {
                    "model": "any",
                    "messages": [{"role": "user", "content": f"One fact about {topic}."}],
                    "max_tokens": 24,
                },
            }
            for number, topic in enumerate(TOPICS * 2)
        ]
        form = aiohttp.FormData()
        form.add_field("purpose", "batch")
        form.add_field("file", "\n".join(map(json.dumps, lines)).encode(), filename="facts.jsonl")
        async with session.post("/v1/files", data=form) as answer:
            file = await answer.json()
        wanted = {
            "input_file_id": file["id"],
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
        await _post(session, "/v1/batches", wanted)

    async def memories(self, session: aiohttp.ClientSession) -> None:
        """One import into the memory server: its model work is background work like the rest."""
        notes = "\n\n".join(
            f"# {topic.title()}\n\nAda said on 3 March 2026 that she has kept {topic} for "
            f"{number + 2} years. She prefers mornings for it, and lives in Ghent."
            for number, topic in enumerate(TOPICS)
        )
        async with session.post("/v1/memories/imports?uri=notes.md", data=notes.encode()) as answer:
            await answer.read()

    async def _people(self, session: aiohttp.ClientSession) -> None:
        while True:
            await asyncio.sleep(self._random.uniform(12, 22))
            lease = await _post(session, "/v1/p0/lease", {"seconds": 20})
            for _ in range(2):
                await self._ask(session, "/v1/p0", 24)
                await asyncio.sleep(0.5)
            with suppress(aiohttp.ClientError):
                await session.delete(f"/v1/p0/lease/{lease.get('lease_id')}")
            await asyncio.sleep(self._random.uniform(15, 25))
            await self._ask(session, "/v1/p0", 16)

    async def _agent(self, session: aiohttp.ClientSession, name: str) -> None:
        while True:
            await self._ask(session, "/v1/p1", 32, {"session": name})
            await asyncio.sleep(self._random.uniform(1, 6))

    async def _ask(
        self,
        session: aiohttp.ClientSession,
        path: str,
        tokens: int,
        stoker: dict[str, Any] | None = None,
    ) -> None:
        topic = self._random.choice(TOPICS)
        body: dict[str, Any] = {
            "messages": [{"role": "user", "content": f"Tell me about {topic}."}],
            "max_tokens": tokens,
            "stream": True,
        }
        if stoker:
            body["stoker"] = stoker
        async with session.post(path, json=body) as answer:
            await answer.read()


async def _get(session: aiohttp.ClientSession, path: str) -> dict[str, Any]:
    async with session.get(path) as answer:
        found: dict[str, Any] = await answer.json()
        return found


async def _post(
    session: aiohttp.ClientSession,
    path: str,
    body: dict[str, Any],
    headers: dict[str, str] | None = None,
) -> dict[str, Any]:
    async with session.post(path, json=body, headers=headers) as answer:
        found: dict[str, Any] = await answer.json()
        return found
