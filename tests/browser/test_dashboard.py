"""The whole page over the embedded engine with a mixed load. `just browser-test` runs it."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import aiohttp
import pytest

from stoker.access.key_file import create
from stoker.access.keys import Key
from stoker.core.work import Priority
from tests.browser.test_smoke import serious_problems
from tests.e2e.service import free_port
from tools.dashboard.load import MixedLoad

pytestmark = [pytest.mark.browser, pytest.mark.embedded, pytest.mark.asyncio]

LONG = {
    "prompt": "Once upon a time there was a lighthouse, and",
    "max_tokens": 1_500,
    "ignore_eos": True,  # or every third story is over before the test has done anything
}


@asynccontextmanager
async def watching(kit, folder, *, port=0):
    """A ready service on the embedded engine, and a live page of it."""
    async with kit.service(folder, port=port).running() as service, kit.browser() as browser:
        await service.wait_ready()
        async with kit.page(browser, service.url, color_scheme="dark") as seen:
            await seen.wait_live()
            yield service, seen


async def send(service, method, path, body=None):
    async with (
        aiohttp.ClientSession(service.url) as session,
        session.request(method, path, json=body) as answer,
    ):
        text = await answer.text()
        return json.loads(text) if text else None


async def entries(seen):
    return await seen.page.eval_on_selector_all(
        "#story .entries b", "all => all.map(b => b.textContent)"
    )


async def test_what_the_page_shows_is_what_the_state_says_under_a_mixed_load(kit, tmp_path):
    async with watching(kit, tmp_path) as (service, seen):
        load = asyncio.ensure_future(MixedLoad(service.url, jobs=8).run())

        async def shown():
            page = {
                "preemptions": await seen.value("[data-tile='Preemptions']"),
                "jobs": await seen.value("[data-tile='Jobs waiting']"),
                "held": await seen.value("[data-tile='Tokens in flight']"),
                **{
                    f"{name} {field}": await seen.value(f"[data-field='{name}.{field}']")
                    for name in ("p0", "p1", "p2")
                    for field in ("running", "waiting", "ttft_p95_s", "itl_p95_s")
                },
            }
            state = await service.state()
            scheduler, meters = state["scheduler"], state["meters"]
            said = {
                "preemptions": scheduler["preemptions"],
                "jobs": state["jobs"]["available"],
                "held": scheduler["held_tokens"],
                **{
                    f"{name} {field}": (
                        scheduler["classes"][name]
                        if field in ("running", "waiting")
                        else meters[name]
                    )[field]
                    for name in ("p0", "p1", "p2")
                    for field in ("running", "waiting", "ttft_p95_s", "itl_p95_s")
                },
            }
            return page, said

        async def is_seen_at_work():
            _, said = await shown()
            return said["preemptions"] > 0 and said["p1 ttft_p95_s"] is not None

        await kit.until(is_seen_at_work, limit_s=120)
        load.cancel()

        async def is_quiet():
            return await service.classes("running") == [0, 0, 0]

        for job in (await send(service, "GET", "/v1/p2?limit=200"))["data"]:
            await send(service, "DELETE", f"/v1/p2/{job['job_id']}")
        await kit.until(is_quiet, limit_s=60)

        async def is_the_same():
            page, said = await shown()
            return page == said

        await kit.until(is_the_same, limit_s=30, every_s=0.2)
        admitted = (await service.state())["scheduler"]["admissions"]["p1"]["admitted"]
        assert await seen.value("[data-reason='p1.admitted']") == admitted


async def test_a_job_is_found_cancelled_and_retried_on_the_page(kit, tmp_path):
    async with watching(kit, tmp_path) as (service, seen):
        await send(service, "POST", "/v1/p0/lease", {"seconds": 120})  # jobs then wait
        wanted = (await send(service, "POST", "/v1/p2?batch=nightly", LONG))["job_id"]
        other = (await send(service, "POST", "/v1/p2", LONG))["job_id"]
        page = seen.page
        await page.wait_for_selector(f"tr[data-job='{other}']")

        await page.fill("#jobs-find", "nightly")
        await page.wait_for_selector(f"tr[data-job='{other}']", state="detached")
        await page.click(f"tr[data-job='{wanted}'] button:has-text('Cancel')")
        await page.wait_for_selector(f"tr[data-job='{wanted}'] .state.cancelled")
        cancelled = await send(service, "GET", f"/v1/p2/{wanted}")
        await page.click(f"tr[data-job='{wanted}'] button:has-text('Retry')")
        await page.wait_for_selector(f"tr[data-job='{wanted}'] .state.available")
        retried = await send(service, "GET", f"/v1/p2/{wanted}")

        assert (cancelled["status"], retried["status"]) == ("cancelled", "available")
        assert (await send(service, "GET", f"/v1/p2/{other}"))["status"] == "available"


async def test_the_timeline_shows_a_preemption_and_its_resume(kit, tmp_path):
    async with watching(kit, tmp_path) as (service, seen):
        page = seen.page
        job = (await send(service, "POST", "/v1/p2", LONG))["job_id"]
        await page.click(f"[aria-label='Story of {job}']")
        await page.wait_for_selector("#story .entries li[data-what=first_token]", timeout=60_000)
        await page.keyboard.press("Escape")
        await page.click("#lease-take")
        await page.wait_for_selector("#feed li[data-kind=preempted]")
        await page.click("#lease-release")
        await page.wait_for_selector("#feed li[data-kind=resumed]", timeout=30_000)
        await page.click("#feed li[data-kind=resumed] button")
        await page.wait_for_selector("#story .entries li[data-what=gives_way]")

        async def is_told():
            told = await entries(seen)
            return told.count("started") == 2 and told.count("first token") == 2

        await kit.until(is_told, limit_s=60)
        told = await entries(seen)
        label = await page.get_attribute("#story .track", "aria-label")

    begun = told[told.index("arrived") :]
    assert begun[:4] == ["arrived", "started", "first token", "gives way to P0"]
    assert "preempted" in label
    assert "writing" in label


async def test_the_page_comes_back_after_a_restart_and_shows_the_gap(kit, tmp_path):
    async with watching(kit, tmp_path, port=free_port()) as (service, seen):
        seen.expected = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING")
        seen.expected += ("ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE")
        await asyncio.sleep(11)  # two rows or more

        await service.stop()
        await seen.page.wait_for_selector("#live[data-state=lost]")
        await asyncio.sleep(13)
        await service.start()
        await seen.wait_live()
        await asyncio.sleep(7)
        rows = await seen.page.evaluate(
            """async () => {
              const { history } = await import("./dashboard/app.js");
              return history.table("default", 0, [(get) => get("is_ready")]);
            }"""
        )

    times, ready = rows
    gap = ready.index(None)
    assert gap >= 2, "what was seen before the restart is kept"
    assert gap < len(times) - 1, "and what came after it is there"


async def test_the_keyboard_alone_opens_and_closes_a_story(kit, tmp_path):
    async with watching(kit, tmp_path) as (service, seen):
        page = seen.page
        await send(service, "POST", "/v1/p0/lease", {"seconds": 120})
        job = (await send(service, "POST", "/v1/p2", LONG))["job_id"]
        await page.wait_for_selector(f"tr[data-job='{job}']")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.className") == "skip"

        reached = ""
        for _ in range(80):
            await page.keyboard.press("Tab")
            reached = await page.evaluate("document.activeElement.getAttribute('aria-label')")
            if reached == f"Story of {job}":
                break
        assert reached == f"Story of {job}"
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#story[open] .facts")
        assert await serious_problems(page) == []
        await page.keyboard.press("Escape")
        await page.wait_for_selector("#story[open]", state="detached")

        assert await page.evaluate("document.activeElement.textContent") != ""
        assert await serious_problems(page) == []


async def test_with_keys_the_page_asks_for_one_and_keeps_it_in_its_tab(kit, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    _, alice = create(data, Key("", "alice", "alice", "", created_at=0.0))
    boss = Key("", "boss", "boss", "", created_at=0.0, highest=Priority.P0, is_admin=True)
    _, admin = create(data, boss)
    async with (
        kit.service(tmp_path).running() as service,
        kit.browser() as browser,
        kit.page(browser, service.url) as seen,
    ):
        page = seen.page
        seen.expected = ("401", "403")
        await page.fill("#key-input", alice)
        await page.press("#key-input", "Enter")
        await page.wait_for_selector("#key-text:has-text('admin')")
        await page.fill("#key-input", admin)
        await page.press("#key-input", "Enter")
        await seen.wait_live()
        kept = await page.evaluate("[JSON.stringify(localStorage), sessionStorage['stoker-key']]")
        await page.click("#lease-take")
        await page.wait_for_selector("#lease-text[data-state=held]")

    assert admin not in kept[0]
    assert kept[1] == admin
