"""Background work only: fixed concurrencies straight at the engine, and Stoker from cold."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack

from stoker.client import Client

from .calls import Answered, opened_session
from .closed_loop import closed_loop
from .p0 import Plan, job_maker, learned
from .report import Row
from .service import kept_backlog, stoker_in_front_of
from .stats import Series, Window, rates, time_to, variation
from .target import Gauges, Target, settle, watched

BIN_S = 10.0
ORACLE_SHARE = 0.9


async def fixed(target: Target, plan: Plan, callers: int) -> tuple[Row, Series]:
    """A closed loop of so many."""
    async with opened_session() as session, watched(target) as gauges:
        async with closed_loop(
            session,
            target.completions,
            target.model,
            callers,
            plan.backlog.maker(plan.prompts),
            seed=callers,
        ) as calls:
            window = await plan.straight.pass_by()
        row = row_of(f"fixed N={callers}", gauges, window) | _errors(calls)
    await settle(target)
    return row, _shifted(gauges.series("output_tokens_total"), window.began_at)


async def stoker_cold(
    target: Target, plan: Plan, best_per_s: float | None
) -> tuple[Row, Series, dict[str, object]]:
    """Stoker in a new folder. The row counts the end of its run; the series has the whole of it."""
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(
            stoker_in_front_of(target.url, data=plan.data, options=plan.options)
        )
        client = await stack.enter_async_context(Client(service))
        gauges = await stack.enter_async_context(watched(target))
        began_at = time.perf_counter()
        jobs = kept_backlog(client, job_maker(plan, target), least=plan.backlog_jobs)
        await stack.enter_async_context(jobs)
        window = await plan.stoker.pass_by()
        series = gauges.series("output_tokens_total")
        whole = Window(began_at, window.ended_at)
        reached = None
        if best_per_s is not None:
            reached = time_to(series, whole, ORACLE_SHARE * best_per_s, over_s=BIN_S)
        row = row_of("Stoker, cold", gauges, window) | {"time_to_90_percent_s": reached}
        state = learned(await client.state())
    await settle(target)
    return row, _shifted(series, began_at), state


def row_of(arm: str, gauges: Gauges, window: Window) -> Row:
    series = gauges.series("output_tokens_total")
    preemptions = gauges.per_s("preemptions_total", window)
    return {
        "arm": arm,
        "output_tokens_per_s": gauges.per_s("output_tokens_total", window),
        "prompt_tokens_per_s": gauges.per_s("prompt_tokens_total", window),
        "variation_10_s": variation(rates(series, window, BIN_S)),
        "preemptions_per_min": None if preemptions is None else 60 * preemptions,
        "running": gauges.mean("running", window),
        "waiting": gauges.mean("waiting", window),
        "kv_usage": gauges.mean("kv_cache_usage", window),
    }


def compare_to_best(rows: list[Row]) -> None:
    """Say for each arm which part of the best fixed one's throughput it has."""
    best = best_fixed(rows)
    for row in rows:
        per_s = row["output_tokens_per_s"]
        row["of_best_fixed"] = per_s / best if best and isinstance(per_s, float) else None


def best_fixed(rows: list[Row]) -> float | None:
    """Output tokens per second of the best fixed concurrency: the oracle."""
    found = [row["output_tokens_per_s"] for row in rows if str(row["arm"]).startswith("fixed")]
    return max((value for value in found if isinstance(value, float)), default=None)


def _errors(calls: list[Answered]) -> Row:
    return {"errors": sum(call.error is not None for call in calls)}


def _shifted(series: Series, began_at: float) -> Series:
    return [(round(at - began_at, 2), value) for at, value in series]
