"""Two engines with different work: which one is chosen changes tiles, table and charts."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import aiohttp
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.asyncio]

CLASSES = ("p0", "p1", "p2")
WORK = {"small": (2, 3), "large": (5, 0)}
"""P1 requests and background jobs of each engine; a P0 lease lets the jobs wait."""


@asynccontextmanager
async def at_work(service):
    """Answers of minutes and waiting jobs, other numbers of them on each engine."""
    async with aiohttp.ClientSession(service.url) as session, asyncio.TaskGroup() as tasks:
        await session.post("/v1/p0/lease", json={"seconds": 600})

        async def ask(engine):
            body = {"model": engine, "prompt": f"On the {engine} one", "max_tokens": 2000,
                    "stream": True}  # fmt: skip
            async with session.post("/v1/p1", json=body) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()

        asked = []
        for engine, (requests, jobs) in WORK.items():
            asked += [tasks.create_task(ask(engine)) for _ in range(requests)]
            for number in range(jobs):
                body = {"model": engine, "prompt": f"Job {number}", "max_tokens": 8}
                await session.post("/v1/p2", json=body)
        yield
        for one in asked:
            one.cancel()


async def shown(seen):
    """What the page shows of the chosen engine, as numbers; and its charts, as their labels."""
    numbers = {
        "jobs": await seen.value("[data-tile='Jobs waiting']"),
        "preemptions": await seen.value("[data-tile='Preemptions']"),
        **{
            f"{name} {field}": await seen.value(f"[data-field='{name}.{field}']")
            for name in CLASSES
            for field in ("running", "waiting")
        },
    }
    charts = await seen.page.eval_on_selector_all(
        "#charts [role=img]", "all => all.map(one => one.getAttribute('aria-label'))"
    )
    return numbers, dict(label.split(": ", 1) for label in charts if label)


def said(state, engine):
    """The same from one engine's part of `/v1/fabric/state`."""
    one = state["engines"][engine]
    classes = one["scheduler"]["classes"]
    return {
        "jobs": one["jobs"]["available"],
        "preemptions": one["scheduler"]["preemptions"],
        **{
            f"{name} {field}": classes[name][field]
            for name in CLASSES
            for field in ("running", "waiting")
        },
    }


async def test_choosing_an_engine_shows_its_numbers_and_its_charts(kit, tmp_path):
    slow = ("--token-ms", "100", "--natural-tokens", "2000", "--slots", "8")
    async with kit.engine(*slow) as one, kit.engine(*slow) as other:
        options = ("--engine", f"small={one}", "--engine", f"large={other}")
        async with (
            kit.service(tmp_path, *options).running() as service,
            kit.browser() as browser,
        ):
            for engine in WORK:
                await kit.until(lambda name=engine: is_up(service, name), limit_s=60)
            async with kit.page(browser, service.url) as seen, at_work(service):
                await seen.wait_live()
                names = await seen.page.eval_on_selector_all(
                    "#engine option", "all => all.map(one => one.value)"
                )
                cards = await seen.page.eval_on_selector_all(
                    "#engine-cards h3", "all => all.map(one => one.textContent)"
                )
                drawn = {}
                for engine in (*WORK, *WORK):  # and back again
                    await seen.page.select_option("#engine", engine)
                    requests, jobs = WORK[engine]

                    async def is_as_said(engine=engine, requests=requests, jobs=jobs):
                        page, charts = await shown(seen)
                        expected = said(await service.state(), engine)
                        drawn[engine] = charts
                        return (
                            page == expected
                            and (page["p1 running"], page["jobs"]) == (requests, jobs)
                            and f"P1 {requests}," in charts["Running, and learned ceilings"]
                            and charts["Queues"].endswith(f"jobs stored {jobs}")
                        )

                    await kit.until(is_as_said, limit_s=40, every_s=0.2)

    assert names == list(WORK)
    assert cards == [*WORK, "Host"], "of all engines, whichever is chosen"
    assert drawn["small"]["Queues"] != drawn["large"]["Queues"]


async def is_up(service, engine):
    return (await service.state())["engines"][engine]["engine"]["is_ready"]
