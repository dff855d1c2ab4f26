"""Throughput against concurrency: closed loops of N callers, straight at the engine."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

from .calls import Answered, Ask, Latencies, opened_session
from .closed_loop import MakeAsk, closed_loop
from .loads import Lengths, Prompts
from .report import Row
from .stats import Window, percentile
from .target import Gauges, Target, measured_prompts, settle, watched

COLUMNS = (
    "n", "prompt_tokens", "output_tokens", "output_sigma", "output_tokens_per_s", "requests_per_s",
    "ttft_p50_s", "ttft_p95_s", "itl_p50_s", "itl_p95_s", "itl_p99_s", "tpot_p50_s",
    "preemptions_per_s", "kv_usage", "running", "waiting",
)  # fmt: skip
"""What a calibration reads."""


@dataclass(frozen=True, slots=True)
class Load:
    """What every caller asks, again and again."""

    prompt_tokens: int
    output: Lengths

    def ask(
        self, prompts: Prompts, chance: random.Random, *, is_first: bool, more: dict[str, object]
    ) -> Ask:
        length = self.output.residual(chance) if is_first else self.output.draw(chance)
        return Ask(prompts.fresh(self.prompt_tokens), length, more)

    def maker(self, prompts: Prompts, more: dict[str, object] | None = None) -> MakeAsk:
        return lambda chance, is_first: self.ask(
            prompts, chance, is_first=is_first, more=more or {}
        )


@dataclass(frozen=True, slots=True)
class Times:
    """How long an arm runs before it counts, and while it counts."""

    warm_up_s: float
    window_s: float

    async def pass_by(self) -> Window:
        """Wait, and say which seconds counted."""
        await asyncio.sleep(self.warm_up_s)
        began_at = time.perf_counter()
        await asyncio.sleep(self.window_s)
        return Window(began_at, time.perf_counter())


async def record_one(
    target: Target, load: Load, prompts: Prompts, callers: int, times: Times
) -> Row:
    """One point of the curve."""
    async with opened_session() as session, watched(target) as gauges:
        async with closed_loop(
            session, target.completions, target.model, callers, load.maker(prompts), seed=callers
        ) as calls:
            window = await times.pass_by()
        row = row_of(callers, load, calls, gauges, window)
    await settle(target)
    return row


async def prompts_for(target: Target) -> Prompts:
    """Token ids where an engine takes them: their number is then exact."""
    return await measured_prompts(target, is_text=target.kind not in {"vllm", "llamacpp"})


def row_of(callers: int, load: Load, calls: list[Answered], gauges: Gauges, window: Window) -> Row:
    """A line of the table. Tokens come from the engine's counter, times from the callers."""
    felt = Latencies.of(calls, window)
    values: Iterator[float | None] = iter(
        (
            callers,
            load.prompt_tokens,
            load.output.mean,
            load.output.sigma,
            gauges.per_s("output_tokens_total", window),
            felt.finished / window.length_s,
            percentile(felt.ttft_s, 0.5),
            percentile(felt.ttft_s, 0.95),
            percentile(felt.itl_s, 0.5),
            percentile(felt.itl_s, 0.95),
            percentile(felt.itl_s, 0.99),
            percentile(felt.tpot_s, 0.5),
            gauges.per_s("preemptions_total", window),
            gauges.mean("kv_cache_usage", window),
            gauges.mean("running", window),
            gauges.mean("waiting", window),
        )
    )
    row: Row = {"arm": f"N={callers}"} | dict(zip(COLUMNS, values, strict=True))
    return row | {"window_s": window.length_s, "errors": felt.errors}
