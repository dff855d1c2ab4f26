"""The workload itself: people, agents and a backlog, all through the HTTP API that anybody uses."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import cycle, islice

from stoker.client import Client, RemoteCall
from stoker.core.errors import NotFound, Rejected, StokerError
from stoker.demo import script
from stoker.demo.backlog import Backlog
from stoker.demo.documents import Document
from stoker.demo.journal import Group, Journal
from stoker.demo.reader import Reader
from stoker.ports import Clock

ALONE_QUESTIONS = 14
ALONE_MAX_S = 15.0
"""On a slow box fewer questions must do; the table says how many they were."""
LEASE_S = 30.0
AGENTS = 2
FIRST_JOB_MAX_S = 45.0
"""A box so slow that no job is done in time gets this much longer for the first one."""
_FEED_SHARE = 0.7
"""Share of the time in which an engine that is quick finds the backlog refilled."""
_PAUSE_AFTER_REFUSAL_S = 1.0


class Workload:
    """Runs once: `alone()`, then `mixed()`. Everything seen goes into the journal."""

    def __init__(
        self,
        client: Client,
        documents: list[Document],
        journal: Journal,
        clock: Clock,
        *,
        seconds: float,
    ) -> None:
        self._client = client
        self._documents = documents
        self._journal = journal
        self._clock = clock
        self._seconds = seconds
        self._backlog = Backlog(client, documents, journal, clock)
        self._questions = script.questions()
        self._agents_running = 0
        self._agents_begun = 0

    async def alone(self) -> None:
        """Measure P0 on the idle box: the reference of the ratios."""
        began_at = self._clock.monotonic()
        for question in islice(self._questions, ALONE_QUESTIONS):
            await self._ask(Group.ALONE, self._client.run_p0(question))
            self._journal.alone_s = self._clock.monotonic() - began_at
            if self._journal.alone_s > min(ALONE_MAX_S, self._seconds):
                break

    async def mixed(self) -> None:
        """Everything at once until the time is up; unfinished jobs stay in the service."""
        journal, began_at = self._journal, self._clock.monotonic()
        journal.mixed_since = began_at
        async with self._backlog.open():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds), asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._backlog.feed(_FEED_SHARE * self._seconds))
                    tasks.create_task(self._people(began_at))
                    for number in range(AGENTS):
                        tasks.create_task(self._agent(number))
            await self._backlog.first_end(FIRST_JOB_MAX_S)
            journal.mixed_s = self._clock.monotonic() - began_at

    # ------------------------------------------------------------------ P1

    async def _agent(self, number: int) -> None:
        """Plan, run a tool, answer with its result; then the next task, without end."""
        for document in cycle(self._documents[number::AGENTS] or self._documents):
            plan = script.plan(document)
            answer = await self._ask_as_agent(plan)
            if answer is None:
                await asyncio.sleep(_PAUSE_AFTER_REFUSAL_S)
                continue
            await asyncio.sleep(script.TOOL_S)
            await self._ask_as_agent(script.act(plan, answer, document))
            await asyncio.sleep(script.TOOL_S)

    async def _ask_as_agent(self, body: script.Json) -> str | None:
        self._agents_begun += 1
        self._agents_running += 1
        try:
            return await self._ask(Group.AGENTS, self._client.run_p1(body))
        finally:
            self._agents_running -= 1

    # ------------------------------------------------------------------ P0

    async def _people(self, began_at: float) -> None:
        """Each visit at its time, or later where the last one took long: people rest, too."""
        rested_at = began_at
        for visit in script.visits(self._seconds):
            start_at = max(began_at + visit.at_s, rested_at)
            await asyncio.sleep(max(0.0, start_at - self._clock.monotonic()))
            if visit.is_leased:
                await self._burst(visit.questions)
            else:
                await self._ask_many(Group.UNLEASED, visit.questions)
            now = self._clock.monotonic()
            rested_at = now + script.REST * (now - start_at)

    async def _burst(self, questions: int) -> None:
        """Somebody starts typing: a chat client takes the lease then, not with the question."""
        try:
            lease = await self._client.allocate_p0_priority(LEASE_S)
        except StokerError as error:
            self._journal.failures.append(f"P0 lease: {error}")
            return
        try:
            await asyncio.sleep(script.TYPING_S)
            await self._ask_many(Group.LEASED, questions)
        finally:
            with suppress(NotFound):  # on a very slow box it has ended by itself
                await lease.release()

    async def _ask_many(self, group: Group, count: int) -> None:
        for question in islice(self._questions, count):
            await self._ask(group, self._client.run_p0(question))

    # ------------------------------------------------------------------ one streamed answer

    async def _ask(self, group: Group, call: RemoteCall) -> str | None:
        """Read one streamed answer as a person would; `None` when there is none."""
        reader, begun = Reader(self._clock), self._agents_begun
        is_beside_agent = self._agents_running > 0
        try:
            async for chunk in call:
                if not reader.has_text:
                    is_beside_agent |= self._agents_begun > begun
                reader.take(chunk)
        except Rejected:
            self._journal.refused[group] += 1
            return None
        except StokerError as error:
            self._journal.failures.append(f"{group.value}: {error}")
            return None
        except asyncio.CancelledError:
            self._journal.cut_off[group] += 1
            raise
        self._journal.answers.append(reader.answer(group, is_beside_agent=is_beside_agent))
        return reader.text
