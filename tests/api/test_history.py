"""`GET /v1/fabric/history`: a stretch of the past, or a 400 that says what to write."""

from __future__ import annotations

import pytest

from stoker.api.app import App
from tests.history.conftest import running

pytestmark = pytest.mark.virtual_time


async def test_the_last_hour_is_there_when_nothing_is_said(kit, tmp_path):
    async with running(tmp_path) as (fabric, _):
        reply = await kit.caller(App(fabric))("GET", "/v1/fabric/history")

        assert reply.status == 200
        assert reply.json["until"] - reply.json["since"] == pytest.approx(3600, abs=1)
        assert reply.json["engines"] == {}


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("since=yesterday", "since"),
        ("until=nan", "until"),
        ("since=1h&until=2h", "since"),
        ("since=90d&step=10", "step"),
        ("step=-1", "step"),
        ("engine=other", "engine"),
        ("series=" + ",".join(["p0."] * 101), "series"),
        ("since=1e300", "since"),
    ],
)
async def test_a_wrong_query_is_named(kit, tmp_path, query, param):
    async with running(tmp_path) as (fabric, _):
        reply = await kit.caller(App(fabric))("GET", f"/v1/fabric/history?{query}")

        assert reply.status == 400
        assert reply.error["param"] == param


async def test_without_a_history_it_is_not_found(kit):
    async with kit.house() as house:
        reply = await house.call("GET", "/v1/fabric/history")

    assert reply.status == 404
    assert "history.enabled" in reply.error["message"]
