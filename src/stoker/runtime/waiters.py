"""Tell me when this job is done: wakes at once in this process, and also works after the fact.

The store is the truth. A wake-up only says *look again*; a slow poll is the backstop for jobs
that another process finishes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from stoker.core.work import JobId
from stoker.ports import Clock, Job, JobStore

POLL_S = 2.0


class Waiters:
    def __init__(self, store: JobStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._waiting: dict[JobId, list[asyncio.Event]] = {}
        self._watchers: list[Callable[[Iterable[JobId]], None]] = []

    def on_change(self, watcher: Callable[[Iterable[JobId]], None]) -> None:
        """Tell it the ids of all jobs that change, for somebody who waits for many."""
        self._watchers.append(watcher)

    async def wait(self, id: JobId, timeout_s: float | None) -> Job:
        """The job's row once it is final, or as it is after `timeout_s`. Raises `NotFound`."""
        event = asyncio.Event()
        self._waiting.setdefault(id, []).append(event)
        deadline = None if timeout_s is None else self._clock.monotonic() + timeout_s
        try:
            while True:
                event.clear()  # before looking: what happens after the look must wake us
                job = await self._store.get(id)
                left_s = POLL_S if deadline is None else deadline - self._clock.monotonic()
                if job.state.is_final or left_s <= 0:
                    return job
                await _set_within(event, min(POLL_S, left_s))
        finally:
            events = self._waiting[id]
            events.remove(event)
            if not events:
                del self._waiting[id]

    def wake(self, ids: Iterable[JobId]) -> None:
        """These jobs have changed."""
        ids = tuple(ids)
        for watcher in self._watchers:
            watcher(ids)
        for id in ids:
            for event in self._waiting.get(id, ()):
                event.set()


async def _set_within(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return
