"""A service on an engine of two cores' speed, and a workload for it."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from stoker.api.serve import listening
from stoker.client import Client
from stoker.config import Config
from stoker.core.policy import Policy
from stoker.fabric import Fabric
from stoker.runtime.clock import SystemClock
from stoker.testing.fake_engine import FakeEngine, FakeTiming
from stoker.testing.job_store import InMemoryJobStore


@asynccontextmanager
async def a_service(*, slots=8, timing=None, **policy):
    engine = FakeEngine(
        slots=slots,
        natural_tokens=1000,
        timing=timing or FakeTiming(prefill_s_per_token=0.0001, decode_s=0.002),
    )
    config = Config(policy=Policy(**{"ramp_s": 0.1, "p0_linger_s": 0.1, **policy}))
    async with (
        Fabric.assemble(
            config, engine=engine, store=InMemoryJobStore(), clock=SystemClock()
        ) as fabric,
        listening(fabric, port=0) as url,
        Client(url) as client,
    ):
        await fabric.wait_ready()
        yield fabric, client, url


@pytest.fixture
def service():
    return a_service
