"""A thread that owns one SQLite connection and serves asyncio callers in order of arrival.

The event loop only puts a ticket into a queue and awaits a future. Whatever waits when the thread
comes round is served as one group; what a group means (one transaction, or one by one) is the
caller's `serve`.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from stoker.core.errors import StoreError

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]


@dataclass(slots=True)
class Ticket(Generic[T]):
    """One operation, who waits for it, and its answer once it has one."""

    operation: Operation[T]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[T]
    value: T | None = None
    error: Exception | None = None

    def settle(self) -> None:
        """Wake the caller; on its own loop. One who was cancelled is not there any more."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(cast("T", self.value))


Session = Callable[[], AbstractContextManager[sqlite3.Connection]]
Serve = Callable[[sqlite3.Connection, Sequence[Ticket[Any]]], None]


class Lane:
    """Runs operations on one connection, in its own thread."""

    def __init__(self, name: str, session: Session, serve: Serve, *, group_max: int) -> None:
        self._name = name
        self._session = session
        self._serve = serve
        self._group_max = group_max
        self._waiting: queue.SimpleQueue[Ticket[Any] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        """Open the connection, or raise what kept it from opening."""
        opened = _ticket(lambda _: None)
        # A daemon: a program that forgets to close must still be able to exit, and everything that
        # was answered is on the disk.
        self._thread = threading.Thread(
            target=self._run, args=(opened,), name=self._name, daemon=True
        )
        self._thread.start()
        try:
            await opened.future
        except BaseException:
            await self.stop()
            raise

    async def submit(self, operation: Operation[T]) -> T:
        """Run it on the connection and return its answer, or raise its error."""
        if self._thread is None:
            raise StoreError("the store is closed; open it first")
        ticket = _ticket(operation)
        self._waiting.put(ticket)
        return await ticket.future

    async def stop(self) -> None:
        """Serve what waits, close the connection, end the thread."""
        if self._thread is None:
            return
        thread, self._thread = self._thread, None
        self._waiting.put(None)
        # Shielded: a cancelled shutdown must not leave the folder locked by a half-closed store.
        await asyncio.shield(asyncio.to_thread(thread.join))

    def _run(self, opened: Ticket[None]) -> None:
        try:
            with self._session() as connection:
                _settle([opened])
                self._serve_until_stopped(connection)
        except Exception as error:  # noqa: BLE001 - the thread's boundary: the opener is told
            opened.error = error
            _settle([opened])

    def _serve_until_stopped(self, connection: sqlite3.Connection) -> None:
        is_open = True
        while is_open:
            group, is_open = self._next_group()
            # Those who gave up before their turn are not served at all.
            group = [ticket for ticket in group if not ticket.future.cancelled()]
            if group:
                self._serve(connection, group)
                _settle(group)

    def _next_group(self) -> tuple[list[Ticket[Any]], bool]:
        group: list[Ticket[Any]] = []
        ticket = self._waiting.get()
        while ticket is not None:
            group.append(ticket)
            if len(group) == self._group_max:
                return group, True
            try:
                ticket = self._waiting.get_nowait()
            except queue.Empty:
                return group, True
        return group, False


async def start_both(writer: Lane, reader: Lane) -> None:
    """Open a database for writing and for reading, or raise what kept it from opening."""
    await writer.start()  # it makes and migrates what the other one reads
    try:
        await reader.start()
    except BaseException:
        await writer.stop()
        raise


async def stop_both(writer: Lane, reader: Lane) -> None:
    """Close it again, the writer last: the last one to close folds the log back into the file."""
    await reader.stop()
    await writer.stop()


def _ticket(operation: Operation[T]) -> Ticket[T]:
    loop = asyncio.get_running_loop()
    return Ticket(operation, loop, loop.create_future())


def _settle(group: Sequence[Ticket[Any]]) -> None:
    """Wake each loop once for all its callers: one wake-up costs more than a small transaction."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Ticket[Any]]] = {}
    for ticket in group:
        by_loop.setdefault(ticket.loop, []).append(ticket)
    for loop, tickets in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle_here, tickets)
        except RuntimeError:
            # The loop is closed; there is nobody left to tell.
            continue


def _settle_here(tickets: Sequence[Ticket[Any]]) -> None:
    for ticket in tickets:
        ticket.settle()
