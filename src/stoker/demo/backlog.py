"""The P2 side of the workload: documents become durable jobs, and their results are awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from itertools import islice

from stoker.client import Client
from stoker.core.errors import StokerError
from stoker.core.work import JobId
from stoker.demo import script
from stoker.demo.documents import Document
from stoker.demo.journal import Answer, Group, Journal
from stoker.ports import Clock

_LOOK_EVERY_S = 0.5


class Backlog:
    """Use it as `async with backlog.open():`; leaving the block stops waiting, not the jobs."""

    def __init__(
        self, client: Client, documents: list[Document], journal: Journal, clock: Clock
    ) -> None:
        self._client = client
        self._round = len(documents)
        self._summaries = script.summaries(documents)
        self._journal = journal
        self._clock = clock
        self._tasks: asyncio.TaskGroup | None = None
        self._waiters: list[asyncio.Task[None]] = []
        self._has_end = asyncio.Event()

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Results are awaited while the block runs."""
        async with asyncio.TaskGroup() as self._tasks:
            try:
                yield
            finally:
                for waiter in self._waiters:
                    waiter.cancel()

    async def feed(self, seconds: float) -> None:
        """Enqueue every document; on an engine that is soon through, go on with new questions."""
        until = self._clock.monotonic() + seconds
        journal = self._journal
        while self._clock.monotonic() < until:
            left = len(journal.jobs) - len(journal.of(Group.DOCUMENTS))
            if 2 * left < self._round:
                await self._enqueue_round()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def first_end(self, timeout_s: float) -> None:
        """Return when a job has ended, one way or the other, or after `timeout_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._has_end.wait()

    async def _enqueue_round(self) -> None:
        assert self._tasks is not None, "feed() is for inside the block"
        for name, body in islice(self._summaries, self._round):
            try:
                id = await self._client.enqueue_p2(body)
            except StokerError as error:
                self._journal.failures.append(f"enqueueing {name}: {error}")
                return
            self._journal.jobs[id] = name
            self._waiters.append(self._tasks.create_task(self._await(id, name), name=id))

    async def _await(self, id: JobId, name: str) -> None:
        journal, began_at = self._journal, self._clock.monotonic()
        try:
            result = await self._client.await_job(id)
        except StokerError as error:
            journal.failures.append(f"job {id} ({name}): {error}")
        else:
            usage = result.get("usage") or {}
            journal.answers.append(
                Answer(
                    group=Group.DOCUMENTS,
                    ttft_s=None,
                    e2e_s=self._clock.monotonic() - began_at,
                    prompt_tokens=usage.get("prompt_tokens", 0),
                    output_tokens=usage.get("completion_tokens", 0),
                )
            )
            journal.latest = name, str(result["choices"][0]["message"]["content"])
        self._has_end.set()
