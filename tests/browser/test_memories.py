"""The memory server on the page: its numbers are those of `/v1/memories`, its words are true."""

from __future__ import annotations

import aiohttp
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.asyncio]

AT = "/v1/memories"


async def told(seen):
    """Each step of the pipeline: what its figure and its note say."""
    return dict(
        await seen.page.eval_on_selector_all(
            "#memories-body .pipeline li",
            """all => all.map(one => [one.querySelector("h3").textContent,
                 [Number(one.querySelector("strong").textContent),
                  one.querySelector("span").textContent]])""",
        )
    )


async def test_its_pipeline_says_what_the_stats_say_and_what_was_refused(kit, tmp_path):
    async with (
        kit.engine("--slots", "4") as engine,
        kit.service(tmp_path, "--engine", engine, "--kind", "vllm").running() as service,
        kit.browser() as browser,
    ):
        await service.wait_ready()
        async with aiohttp.ClientSession(service.url) as session:
            await session.post(AT, json={"statement": "Ada prefers mornings for it."})
            text = b"Mira repaired the harbour crane.\n\nPort Ellen has 14 berths."
            await session.post(f"{AT}/imports?uri=harbour.md&label=harbour", data=text)

        async def is_refused():  # the fake engine's answers are no JSON
            _, stats = await service.get(AT)
            return stats["work"]["quarantined"] == 1

        await kit.until(is_refused, limit_s=60, every_s=0.2)
        async with kit.page(browser, service.url) as seen:
            await seen.page.wait_for_selector("#memories-body .pipeline")
            _, stats = await service.get(AT)
            steps = await told(seen)
            rows = await seen.page.eval_on_selector_all(
                "#memories-body .row", "all => all.map(one => one.textContent)"
            )
            tracks = await seen.page.locator("#memories-body .row .track").count()
            await seen.page.click("#memories-body summary")
            refused = await seen.text("#memories-body .log li")

    assert steps["Sources"][0] == stats["sources"] == 2
    assert steps["Spans"][0] == stats["spans"] == 3
    assert steps["Model work"] == [stats["work"]["total"], "1 quarantined"]
    assert steps["Tiles"] == [1, "1 active"]
    assert steps["Quarantine"] == [1, "1 unusable answer"]
    assert "100 % of 1" in rows[0]
    assert "no model work" in rows[1]
    assert "1 document" in rows[1]
    assert "tile" not in rows[1], "a statement is a tile without the model"
    assert tracks == 1, "where there is no work there is no bar"
    assert refused.endswith("an answer about a chunk")
