"""What a person feels while a backlog runs, and what is left of the backlog, arm by arm."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from stoker.client import Client

from .calls import Answered, Latencies, opened_session, stream
from .closed_loop import closed_loop
from .loads import Prompts, Visit
from .record import Load, Times
from .report import Row
from .service import kept_backlog, stoker_in_front_of
from .stats import Window, mean_of, percentile, share_within
from .target import Gauges, Target, settle, watched

LATE_S = 30.0
"""How long a question may still run after the window."""
P0_PRIORITY, P2_PRIORITY = 0, 10
NEWEST_JOBS = 1_000
"""The most that one list has; a window finishes fewer."""


@dataclass(frozen=True, slots=True)
class Arm:
    name: str
    outstanding: int = 0
    """P2 calls kept at the engine directly; 0 = none, or Stoker's affair."""
    has_priority: bool = False
    is_stoker: bool = False
    has_lease: bool = False


def arms_for(*, has_priority: bool, p2: int, cap: int) -> dict[str, Arm]:
    """All arms that the engine can have, by the short name that a command line uses."""
    arms = {
        "alone": Arm("P0 alone"),
        "fcfs": Arm(f"P2 N={p2}, FCFS", p2),
        "priority": Arm(f"P2 N={p2}, priority", p2, has_priority=True),
        "cap": Arm(f"P2 cap {cap}{', priority' * has_priority}", cap, has_priority=has_priority),
        "stoker": Arm("Stoker", is_stoker=True),
        "lease": Arm("Stoker + lease", is_stoker=True, has_lease=True),
    }
    return arms if has_priority else {name: arms[name] for name in arms if name != "priority"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is the same in all arms."""

    question: Load
    backlog: Load
    prompts: Prompts
    visits: Callable[[int], Sequence[Visit]]
    """From a seed: the same moments in every arm of a round."""
    straight: Times
    stoker: Times
    itl_target_s: float
    data: Path
    """Stoker's folder, kept from arm to arm: it starts the second one with what it has learned."""
    options: tuple[str, ...] = ()
    backlog_jobs: int = 256


@dataclass(slots=True)
class Seen:
    """What one arm has shown in all its rounds."""

    felt: list[Latencies] = field(default_factory=list)
    late: int = 0
    p2: list[dict[str, float | None]] = field(default_factory=list)
    state: dict[str, object] = field(default_factory=dict)


async def run_arm(arm: Arm, target: Target, plan: Plan, *, round_number: int, seen: Seen) -> None:
    """One arm, once. The engine is empty afterwards."""
    visits = plan.visits(round_number)
    times = plan.stoker if arm.is_stoker else plan.straight
    asked: list[Answered] = []
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(opened_session())
        url, client = target.completions, None
        calls: list[Answered] = []
        if arm.is_stoker:
            service = await stack.enter_async_context(
                stoker_in_front_of(target.url, data=plan.data, options=plan.options)
            )
            client = await stack.enter_async_context(Client(service))
            url = f"{service}/v1/p0"
            jobs = kept_backlog(client, job_maker(plan, target), least=plan.backlog_jobs)
            await stack.enter_async_context(jobs)
        elif arm.outstanding:
            more: dict[str, object] = {"priority": P2_PRIORITY} if arm.has_priority else {}
            calls = await stack.enter_async_context(
                closed_loop(
                    session,
                    target.completions,
                    target.model,
                    arm.outstanding,
                    plan.backlog.maker(plan.prompts, more),
                    seed=round_number,
                )
            )
        gauges = await stack.enter_async_context(watched(target))
        await asyncio.sleep(times.warm_up_s)
        window = Window(time.perf_counter(), time.perf_counter() + times.window_s)
        person = _Person(arm, target, plan, session, url, client, asked)
        await person.come(visits, window, seed=round_number)
        seen.late += person.late
        finished = Latencies.of(calls, window).finished_tokens
        if client is not None:
            seen.state = learned(await client.state())
            finished = await finished_tokens(client, window)
        note(arm, seen, asked, calls, gauges, window, finished)
    await settle(target)


def job_maker(plan: Plan, target: Target) -> Callable[[int], dict[str, object]]:
    """Durable jobs like the calls of a closed loop."""

    def job(serial: int) -> dict[str, object]:
        ask = plan.backlog.ask(plan.prompts, random.Random(serial), is_first=False, more={})
        return ask.body(target.model, is_streamed=False)

    return job


class _Person:
    """Comes, takes a lease where there is one, and asks at the moments that the visits say."""

    def __init__(
        self,
        arm: Arm,
        target: Target,
        plan: Plan,
        session: aiohttp.ClientSession,
        url: str,
        client: Client | None,
        asked: list[Answered],
    ) -> None:
        self._arm = arm
        self._target = target
        self._plan = plan
        self._session = session
        self._url = url
        self._client = client
        self._asked = asked
        self.late = 0
        """Questions that were not answered soon after the window."""

    async def come(self, visits: Sequence[Visit], window: Window, *, seed: int) -> None:
        chance = random.Random(seed)
        tasks: list[asyncio.Task[Answered]] = []
        async with asyncio.TaskGroup() as group:
            for visit in visits:
                await _until(window.began_at + visit.began_at)
                async with AsyncExitStack() as stack:
                    await self._lease(stack, visit)
                    for ask_at in visit.asks_at:
                        await _until(window.began_at + ask_at)
                        tasks.append(group.create_task(self._ask(chance)))
                    await _until(window.began_at + visit.ended_at)
            await _until(window.ended_at)
            _, late = await asyncio.wait(tasks, timeout=LATE_S) if tasks else ((), ())
            self.late = len(late)
            for task in late:
                task.cancel()

    async def _lease(self, stack: AsyncExitStack, visit: Visit) -> None:
        if self._client is not None and self._arm.has_lease:
            seconds = visit.ended_at - visit.began_at + LATE_S
            lease = await self._client.allocate_p0_priority(seconds)
            await stack.enter_async_context(lease)

    async def _ask(self, chance: random.Random) -> Answered:
        more: dict[str, object] = {"priority": P0_PRIORITY} if self._arm.has_priority else {}
        question = self._plan.question.ask(self._plan.prompts, chance, is_first=False, more=more)
        body = question.body(self._target.model, is_streamed=True)
        answered = Answered(time.perf_counter())
        self._asked.append(answered)
        return await stream(self._session, self._url, body, answered)


async def _until(at: float) -> None:
    await asyncio.sleep(max(0.0, at - time.perf_counter()))


def note(
    arm: Arm,
    seen: Seen,
    asked: list[Answered],
    calls: list[Answered],
    gauges: Gauges,
    window: Window,
    finished_tokens: int,
) -> None:
    """Add one round. Every question counts, also when its answer came after the window."""
    seen.felt.append(Latencies.of(asked, Window(window.began_at, window.ended_at + LATE_S)))
    made = gauges.per_s("output_tokens_total", window)
    p0_per_s = Latencies.of(asked, window).tokens / window.length_s
    has_p2 = arm.is_stoker or arm.outstanding > 0
    p2_felt = Latencies.of(calls, window)
    seen.p2.append(
        {
            "tokens_per_s": made - p0_per_s if made is not None and has_p2 else None,
            "finished_tokens_per_s": finished_tokens / window.length_s if has_p2 else None,
            "ttft_p50_s": percentile(p2_felt.ttft_s, 0.5),
            "preemptions_per_s": gauges.per_s("preemptions_total", window),
            "running": gauges.mean("running", window),
            "waiting": gauges.mean("waiting", window),
            "kv_usage": gauges.mean("kv_cache_usage", window),
        }
    )


async def finished_tokens(client: Client, window: Window) -> int:
    """Output of the jobs that ended inside the window: nothing that was made twice counts twice."""
    shift = time.time() - time.perf_counter()
    jobs = (await client.list_jobs(state="completed", limit=NEWEST_JOBS))["data"]
    return sum(
        job["usage"]["completion_tokens"]
        for job in jobs
        if job["usage"] is not None and job["finished_at"] - shift in window
    )


def learned(state: dict[str, object]) -> dict[str, object]:
    """What Stoker knows at the end of an arm."""
    scheduler = state["scheduler"]
    assert isinstance(scheduler, dict)
    known = {name: scheduler[name] for name in scheduler if name != "predictor"}
    return known | {"meters": state["meters"], "jobs": state["jobs"]}


def row_of(arm: Arm, seen: Seen, itl_target_s: float) -> Row:
    """A line of the table, over all rounds."""
    ttft = [value for felt in seen.felt for value in felt.ttft_s]
    itl = [value for felt in seen.felt for value in felt.itl_s]
    e2e = [value for felt in seen.felt for value in felt.e2e_s]
    row: Row = {
        "arm": arm.name,
        "p0_n": len(ttft),
        "p0_ttft_p50_s": percentile(ttft, 0.5),
        "p0_ttft_p95_s": percentile(ttft, 0.95),
        "p0_ttft_max_s": max(ttft, default=None),
        "p0_itl_p50_s": percentile(itl, 0.5),
        "p0_itl_p95_s": percentile(itl, 0.95),
        "p0_itl_p99_s": percentile(itl, 0.99),
        "p0_itl_within_target": share_within(itl, itl_target_s),
        "p0_e2e_p50_s": percentile(e2e, 0.5),
        "p0_e2e_p95_s": percentile(e2e, 0.95),
        "p0_late": seen.late,
        "p0_errors": sum(felt.errors for felt in seen.felt),
    }
    for name in seen.p2[0] if seen.p2 else ():
        row[f"p2_{name}" if name.startswith(("tokens", "finished", "ttft")) else name] = mean_of(
            one[name] for one in seen.p2
        )
    return row


def compare_to_alone(rows: list[Row]) -> None:
    """Say for each arm how many times as long as alone P0 takes, and which part of P2 it keeps."""
    alone = next((row for row in rows if row["arm"] == "P0 alone"), {})
    most = max((value for row in rows if (value := _known(row, "p2_tokens_per_s"))), default=0.0)
    for row in rows:
        for name in ("p0_ttft_p95_s", "p0_e2e_p50_s"):
            mine, reference = _known(row, name), _known(alone, name)
            row[f"{name[:-2]}_x_alone"] = mine / reference if mine and reference else None
        p2 = _known(row, "p2_tokens_per_s")
        row["p2_kept"] = p2 / most if p2 and most else None


def _known(row: Row, name: str) -> float | None:
    value = row.get(name)
    return value if isinstance(value, int | float) else None
