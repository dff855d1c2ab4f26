"""The HTTP surface on a real fabric with a scripted engine: in process, or on a real socket."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import aiohttp
import pytest

from stoker.api.app import App
from stoker.api.serve import listening
from stoker.config import Config, JobsConfig, ServerConfig
from stoker.core.policy import Policy
from stoker.fabric import Fabric
from stoker.runtime.clock import SystemClock
from stoker.testing.fake_engine import FakeEngine, FakeTiming
from stoker.testing.job_store import InMemoryJobStore
from stoker.testing.virtual_time import VirtualClock

FAST = FakeTiming(prefill_s_per_token=0.0, decode_s=0.0005, decode_s_per_sequence=0.0)


def a_config(server=None, **policy):
    quick = {"ramp_s": 0.0, "p0_linger_s": 0.0, "p0_reserved_slots": 0, "p1_reserved_slots": 0}
    return Config(
        policy=Policy(**{**quick, **policy}),
        server=ServerConfig(
            **{"body_max_bytes": 100_000, "drain_timeout_s": 2.0, **(server or {})}
        ),
        jobs=JobsConfig(first_delay_s=0.01, max_attempts=2),
    )


class Reply:
    """What an ASGI application sent."""

    def __init__(self):
        self.status = None
        self.headers = {}
        self.chunks = []
        self.is_complete = False

    @property
    def body(self):
        return b"".join(self.chunks)

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]

    async def send(self, message):
        if message["type"] == "http.response.start":
            assert self.status is None, "started twice"
            self.status = message["status"]
            self.headers = {key.decode(): value.decode() for key, value in message["headers"]}
        else:
            assert self.status is not None, "a body before the start"
            assert not self.is_complete, "a body after the end"
            self.chunks.append(message.get("body", b""))
            self.is_complete = not message.get("more_body", False)


class Caller:
    """A client in this process. A call can hang up at any time."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, method, path, body=None, *, headers=None, hang_up=None):
        reply = Reply()
        await self.into(reply, method, path, body, headers=headers, hang_up=hang_up)
        return reply

    async def into(self, reply, method, path, body=None, *, headers=None, hang_up=None):
        path, _, query = path.partition("?")
        raw = body if isinstance(body, bytes) else json.dumps(body).encode() if body else b""
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()],
        }
        messages = iter([{"type": "http.request", "body": raw, "more_body": False}])

        async def receive():
            for message in messages:
                return message
            await (hang_up.wait() if hang_up else asyncio.Event().wait())
            return {"type": "http.disconnect"}

        await self.app(scope, receive, reply.send)


class House:
    """One fabric, its engine, and a caller."""

    def __init__(self, fabric, engine, keys=None):
        self.fabric = fabric
        self.engine = engine
        self.app = App(fabric, keys)
        self.call = Caller(self.app)

    @property
    def running(self):
        return sum(view.running for view in self.fabric.snapshot().scheduler.classes.values())

    @property
    def waiting(self):
        return sum(view.waiting for view in self.fabric.snapshot().scheduler.classes.values())


@asynccontextmanager
async def a_house(config=None, *, clock=None, host=None, keys=None, **knobs):
    engine = FakeEngine(**{"slots": 2, "natural_tokens": 8, **knobs})
    async with Fabric.assemble(
        config or a_config(),
        engine=engine,
        store=InMemoryJobStore(),
        clock=clock or VirtualClock(),
        host=host,
    ) as fabric:
        await fabric.wait_ready()
        yield House(fabric, engine, keys)


@asynccontextmanager
async def a_server(config=None, **knobs):
    """A house on a real socket, and a real HTTP session."""
    async with (
        a_house(config, clock=SystemClock(), **{"timing": FAST, **knobs}) as house,
        listening(house.fabric, port=0) as url,
        aiohttp.ClientSession(url) as session,
    ):
        house.url, house.session = url, session
        yield house


def a_house_now(config, **knobs):
    """A house on the real clock, without a socket."""
    return a_house(config, clock=SystemClock(), **knobs)


async def until(condition, timeout_s=5.0):
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is awaited is not ours to signal
            await asyncio.sleep(0.005)


@pytest.fixture
def chat():
    def build(text="hello", **fields):
        return {"messages": [{"role": "user", "content": text}], **fields}

    return build


@pytest.fixture
def kit():
    """The helpers above; test modules cannot import one another."""

    class Kit:
        house = staticmethod(a_house)
        house_now = staticmethod(a_house_now)
        server = staticmethod(a_server)
        config = staticmethod(a_config)
        until = staticmethod(until)
        reply = Reply
        caller = Caller

    return Kit
