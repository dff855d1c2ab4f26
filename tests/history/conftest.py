"""A fabric in virtual time that keeps its history in a real file."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, asynccontextmanager

from stoker.config import Config, HistoryConfig, ServerConfig
from stoker.core.policy import Policy
from stoker.fabric import Fabric
from stoker.history.file import HISTORY_FILE, SCHEMA, HistoryFile
from stoker.store.database import reader_session
from stoker.store.lanes import Ticket
from stoker.store.transactions import group_commit, one_by_one
from stoker.testing.fake_engine import FakeEngine
from stoker.testing.job_store import InMemoryJobStore
from stoker.testing.virtual_time import VirtualClock

POLICY = Policy(ramp_s=0.0, p0_linger_s=1.0, p0_reserved_slots=1, p1_reserved_slots=0)


def a_config(folder, **history):
    return Config(
        data=folder,
        policy=POLICY,
        server=ServerConfig(drain_timeout_s=5.0),
        history=HistoryConfig(**history),
    )


class HereLane:
    """A lane without a thread of its own, which virtual time would not wait for."""

    def __init__(self, session, serve):
        self._session, self._serve = session, serve
        self._stack = ExitStack()
        self._connection = None

    async def start(self):
        self._connection = self._stack.enter_context(self._session())

    async def submit(self, operation):
        loop = asyncio.get_running_loop()
        ticket = Ticket(operation, loop, loop.create_future())
        self._serve(self._connection, [ticket])
        ticket.settle()
        return await ticket.future

    async def stop(self):
        self._stack.close()


class FileHere(HistoryFile):
    """A history file whose statements run in the caller's thread."""

    def _start_lanes(self):
        path = self.path
        self._writer = HereLane(self._session, group_commit(path, SCHEMA.label))
        self._reader = HereLane(
            lambda: reader_session(path, SCHEMA, 1.0), one_by_one(path, SCHEMA.label)
        )


def a_file(folder, *, max_bytes=64 * 2**20, retention_s=60 * 86400.0):
    return FileHere(folder / HISTORY_FILE, max_bytes=max_bytes, retention_s=retention_s)


@asynccontextmanager
async def running(folder, *, store=None, file=None, **knobs):
    config = a_config(folder)
    engine = FakeEngine(**{"slots": 4, "natural_tokens": 20, **knobs})
    async with Fabric.assemble(
        config,
        engine=engine,
        store=store or InMemoryJobStore(),
        clock=VirtualClock(),
        history=file or a_file(folder),
    ) as fabric:
        await fabric.wait_ready()
        yield fabric, engine
