"""The page in half a minute: it says what the state says, its lease works, all can use it."""

from __future__ import annotations

import pytest
from axe_playwright_python.async_playwright import Axe

pytestmark = pytest.mark.asyncio


async def serious_problems(page):
    found = (await Axe().run(page)).response["violations"]
    return [
        f"{one['id']}: {node['html'][:120]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


async def test_the_page_shows_the_state_takes_the_lease_and_can_be_used_by_all(kit, tmp_path):
    async with (
        kit.engine("--slots", "4") as engine,
        kit.service(tmp_path, "--engine", engine, "--kind", "vllm").running() as service,
        kit.browser() as browser,
    ):
        await service.wait_ready()
        async with kit.page(browser, service.url, color_scheme="light") as watching:
            await watching.wait_live()
            page = watching.page

            assert "is ready" in await watching.text("#health")
            state = await service.state()
            assert (
                await watching.value("[data-tile='KV cache']")
                == (state["scheduler"]["engine"]["kv_cache_usage"])
            )

            await page.click("#lease-take")
            await page.wait_for_selector("#lease-text[data-state=held]")
            [lease] = (await service.state())["scheduler"]["leases"]
            assert 20 < lease["expires_in_s"] <= 30
            await page.click("#lease-release")
            await page.wait_for_selector("#lease-release", state="hidden")
            assert (await service.state())["scheduler"]["leases"] == []

            assert await serious_problems(page) == []
        phone = {"width": 360, "height": 740}
        async with kit.page(browser, service.url, viewport=phone, color_scheme="dark") as watching:
            await watching.wait_live()
            is_wider = "document.documentElement.scrollWidth > innerWidth"
            assert not await watching.page.evaluate(is_wider), "the page must not scroll sideways"
            assert await serious_problems(watching.page) == []
