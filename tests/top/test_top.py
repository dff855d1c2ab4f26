"""`stoker top`: what a frame shows of a real service, and what its keys do."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import signal
from contextlib import asynccontextmanager, suppress

import pytest
from rich.console import Console

from stoker.api.serve import bind, listening
from stoker.client import Client
from stoker.config import Config, ServerConfig
from stoker.core.policy import Policy
from stoker.fabric import Fabric
from stoker.runtime.clock import SystemClock
from stoker.testing.fake_engine import FakeEngine, FakeTiming
from stoker.testing.job_store import InMemoryJobStore
from stoker.top.frame import frame
from stoker.top.keyboard import keys_of
from stoker.top.run import Keys, look, once
from stoker.top.view import View
from tests.e2e.service import STOKER, clean_environment, until

SLOW = FakeTiming(prefill_s_per_token=0.0, decode_s=0.05)
PROMPT = {"prompt": "x", "max_tokens": 1000}
CHAT = {"messages": [{"role": "user", "content": "hello"}]}


@asynccontextmanager
async def serving(sock=None, **engines):
    knobs = {"slots": 2, "natural_tokens": 1000, "timing": SLOW}
    policy = Policy(p0_linger_s=0.0, ramp_s=0.0, p0_reserved_slots=0, p1_reserved_slots=0)
    async with (
        Fabric.assemble(
            Config(policy=policy, server=ServerConfig(drain_timeout_s=0.1)),
            engine=FakeEngine(**{**knobs, **engines}),
            store=InMemoryJobStore(),
            clock=SystemClock(),
        ) as fabric,
        listening(fabric, sock=sock, port=0) as url,
        Client(url) as client,
    ):
        await fabric.wait_ready()
        yield fabric, client, View(url)


def text_of(view, width=80, height=40):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(frame(view, height=height))
    return console.export_text()


async def waiting_jobs(client, count):
    for _ in range(count):
        await client.enqueue_p2(PROMPT)

    async def are_seen():
        counts = (await client.state())["jobs"]
        return counts["running"] + counts["available"] >= count

    await until(are_seen)


async def test_a_frame_has_every_class_the_kv_cache_the_host_and_the_jobs():
    async with serving() as (_, client, view):
        await waiting_jobs(client, 5)
        await look(client, view)
        shown = text_of(view)

    for part in ("P0", "P1", "P2", "KV cache", "host RAM", "guard ok", "Jobs", "fake · ready"):
        assert part in shown, part
    assert shown.count("job_") == 5
    assert max(map(len, shown.splitlines())) <= 80


async def test_a_small_terminal_gets_no_more_lines_than_it_has():
    async with serving() as (_, client, view):
        await waiting_jobs(client, 30)
        await look(client, view)
        shown = text_of(view, height=24)

    assert len(shown.splitlines()) <= 24
    assert "q quit" in shown


async def test_the_key_l_takes_a_lease_and_r_gives_it_back():
    async with serving() as (fabric, client, view):
        keys = Keys(client, view, lease_s=20)
        assert await keys.press("l")
        taken = fabric.leases()
        await look(client, view)
        shown = text_of(view)
        await keys.press("r")

        assert len(taken) == 1
        assert "P0 lease 20 s" in shown or "P0 lease 19 s" in shown
        assert fabric.leases() == []
        assert view.message == "1 released"


async def test_a_job_is_cancelled_only_after_it_was_confirmed():
    async with serving() as (_, client, view):
        await waiting_jobs(client, 4)
        await look(client, view)
        keys = Keys(client, view, lease_s=20)
        await keys.press("down")
        id = view.job["job_id"]
        await keys.press("c")
        await keys.press("n")
        kept = (await client.get_job(id))["status"]
        await keys.press("c")
        await keys.press("y")

        async def is_cancelled():
            return (await client.get_job(id))["status"] == "cancelled"

        assert kept in ("running", "available")
        await until(is_cancelled)


async def test_reasons_are_told_as_they_are_given():
    async with serving() as (_, client, view):
        await look(client, view)
        tasks = [asyncio.create_task(ask(client)) for _ in range(4)]

        async def has_told():
            await look(client, view)
            return bool(view.told)

        await until(has_told)
        shown = text_of(view)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    assert "Latest reasons" in shown
    assert {told.priority for told in view.told} == {"p1"}


async def ask(client):
    return await client.run_p1(CHAT)


async def test_a_service_that_is_restarted_is_found_again_and_counted_from_nothing():
    with bind("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        async with serving(sock) as (_, _, view), Client(view.url) as client:
            await look(client, view)
    async with Client(view.url) as client:
        await look(client, view)
        away = text_of(view)
        with bind("127.0.0.1", port) as sock:
            async with serving(sock):
                await look(client, view)
                back = text_of(view)

    assert "no answer, trying again" in away
    assert "fake · ready" in away, "the last state stays"
    assert "no answer" not in back
    assert not view.told


async def test_one_frame_is_printed_for_scripts_and_away_is_said():
    console = Console(width=80, record=True, file=io.StringIO())
    async with serving() as (_, client, view):
        is_there = await once(client, view, console)
    async with Client(view.url) as client:
        is_gone = not await once(client, View(view.url), console)

    assert (is_there, is_gone) == (True, True)
    assert "q quit" not in console.export_text()


def test_arrows_are_one_key_and_letters_are_themselves():
    assert list(keys_of(b"a\x1b[A\x1b[Bq")) == ["a", "up", "down", "q"]


@pytest.mark.slow
async def test_in_a_real_terminal_it_draws_listens_and_leaves_the_terminal_as_it_was(tmp_path):
    async with serving() as (fabric, _, view):
        main, side = pty.openpty()
        os.set_blocking(main, False)
        process = await asyncio.create_subprocess_exec(
            STOKER, "top", "--url", view.url, "--every", "0.2", stdin=side, stdout=side,
            stderr=side, env={**clean_environment(tmp_path), "TERM": "xterm-256color"},
        )  # fmt: skip
        os.close(side)
        screen = bytearray()

        async def drawn(text):
            async def is_there():
                with suppress(BlockingIOError):
                    screen.extend(os.read(main, 65536))
                return text in screen

            await until(is_there)

        try:
            await drawn(b"q quit")
            os.write(main, b"l")
            await drawn(b"people have the box")
            assert len(fabric.leases()) == 1
            os.write(main, b"q")
            await drawn(b"\x1b[?1049l")  # the screen from before is back
            assert await asyncio.wait_for(process.wait(), 10) == 0
        finally:
            os.close(main)
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
                await process.wait()
