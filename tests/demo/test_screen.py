"""The live view at every size, of a real state."""

from __future__ import annotations

import asyncio
import io

import msgspec
import pytest
from rich.console import Console

from stoker.api.state import state_document
from stoker.api.wire import encode
from stoker.config import Config
from stoker.core.work import JobId
from stoker.demo.journal import Answer, Group, Journal
from stoker.demo.screen import Screen, plain_line
from stoker.demo.watch import Watch
from stoker.fabric import Fabric
from stoker.testing.fake_engine import FakeEngine
from stoker.testing.job_store import InMemoryJobStore
from stoker.testing.virtual_time import VirtualClock

pytestmark = pytest.mark.virtual_time


@pytest.fixture
async def screen():
    """Ten jobs wait while a lease holds the box."""
    journal = Journal(latest=("csv", "It reads\ncomma separated values."), mixed_since=0.0)
    journal.jobs = {JobId(f"job_{number}"): f"doc {number}" for number in range(10)}
    journal.answers = [
        Answer(Group.ALONE, 9.0, 9.0, 10, 10),
        Answer(Group.LEASED, 0.25, 1.0, 10, 10),
        *[Answer(Group.DOCUMENTS, None, 1.0, 100, 20)] * 3,
    ]
    clock = VirtualClock()
    async with Fabric.assemble(
        Config(), engine=FakeEngine(), store=InMemoryJobStore(), clock=clock
    ) as fabric:
        await fabric.wait_ready()
        await fabric.allocate_p0_priority(30)
        for _ in range(10):
            await fabric.enqueue_p2({"prompt": "x"})
        await asyncio.sleep(3)
        watch = Watch(None, journal)
        watch.state = msgspec.json.decode(encode(state_document(fabric.snapshot())))
        for second in range(30):
            watch.notes.take({"kind": "LeaseGranted", "at": float(second), "expires_at": 60.0})
        yield Screen("http://127.0.0.1:1", journal, watch, clock, phase="mixed", ends_at=50.0)


def drawn(screen, width, height):
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(screen, height=height)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize(("width", "height"), [(40, 10), (80, 24), (100, 30), (200, 60)])
async def test_it_fills_any_terminal_and_no_more(screen, width, height):
    lines = drawn(screen, width, height)

    assert len(lines) == height
    assert {len(line) for line in lines} == {width}


async def test_it_says_what_happens_and_why(screen):
    text = "\n".join(drawn(screen, 100, 30))

    assert "http://127.0.0.1:1" in text
    assert "P0 LEASE  27 s left" in text
    assert "3 of 10" in text
    assert "p2 waits: interactive work holds the box" in text
    assert "p1 waits" not in text
    assert "It reads comma separated values." in text
    [p0] = [line.split() for line in text.splitlines() if "P0 interactive" in line]
    assert p0[3:10] == ["0", "0", "1", "250", "ms", "250", "ms"]  # P0 alone is not mixed in


async def test_before_the_first_look_it_says_what_it_waits_for(screen):
    screen.watch.state, screen.phase, screen.ends_at = None, "starting the engine", None

    assert "starting the engine" in "\n".join(drawn(screen, 80, 24))
    assert plain_line(screen, 1.0) == "    1 s  starting the engine"


async def test_without_a_terminal_a_line_has_the_same_facts(screen):
    line = plain_line(screen, 12.0)

    assert line.startswith("   12 s  mixed · p0 0 running")
    assert line.endswith("documents 3/10 · p2 waits: interactive work holds the box")
