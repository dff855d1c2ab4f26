"""What metrics show of the memory server: counted as it happens, or now and then in a thread.

Reading any of it costs nothing, however many tiles there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from stoker.core.errors import StoreError
from stoker.core.work import Usage
from stoker.memories.records import Census
from stoker.ports import Clock

CENSUS_EVERY_S = 15.0
_PAUSE_PER_COUNT = 100.0
"""A census takes its time of a processor: with a million tiles, so much longer to the next one."""

log = structlog.get_logger("stoker.memories")


class Counted(Protocol):
    """The store, as far as it is counted."""

    @property
    def changes(self) -> int:
        """How many writes there were; the same number: nothing is different."""

    async def census(self, model: str) -> Census: ...


class Meters:
    """The numbers of one memory server."""

    def __init__(self) -> None:
        self.census: Census | None = None
        """As of the last time that it was taken."""
        self.prompt_tokens = 0
        """Of the answers that were taken over, since the start."""
        self.output_tokens = 0
        self._on_search: list[Callable[[float], None]] = []

    def answered(self, usage: Usage | None) -> None:
        """An answer was taken over."""
        if usage is not None:
            self.prompt_tokens += usage.prompt_tokens
            self.output_tokens += usage.output_tokens

    def on_search(self, callback: Callable[[float], None]) -> None:
        """Tell it how many seconds each search takes."""
        self._on_search.append(callback)

    def searched(self, seconds: float) -> None:
        """A search was answered."""
        for callback in self._on_search:
            callback(seconds)

    async def count(self, store: Counted, clock: Clock, model: Callable[[], str]) -> None:
        """Take the census when something has changed, until cancelled."""
        seen: tuple[int, str] | None = None
        while True:
            began = clock.monotonic()
            now = store.changes, model()
            if now != seen:
                try:
                    self.census = await store.census(now[1])
                    seen = now
                except StoreError as error:  # whoever needs the store says so, too
                    log.warning("memories_not_counted", error=str(error))
            took_s = clock.monotonic() - began
            await asyncio.sleep(max(CENSUS_EVERY_S, _PAUSE_PER_COUNT * took_s))
