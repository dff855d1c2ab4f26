"""Rows of numbers: what they mean, and how many are kept."""

from __future__ import annotations

import asyncio

import pytest

from stoker.trends import COLUMNS, EVERY_S, Trends

pytestmark = pytest.mark.virtual_time

HELLO = {"messages": [{"role": "user", "content": "hello"}]}


def values(row):
    return dict(zip(COLUMNS, row.values, strict=True))


async def test_rates_are_the_tokens_between_two_rows(kit):
    async with kit.watched(natural_tokens=30) as house:
        trends, clock = Trends(), house.fabric.clock
        trends.note(house.fabric.snapshot(), clock.wall())
        before = clock.monotonic()
        await house.fabric.run_p1(HELLO)
        await asyncio.sleep(EVERY_S)
        trends.note(house.fabric.snapshot(), clock.wall())
        seconds = clock.monotonic() - before

    first, second = map(values, trends.rows()["default"])
    assert first["p1_output_tokens_per_s"] is None
    assert second["p1_output_tokens_per_s"] == pytest.approx(30 / seconds, rel=1e-3)
    assert second["p0_output_tokens_per_s"] == second["p2_output_tokens_per_s"] == 0


async def test_streamed_answers_tell_the_time_between_their_tokens(kit):
    async with kit.watched(natural_tokens=30) as house:
        async for _ in house.fabric.run_p0(HELLO):
            pass
        await house.fabric.run_p1(HELLO)
        meters = house.fabric.snapshot().engines["default"].meters

    p0, p1 = (meter for meter in list(meters.values())[:2])
    assert p0.itl_p50_s == pytest.approx(house.engine.timing.decode_s, rel=0.5)
    assert p1.itl_p50_s is None, "it came in one piece"


async def test_only_the_latest_rows_are_kept(kit):
    async with kit.watched() as house:
        trends = Trends(rows_max=3)
        for at in range(5):
            trends.note(house.fabric.snapshot(), float(at))

    assert [row.at for row in trends.rows()["default"]] == [2.0, 3.0, 4.0]
    assert [row.at for row in trends.latest(2)["default"]] == [3.0, 4.0]


async def test_whoever_listens_is_told_of_each_row(kit):
    async with kit.watched() as house:
        trends, heard = Trends(), []
        trends.listen(lambda engine, row: heard.append((engine, row.at)))
        trends.note(house.fabric.snapshot(), 1.0)

    assert heard == [("default", 1.0)]
