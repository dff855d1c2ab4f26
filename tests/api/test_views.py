"""Leases, health, metrics, state, stories and events over HTTP."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from stoker.core.events import HostSample

pytestmark = pytest.mark.virtual_time

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"


async def test_a_lease_is_granted_extended_listed_and_released(kit):
    async with kit.house() as house:
        granted = await house.call("POST", "/v1/p0/lease", {"seconds": 30})
        id = granted.json["lease_id"]
        extended = await house.call("POST", f"/v1/p0/lease/{id}/extend", {"seconds": 60})
        listed = await house.call("GET", "/v1/p0/lease")
        released = await house.call("DELETE", f"/v1/p0/lease/{id}")
        twice = await house.call("DELETE", f"/v1/p0/lease/{id}")

        assert granted.status == 201
        assert granted.json["expires_in_s"] == pytest.approx(30)
        assert extended.json == {"lease_id": id, "expires_in_s": pytest.approx(60)}
        assert [lease["lease_id"] for lease in listed.json["data"]] == [id]
        assert released.status == 204
        assert (twice.status, twice.error["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "body", [{"seconds": -1}, {"seconds": 0}, {"seconds": 99_999}, {"seconds": "x"}, b"{}", b"{"]
)
async def test_a_lease_out_of_bounds_is_refused(kit, body):
    async with kit.house() as house:
        reply = await house.call("POST", "/v1/p0/lease", body)

        assert reply.status == 400
        assert reply.error["param"] == (None if body == b"{" else "seconds")
        assert house.fabric.leases() == []


async def test_too_many_leases_are_a_conflict(kit):
    async with kit.house(kit.config(lease_count_max=1)) as house:
        await house.call("POST", "/v1/p0/lease", {"seconds": 30})
        reply = await house.call("POST", "/v1/p0/lease", {"seconds": 30})

        assert (reply.status, reply.error["code"]) == (409, "too_many_leases")


async def test_healthy_is_not_ready(kit):
    async with kit.house() as house:
        ready = await house.call("GET", "/readyz")
        house.engine.die()
        await asyncio.sleep(30)
        unready = await house.call("GET", "/readyz")
        healthy = await house.call("GET", "/healthz")

        assert (ready.status, ready.json["status"]) == (200, "ready")
        assert (unready.status, unready.json["status"]) == (503, "not_ready")
        assert unready.json["reason"]
        assert healthy.status == 200
        house.engine.recover()


async def test_a_service_that_drains_is_not_ready(kit):
    async with kit.house() as house:
        await house.fabric.drain()
        reply = await house.call("GET", "/readyz")

        assert (reply.status, reply.json["reason"]) == (503, "shutting down")


async def test_metrics_are_those_of_the_reference_page(kit, chat):
    async with kit.house() as house:
        await house.call("POST", "/v1/p0", chat())
        reply = await house.call("GET", "/metrics")

        text = reply.body.decode()
        families = set(re.findall(r"^# TYPE (\S+) \S+$", text, re.MULTILINE))
        families = {name for name in families if not name.endswith("_created")}
        families = {name for name in families if not name.startswith("process_")}
        documented = set(re.findall(r"^\| `(\w+)` \|", REFERENCE.read_text(), re.MULTILINE))
        of_memories = {name for name in documented if name.startswith("stoker_memories_")}
        assert families == documented - of_memories  # there is no memory server here
        assert (
            'stoker_admission_total{engine="default",priority="p0",reason="admitted"} 1.0' in text
        )
        assert 'stoker_ttft_seconds_count{engine="default",priority="p0"} 1.0' in text
        assert 'stoker_engine_up{engine="default"} 1.0' in text


def test_the_metrics_page_is_made_from_the_code():
    from stoker.reference_pages import metrics_page

    assert REFERENCE.read_text(encoding="utf-8") == metrics_page()


async def test_models_are_the_engines(kit):
    async with kit.house() as house:
        status, body = await house.engine.models()
        reply = await house.call("GET", "/v1/models")

        assert (reply.status, reply.body) == (status, body)
        id = reply.headers["x-stoker-request-id"]
        assert reply.headers["x-request-id"] == reply.headers["request-id"] == id


async def test_one_model_is_its_entry_in_that_list(kit):
    async with kit.house() as house:
        [entry] = (await house.call("GET", "/v1/models")).json["data"]
        named = await house.call("GET", f"/v1/models/{entry['id']}")
        unknown = await house.call("GET", "/v1/models/some/other")

        assert named.json == entry
        assert (unknown.status, unknown.error["code"]) == (404, "model_not_found")


async def test_the_state_is_the_whole_fabric_in_names(kit):
    async with kit.house() as house:
        lease = await house.fabric.allocate_p0_priority(60)
        await house.call("POST", "/v1/p2", {"prompt": "x"})
        state = (await house.call("GET", "/v1/fabric/state")).json

        assert state["engine"]["is_ready"]
        assert set(state["scheduler"]["classes"]) == {"p0", "p1", "p2"}
        assert state["scheduler"]["leases"][0]["lease_id"] == lease.id
        assert state["scheduler"]["capacity"]["requests"] == 2
        await lease.release()


class ShortHost:
    async def read(self):
        return HostSample(7 * 2**30, 128 * 2**30, 0.0, 2**20, 3 * 2**30)


async def test_the_state_and_the_metrics_show_the_host_and_what_the_guard_makes_of_it(kit):
    async with kit.house(host=ShortHost()) as house:
        await asyncio.sleep(5.0)
        scheduler = (await house.call("GET", "/v1/fabric/state")).json["scheduler"]
        metrics = (await house.call("GET", "/metrics")).body.decode()

        assert scheduler["host"]["engine_rss_bytes"] == 3 * 2**30
        guard = scheduler["guard"]
        assert (guard["level"], guard["requests_allowed"]) == ("hold", 0)
        assert guard["floors"] == {"hold": 8 * 2**30, "shed": 6 * 2**30, "hard": 4 * 2**30}
        assert guard["forecast_bytes"] == 7 * 2**30
        assert guard["why"]["knob"] == "ram_floor_bytes"
        assert guard["why"]["message"].startswith("the host is short of RAM")
        assert 'stoker_host_guard{level="hold"} 1.0' in metrics
        assert 'stoker_host_guard{level="ok"} 0.0' in metrics
        assert "stoker_engine_rss_bytes 3.221225472e+09" in metrics
        assert "stoker_host_swap_used_bytes 1.048576e+06" in metrics


async def test_a_story_is_told_by_id(kit, chat):
    async with kit.house() as house:
        reply = await house.call("POST", "/v1/p0", chat())
        id = reply.headers["x-stoker-request-id"]
        story = (await house.call("GET", f"/v1/fabric/explain/{id}")).json
        unknown = await house.call("GET", "/v1/fabric/explain/req_none")

        assert story["id"] == id
        assert story["state"] == "gone"
        assert len(story["entries"]) >= 3
        assert all(set(entry) >= {"at", "what"} for entry in story["entries"])
        assert unknown.status == 404


async def test_events_come_as_they_happen_with_heartbeats_between(kit, chat):
    async with kit.house() as house:
        hang_up, reply = asyncio.Event(), kit.reply()
        async with asyncio.TaskGroup() as group:
            path = "/v1/fabric/events?recent=5"
            group.create_task(house.call.into(reply, "GET", path, hang_up=hang_up))
            await asyncio.sleep(11)
            before = len(reply.body)
            await house.call("POST", "/v1/p0", chat())
            await asyncio.sleep(0.1)
            hang_up.set()

        frames = reply.body[before:].decode().split("\n\n")
        kinds = [line for frame in frames for line in frame.splitlines() if "event:" in line]
        assert kinds
        data = [line[6:] for frame in frames for line in frame.splitlines() if "data:" in line]
        assert all("at" in json.loads(line) for line in data)


async def test_the_event_stream_ends_cleanly_when_the_server_closes(kit):
    async with kit.house() as house:
        reply = kit.reply()
        async with asyncio.TaskGroup() as group:
            group.create_task(house.call.into(reply, "GET", "/v1/fabric/events"))
            await asyncio.sleep(0.1)
            house.app.closing.set()

        assert reply.is_complete
