"""A closed loop: so many callers, each of whom asks again when answered."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp

from .calls import Answered, Ask, stream

MakeAsk = Callable[[random.Random, bool], Ask]
"""From a source of chance, and whether it is a caller's first, to what is asked."""
AFTER_ERROR_S = 0.5


@asynccontextmanager
async def closed_loop(
    session: aiohttp.ClientSession, url: str, model: str, callers: int, make: MakeAsk, *, seed: int
) -> AsyncIterator[list[Answered]]:
    """Runs until the block ends, then hangs up. Yields all calls so far, running ones included."""
    calls: list[Answered] = []

    async def caller(number: int) -> None:
        chance = random.Random(seed * 1_000_003 + number)
        is_first = True
        while True:
            body = make(chance, is_first).body(model, is_streamed=True)
            call = Answered(time.perf_counter())
            calls.append(call)
            await stream(session, url, body, call)
            is_first = False
            if call.error is not None:
                await asyncio.sleep(AFTER_ERROR_S)

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(caller(number)) for number in range(callers)]
        try:
            yield calls
        finally:
            for task in running:
                task.cancel()
