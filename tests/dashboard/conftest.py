"""A dashboard on a real fabric with a scripted engine, called in this process."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import pytest

from stoker.access.key_file import KeyFile
from stoker.api.app import App
from stoker.config import Config
from stoker.core.policy import Policy
from stoker.dashboard.routes import Dashboard
from stoker.fabric import Fabric
from stoker.testing.fake_engine import FakeEngine
from stoker.testing.job_store import InMemoryJobStore
from stoker.testing.virtual_time import VirtualClock


class Watched:
    """A fabric, its dashboard, and requests to it."""

    def __init__(self, fabric, engine, keys):
        self.fabric = fabric
        self.engine = engine
        self.dashboard = Dashboard(fabric)
        self.live = self.dashboard.live
        self.app = App(fabric, keys, self.dashboard.routes)

    async def get(self, path, **headers):
        """Status, headers and body of a whole answer."""
        sent = []

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "root_path": "",
            "query_string": b"",
            "headers": [
                (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
            ],
        }
        await self.app(scope, receive, send)
        found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], found, b"".join(one.get("body", b"") for one in sent[1:])


@asynccontextmanager
async def watched(*, keys=None, **knobs):
    engine = FakeEngine(**{"slots": 2, "natural_tokens": 8, **knobs})
    quick = Policy(ramp_s=0.0, p0_linger_s=0.0, p0_reserved_slots=0, p1_reserved_slots=0)
    async with Fabric.assemble(
        Config(policy=quick), engine=engine, store=InMemoryJobStore(), clock=VirtualClock()
    ) as fabric:
        await fabric.wait_ready()
        yield Watched(fabric, engine, keys)


def read(frame):
    """Name and document of one server-sent event."""
    name, data = frame.decode().split("\n", 1)
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


@pytest.fixture
def kit(tmp_path):
    """The helpers above; test modules cannot import one another."""

    class Kit:
        watched = staticmethod(watched)
        read = staticmethod(read)

        @staticmethod
        def keys():
            return KeyFile(tmp_path)

    return Kit
