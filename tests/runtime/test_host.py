"""The host is read as it is; and the fabric gives way when a co-tenant takes its RAM."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import psutil
import pytest

from stoker.config import Config, ServerConfig
from stoker.core.events import HostSample
from stoker.core.host_guard import Level
from stoker.core.jobs import JobState
from stoker.core.policy import Policy
from stoker.core.reasons import Reason
from stoker.core.work import Priority
from stoker.fabric import Fabric
from stoker.runtime.engine_process import EngineProcess
from stoker.runtime.host import Host, psi_full_percent, swap_used_bytes
from stoker.testing.fake_engine import FakeEngine, FakeTiming
from stoker.testing.job_store import InMemoryJobStore
from stoker.testing.virtual_time import VirtualClock

GIB = 2**30


# ---------------------------------------------------------------------------- what is read


def test_pressure_and_swap_are_read_as_the_kernel_writes_them():
    pressure = (
        "some avg10=9.10 avg60=1.00 avg300=0.00 total=5\n"
        "full avg10=7.25 avg60=0.50 avg300=0.00 total=3\n"
    )

    assert psi_full_percent(pressure) == 7.25
    assert psi_full_percent("") is None
    assert swap_used_bytes("MemTotal: 9 kB\nSwapTotal:  100 kB\nSwapFree:  60 kB\n") == 40 * 1024
    assert swap_used_bytes("MemTotal: 9 kB\n") is None


async def test_this_machine_tells_its_ram_and_claims_nothing_about_an_engine_without_address():
    sample = await Host(FakeEngine()).read()

    assert 0 < sample.ram_available_bytes <= sample.ram_total_bytes
    assert sample.engine_rss_bytes is None


@dataclass
class At:
    """An engine of which only the address is known."""

    url: str


@dataclass
class Owned:
    """An engine whose process is ours."""

    pid: int | None


LISTENER = """
import socket, sys
ballast = bytearray(b"x") * 60_000_000
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("up", flush=True)
sys.stdin.read()
"""
PARENT = """
import subprocess, sys
subprocess.run([sys.executable, "-c", sys.argv[2], sys.argv[1]])
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(*arguments: str):
    command = [sys.executable, "-c", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"up\n"
        yield process
        process.stdin.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_engine_is_the_process_that_listens_on_its_loopback_port(host):
    port = free_port()
    with running(LISTENER, str(port)):
        engine = EngineProcess(At(f"http://{host}:{port}"))

        assert engine.may_be_here()
        assert engine.rss_bytes() > 60_000_000

    assert [engine.rss_bytes() for _ in range(3)] == [None] * 3


def test_an_engine_that_is_ours_is_counted_with_its_children():
    with running(PARENT, str(free_port()), LISTENER) as process:
        assert psutil.Process(process.pid).memory_info().rss < 60_000_000

        assert EngineProcess(Owned(process.pid)).rss_bytes() > 60_000_000


def test_an_engine_that_comes_back_elsewhere_is_found_at_once():
    engine = At(f"http://127.0.0.1:{free_port()}")
    process = EngineProcess(engine)
    assert process.rss_bytes() is None

    port = free_port()
    with running(LISTENER, str(port)):
        engine.url = f"http://127.0.0.1:{port}"
        assert process.rss_bytes() > 60_000_000


@pytest.mark.parametrize("url", ["http://gpu-box:8000", "http://192.0.2.7:8000", ""])
def test_an_engine_on_another_host_is_not_looked_for(url):
    process = EngineProcess(At(url))

    assert not process.may_be_here()
    assert process.rss_bytes() is None


def test_a_process_that_is_gone_has_no_ram():
    assert EngineProcess(Owned(None)).rss_bytes() is None
    assert EngineProcess(Owned(os.getpid())).rss_bytes() > 0


# ---------------------------------------------------------------------------- what follows


class ScriptedHost:
    """A host of 128 GB whose `MemAvailable` is a function of time."""

    def __init__(self, available_gib: Callable[[float], float]) -> None:
        self.available_gib = available_gib

    async def read(self) -> HostSample:
        gib = self.available_gib(asyncio.get_running_loop().time())
        return HostSample(
            ram_available_bytes=int(gib * GIB),
            ram_total_bytes=128 * GIB,
            psi_full_percent=0.0,
            engine_rss_bytes=3 * GIB,
        )


def co_tenant(now: float) -> float:
    """From 20 s on it takes 1 GiB a second until 5 GiB are left, and goes at 60 s."""
    if now < 20 or now > 60:
        return 25.0
    return max(5.0, 25.0 - (now - 20))


@pytest.mark.slow
@pytest.mark.virtual_time
async def test_a_growing_co_tenant_makes_background_give_way_and_no_job_is_lost():
    config = Config(
        policy=Policy(ramp_s=6.0, p0_linger_s=1.0), server=ServerConfig(drain_timeout_s=5.0)
    )
    engine = FakeEngine(slots=16, natural_tokens=120, timing=FakeTiming(decode_s=0.5))
    host = ScriptedHost(co_tenant)
    async with Fabric.assemble(
        config, engine=engine, store=InMemoryJobStore(), clock=VirtualClock(), host=host
    ) as fabric:
        await fabric.wait_ready()
        ids = [await fabric.enqueue_p2({"prompt": f"job {number}"}) for number in range(30)]
        seen = await follow(fabric, until_s=59.0)

        levels = [level for level, _ in seen]
        changes = [b for a, b in pairwise(levels) if a is not b]
        assert changes == [Level.HOLD, Level.SHED, Level.HOLD, Level.SPARSE]
        held_at = levels.index(Level.HOLD)
        assert co_tenant(held_at) > 12.0, "it is seen coming, far above the floor"
        shed = [event for event in fabric.log.recent() if event.kind == "Preempt"]
        assert shed
        assert all(b.at - a.at >= 0.9 for a, b in pairwise(shed))
        assert fabric.snapshot().scheduler.classes[Priority.P2].running > 0

        answers = [await fabric.await_job(id, timeout_s=600.0) for id in ids]
        assert {answer["usage"]["completion_tokens"] for answer in answers} == {120}
        jobs = [await fabric.jobs.get(id) for id in ids]
        assert {(job.state, job.attempts) for job in jobs} == {(JobState.COMPLETED, 1)}
        assert sum(job.preemptions for job in jobs) == len(shed)
        assert fabric.snapshot().scheduler.guard.level is Level.OK


@pytest.mark.virtual_time
async def test_p1_waits_with_a_reason_and_p0_is_served_while_the_host_is_short():
    engine = FakeEngine(slots=4, natural_tokens=5)
    async with Fabric.assemble(
        Config(),
        engine=engine,
        store=InMemoryJobStore(),
        clock=VirtualClock(),
        host=ScriptedHost(lambda now: 7.0 if now < 30 else 40.0),
    ) as fabric:
        await fabric.wait_ready()
        async with asyncio.TaskGroup() as tasks:
            agent = tasks.create_task(fabric.run_p1({"prompt": "agent"}).answer())
            await asyncio.sleep(1.0)
            answer = await fabric.run_p0({"prompt": "person"})
            blocked = fabric.snapshot().scheduler.classes[Priority.P1].blocked_by

        assert answer["usage"]["completion_tokens"] == 5
        assert blocked is not None
        assert (blocked.reason, blocked.knob) == (Reason.HOST_RAM_FLOOR, "ram_floor_bytes")
        assert agent.done()


async def follow(fabric: Fabric, *, until_s: float) -> list[tuple[Level, int]]:
    """The guard's level and the background in the engine, each second."""
    seen = []
    while asyncio.get_running_loop().time() < until_s:
        snapshot = fabric.snapshot().scheduler
        seen.append((snapshot.guard.level, snapshot.classes[Priority.P2].running))
        await asyncio.sleep(1.0)
    return seen
