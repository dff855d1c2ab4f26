"""What a scrape shows: every family documented, promtool content, and routers served."""

from __future__ import annotations

import asyncio
import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stoker.core.work import Priority

pytestmark = pytest.mark.virtual_time


def samples(reply):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(reply.body.decode())
        for sample in family.samples
    }


def of(found, name, **labels):
    return found.get((name, *sorted(labels.items())))


def said_by_promtool(page):
    command = ["promtool", "check", "metrics"]
    found = subprocess.run(command, input=page, capture_output=True, check=False)
    return found.stdout + found.stderr


async def test_a_streamed_answer_is_in_all_four_histograms_of_its_class(kit, chat):
    async with kit.house() as house:
        await house.call("POST", "/v1/p0", chat(stream=True, max_tokens=5))
        found = samples(await house.call("GET", "/metrics"))

    for name in ("ttft", "tpot", "request", "queue"):
        count = f"stoker_{name}_seconds_count"
        assert of(found, count, engine="default", priority="p0") == 1, name
        assert of(found, count, engine="default", priority="p1") == 0, name


async def test_an_answer_in_one_piece_says_nothing_about_the_time_between_tokens(kit, chat):
    async with kit.house() as house:
        await house.call("POST", "/v1/p0", chat(max_tokens=5))
        found = samples(await house.call("GET", "/metrics"))

    assert of(found, "stoker_request_seconds_count", engine="default", priority="p0") == 1
    assert of(found, "stoker_tpot_seconds_count", engine="default", priority="p0") == 0


async def test_tokens_are_counted_per_class(kit, chat):
    async with kit.house() as house:
        await house.call("POST", "/v1/p1", chat(stream=True, max_tokens=5))
        found = samples(await house.call("GET", "/metrics"))

    assert of(found, "stoker_output_tokens_total", engine="default", priority="p1") == 5
    assert of(found, "stoker_output_tokens_total", engine="default", priority="p0") == 0
    assert of(found, "stoker_prompt_tokens_total", engine="default", priority="p1") > 0


async def test_a_router_sees_one_queue_of_everything_that_waits(kit, chat):
    async with kit.house(slots=2, natural_tokens=4000) as house, asyncio.TaskGroup() as tasks:
        calls = [
            tasks.create_task(house.call("POST", "/v1/p1", chat(max_tokens=4000))) for _ in range(5)
        ]
        await asyncio.sleep(0.5)
        found = samples(await house.call("GET", "/metrics"))
        for call in calls:
            call.cancel()

    waiting = of(found, "stoker_model_server_requests_queued")
    running = of(found, "stoker_model_server_requests_running")
    assert (waiting, running) == (3, 2)


async def test_a_scrape_says_which_version_runs_and_how_late_the_loop_is(kit):
    async with kit.house() as house:
        await asyncio.sleep(1.0)
        reply = await house.call("GET", "/metrics")

    assert b"stoker_build_info{" in reply.body
    assert samples(reply)[("stoker_event_loop_lag_seconds",)] == pytest.approx(0.0, abs=1e-6)


async def test_the_floors_of_the_guard_are_told_apart(kit):
    async with kit.house() as house:
        found = samples(await house.call("GET", "/metrics"))

    floors = [
        of(found, "stoker_host_ram_floor_bytes", level=level) for level in ("hold", "shed", "hard")
    ]
    assert floors == sorted(floors, reverse=True)


async def test_vllms_names_are_there_only_where_they_are_asked_for(kit):
    async with kit.house() as house:
        plain = await house.call("GET", "/metrics")
    async with kit.house(kit.config(server={"vllm_metrics": True})) as house:
        named = await house.call("GET", "/metrics")

    assert b"vllm:" not in plain.body
    for name in ("num_requests_waiting", "num_requests_running"):
        assert f'vllm:{name}{{engine="default",model_name='.encode() in named.body


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus"
)
async def test_promtool_finds_nothing_to_say(kit, chat):
    async with kit.house() as house:
        for priority in Priority:
            path = f"/v1/{priority.label}"
            await house.call("POST", path, chat(stream=priority is Priority.P0, max_tokens=3))
        await asyncio.sleep(5.0)
        page = (await house.call("GET", "/metrics")).body

    assert said_by_promtool(page) == b""
