"""One look for all viewers: what a frame has, and that nobody costs more than a send."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack
from itertools import pairwise

import pytest

from stoker.core.errors import Rejected
from stoker.dashboard.live import LOOK_EVERY_S, VIEWERS_MAX
from stoker.trends import EVERY_S

pytestmark = pytest.mark.virtual_time

HELLO = {"messages": [{"role": "user", "content": "hello"}]}


def kinds(items):
    return [item["kind"] for item in items]


async def test_a_viewer_is_given_the_history_and_then_snapshots(kit):
    async with kit.watched() as house:
        house.live.look()
        with house.live.watching():
            frames = house.live.frames()
            first, history = kit.read(await anext(frames))
            waiting = asyncio.ensure_future(anext(frames))
            await asyncio.sleep(0)
            house.live.look()
            second, snapshot = kit.read(await waiting)

    assert (first, second) == ("history", "snapshot")
    assert [len(row) for row in history["rows"]["default"]] == [len(history["columns"]) + 1]
    assert snapshot["rows"]["default"] == history["rows"]["default"]


async def test_a_frame_says_what_the_state_says(kit):
    async with kit.watched() as house:
        await house.fabric.run_p1(HELLO)
        with house.live.watching():
            frames = house.live.frames()
            await anext(frames)
            waiting = asyncio.ensure_future(anext(frames))
            await asyncio.sleep(0)
            house.live.look()
            _, snapshot = kit.read(await waiting)
            _, _, body = await house.get("/v1/fabric/state")

    state = json.loads(body)
    assert snapshot["state"] == {name: state[name] for name in snapshot["state"]}
    assert snapshot["state"]["engines"]["default"]["meters"]["p1"]["completed"] == 1


async def test_all_viewers_are_sent_the_very_same_bytes(kit):
    async with kit.watched() as house:
        with house.live.watching(), house.live.watching():
            one, other = house.live.frames(), house.live.frames()
            await anext(one)
            await anext(other)
            waiting = [asyncio.ensure_future(anext(frames)) for frames in (one, other)]
            await asyncio.sleep(0)
            house.live.look()
            frames = await asyncio.gather(*waiting)

    assert frames[0] is frames[1]


async def test_a_viewer_that_was_busy_is_given_the_latest_frame_only(kit):
    async with kit.watched() as house:
        with house.live.watching():
            frames = house.live.frames()
            await anext(frames)
            waiting = asyncio.ensure_future(anext(frames))
            await asyncio.sleep(0)
            for _ in range(5):
                await asyncio.sleep(LOOK_EVERY_S)
                house.live.look()
            _, seen = kit.read(await waiting)
            now = house.fabric.clock.wall()

    assert seen["at"] == pytest.approx(now)


async def test_it_looks_every_second_while_somebody_watches_and_seldom_otherwise(kit):
    async with kit.watched() as house:
        loop = asyncio.ensure_future(house.dashboard.run())
        await asyncio.sleep(10 * EVERY_S)
        alone = len(house.live.trends.rows()["default"])
        with house.live.watching():
            frames = house.live.frames()
            await anext(frames)
            before = house.fabric.clock.monotonic()
            for _ in range(10):
                await anext(frames)
            took_s = house.fabric.clock.monotonic() - before
        loop.cancel()

    assert alone == pytest.approx(10, abs=1)
    assert took_s == pytest.approx(10 * LOOK_EVERY_S, abs=LOOK_EVERY_S)


async def test_more_pages_than_can_be_served_are_told_so(kit):
    async with kit.watched() as house:
        with ExitStack() as viewers:
            for _ in range(VIEWERS_MAX):
                viewers.enter_context(house.live.watching())
            with pytest.raises(Rejected):
                viewers.enter_context(house.live.watching())
            status, headers, _ = await house.get("/v1/fabric/live")
        with house.live.watching():
            pass  # those who have left make room

    assert (status, headers["x-stoker-reason"]) == (429, "queue_full")


async def test_the_feed_tells_of_a_preemption_its_resume_and_the_lease_behind_it(kit):
    async with kit.watched(natural_tokens=400, slots=1) as house:
        await house.fabric.enqueue_p2({**HELLO, "max_tokens": 400})
        await asyncio.sleep(2.0)
        lease = await house.fabric.allocate_p0_priority(5)
        await asyncio.sleep(2.0)
        await lease.release()
        await asyncio.sleep(2.0)
        house.live.look()
        _, history = kit.read(await anext(house.live.frames()))

    told = [kind for kind in kinds(history["feed"]) if kind != "waits"]
    assert told == ["preempted", "lease", "lease", "resumed"]
    preempted = next(item for item in history["feed"] if item["kind"] == "preempted")
    assert preempted["priority"] == "p2"
    assert preempted["text"].endswith("a P0 lease was taken")


async def test_the_feed_tells_of_refusals_with_their_reason(kit):
    async with kit.watched() as house:
        with pytest.raises(Rejected):
            await house.fabric.run_p1({"prompt": "x" * 5_000_000})
        house.live.look()
        _, history = kit.read(await anext(house.live.frames()))

    [refused] = [item for item in history["feed"] if item["kind"] == "refused"]
    assert (refused["priority"], refused["reason"]) == ("p1", "exceeds_capacity")


async def test_the_feed_tells_that_an_engine_went_and_came_back(kit):
    async with kit.watched() as house:
        house.engine.die()
        await asyncio.sleep(30)
        house.live.look()
        _, history = kit.read(await anext(house.live.frames()))

    engine = [item["text"] for item in history["feed"] if item["kind"] == "engine"]
    assert engine[0].startswith("is down: ")


async def test_a_moved_ceiling_is_told_with_the_step_that_moved_it(kit):
    async with kit.watched(slots=64, natural_tokens=40) as house:
        for number in range(200):
            await house.fabric.enqueue_p2({**HELLO, "stoker": {"family": str(number % 3)}})
        await asyncio.sleep(20)
        house.live.look()
        _, history = kit.read(await anext(house.live.frames()))

    moves = [move for move in history["moves"] if move["priority"] == "p2"]
    assert moves[0]["is_first"]
    assert all(one["after"] == other["before"] for one, other in pairwise(moves))
    assert len(moves) > 1
