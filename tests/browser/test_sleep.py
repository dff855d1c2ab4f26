"""What sleeps comes back by itself: the service's machine, the way to it, or the page's laptop.

While it is cut off the page says so. Afterwards its charts have a gap where the service itself saw
nothing, and none where only the page did not look.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager, suppress

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.asyncio]

ASLEEP_S = 26.0
"""Longer than the few rows that each frame of the stream repeats."""
CUT_OFF = ("ERR_INTERNET_DISCONNECTED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_NETWORK_CHANGED")


class Wire:
    """Between page and service. Cut, it passes nothing on and closes nothing: a dead WLAN."""

    def __init__(self, url):
        self._port = int(url.rpartition(":")[2])
        self._is_cut = False
        self._passing = set()

    @asynccontextmanager
    async def up(self):
        server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for task in self._passing:
                task.cancel()
            await asyncio.gather(*self._passing)

    @asynccontextmanager
    async def cut(self):
        self._is_cut = True
        yield
        self._is_cut = False

    async def _pass(self, reader, writer):
        task = asyncio.current_task()
        self._passing.add(task)
        with suppress(OSError, asyncio.CancelledError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                async with asyncio.TaskGroup() as ways:
                    ways.create_task(self._copy(reader, far_writer))
                    ways.create_task(self._copy(far_reader, writer))
            except* OSError:
                pass
            finally:
                far_writer.close()
        writer.close()
        self._passing.discard(task)

    async def _copy(self, reader, writer):
        while data := await reader.read(65536):
            if self._is_cut:
                await asyncio.Event().wait()  # what was under way is lost for good
            writer.write(data)
            await writer.drain()
        raise OSError("one end has gone")


@asynccontextmanager
async def watching(kit, folder):
    """A ready service, a live page of it with two rows or more, and the wire between them."""
    async with (
        kit.engine("--slots", "4") as engine,
        kit.service(folder, "--engine", engine, "--kind", "vllm").running() as service,
        kit.browser() as browser,
    ):
        await service.wait_ready()
        wire = Wire(service.url)
        async with wire.up() as url, kit.page(browser, url) as seen:
            await seen.wait_live()
            await asyncio.sleep(11)
            yield service, seen, wire


async def rows(seen):
    """The times of the chart's rows, and whether each is one of the service or a gap."""
    return await seen.page.evaluate(
        """async () => {
          const { history } = await import("./dashboard/app.js");
          const [times, ready] = history.table("default", 0, [(get) => get("is_ready")]);
          return times.map((time, index) => [time, ready[index] !== null]);
        }"""
    )


async def shown_at(seen):
    """When what the page shows was so, by the service's clock."""
    return float(await seen.page.get_attribute("body", "data-at"))


async def is_stale(seen):
    """Whether it says so, to eyes and to screen readers."""
    return (
        await seen.text("#live") == "connection lost, trying again"
        and await seen.page.get_attribute("#live", "role") == "status"
        and float(await seen.page.eval_on_selector("main", "one => getComputedStyle(one).opacity"))
        < 1
    )


def gaps(found):
    return [time for time, is_row in found if not is_row]


async def test_a_service_that_slept_leaves_a_gap_and_the_page_says_so_meanwhile(kit, tmp_path):
    async with watching(kit, tmp_path) as (service, seen, _):
        before = await rows(seen)
        os.kill(service.pid, signal.SIGSTOP)
        try:
            await seen.page.wait_for_selector("#live[data-state=lost]", timeout=15_000)
            assert await is_stale(seen)
            stopped_at = await shown_at(seen)
            await asyncio.sleep(ASLEEP_S)
            assert await is_stale(seen)
            assert await shown_at(seen) == stopped_at, "nothing is made up"
        finally:
            os.kill(service.pid, signal.SIGCONT)

        await seen.wait_live()
        await asyncio.sleep(8)
        after = await rows(seen)

        assert len(gaps(after)) == 1
        assert after[: len(before)] == before
        [gap] = gaps(after)
        woken = [time for time, is_row in after if is_row and time > gap]
        assert woken, "and it goes on"
        assert woken[0] - stopped_at > ASLEEP_S
        assert await shown_at(seen) > woken[0] - 1


async def test_a_page_that_was_cut_off_says_so_and_then_has_all_that_it_missed(kit, tmp_path):
    async with watching(kit, tmp_path) as (_, seen, wire):
        seen.expected = CUT_OFF
        async with wire.cut():
            await seen.page.context.set_offline(True)
            await seen.page.wait_for_selector("#live[data-state=lost]", timeout=15_000)
            assert await is_stale(seen)
            cut_off_at = await shown_at(seen)
            await asyncio.sleep(ASLEEP_S)
            assert await is_stale(seen)
            assert await shown_at(seen) == cut_off_at
        await seen.page.context.set_offline(False)

        await seen.page.wait_for_selector("#live[data-state=live]", timeout=8_000)
        await asyncio.sleep(2)

        assert gaps(await rows(seen)) == []
        assert await shown_at(seen) - cut_off_at > ASLEEP_S


async def processes_of(browser):
    """Chromium's own: the browser, its pages, its network."""
    tools = await browser.new_browser_cdp_session()
    found = (await tools.send("SystemInfo.getProcessInfo"))["processInfo"]
    return [one["id"] for one in found]


async def test_a_laptop_that_slept_shows_what_is_now_and_all_between(kit, tmp_path):
    async with watching(kit, tmp_path) as (_, seen, _):
        pids = await processes_of(seen.page.context.browser)
        slept_at = await shown_at(seen)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(ASLEEP_S)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

        await asyncio.sleep(6)
        found = await rows(seen)

        assert await seen.page.get_attribute("#live", "data-state") == "live"
        assert await shown_at(seen) - slept_at > ASLEEP_S
        assert gaps(found) == []
        assert found[-1][0] > slept_at + ASLEEP_S - 6


async def test_a_page_that_wakes_does_not_take_its_silent_connection_for_live(kit, tmp_path):
    """In a sleep only the wall clock goes on, and the connection has died unnoticed."""
    async with watching(kit, tmp_path) as (_, seen, wire):
        async with wire.cut():
            await seen.page.evaluate("const now = Date.now; Date.now = () => now() + 3_600_000")
            await seen.page.wait_for_selector("#live[data-state=lost]", timeout=6_000)
            assert await is_stale(seen)

        await seen.wait_live()
        await asyncio.sleep(2)
        assert gaps(await rows(seen)) == []
