"""Follows the service from outside: its state twice a second, its events as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from stoker.client import Client
from stoker.core.errors import StokerError
from stoker.demo.journal import Journal
from stoker.demo.notes import Notes

State = dict[str, Any]

POLL_S = 0.5


class Watch:
    """What the live view shows besides the journal. `run()` is its life."""

    def __init__(self, client: Client, journal: Journal) -> None:
        self.state: State | None = None
        """The newest `/v1/fabric/state`."""
        self.notes = Notes(journal)
        self._client = client
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every look."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Watch until cancelled, or until the service is gone."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._poll(), name="poll state")
            tasks.create_task(self._follow(), name="follow events")

    async def _poll(self) -> None:
        while True:
            try:
                self.state = await self._client.state()
            except StokerError:
                return  # it is shutting down; the journal has what matters
            for listener in self._listeners:
                listener()
            await asyncio.sleep(POLL_S)

    async def _follow(self) -> None:
        try:
            async for event in self._client.events():
                self.notes.take(event)
        except StokerError:
            return
