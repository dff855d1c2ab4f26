"""The GB10 measurements (`vllm bench serve`, open loop), and the same tests on the engine model.

The data are djangodevreng/dgx-spark-benchmarks (CC-BY-4.0): totals per test, not lengths. Lengths
are drawn with the spread that the tests' own latency percentiles show and scaled to the totals.
"""

from __future__ import annotations

import csv
import math
import random
import statistics
from dataclasses import dataclass
from pathlib import Path

from stoker.sim.engine_model import EngineModel
from stoker.sim.profiles import EngineProfile

from .figures import Client, Figures, Gaps, averaged, percentile

MILLISECONDS = {
    "ttft_mean_s": "mean_ttft_ms",
    "ttft_p50_s": "p50_ttft_ms",
    "tpot_mean_s": "mean_tpot_ms",
    "itl_mean_s": "mean_itl_ms",
    "itl_p50_s": "p50_itl_ms",
}


@dataclass(frozen=True, slots=True)
class Test:
    """One test of one precision: what was offered, and what was measured."""

    precision: str
    name: str
    request_rate: float
    burstiness: float
    callers_max: int | None
    requests: int
    prompt_tokens: int
    output_tokens: int
    measured: Figures


def read_tests(path: Path) -> list[Test]:
    with path.open(newline="", encoding="utf-8") as file:
        return [_test(row) for row in csv.DictReader(file)]


def _test(row: dict[str, str]) -> Test:
    measured = {name: float(row[column]) / 1000 for name, column in MILLISECONDS.items()}
    return Test(
        precision=row["profile"],
        name=row["test"],
        request_rate=float(row["request_rate"]),
        burstiness=float(row["burstiness"]),
        callers_max=int(row["max_concurrency"]) if row["max_concurrency"] else None,
        requests=int(row["num_prompts"]),
        prompt_tokens=int(row["total_input_tokens"]),
        output_tokens=int(row["total_output_tokens"]),
        measured={"output_tokens_per_s": float(row["output_throughput"])} | measured,
    )


def simulate(profile: EngineProfile, test: Test, *, seeds: int = 1) -> Figures:
    """What the engine model gives for a test, averaged over draws of arrivals and lengths."""
    return averaged([_run(profile, test, seed) for seed in range(seeds)])


def _run(profile: EngineProfile, test: Test, seed: int) -> Figures:
    chance = random.Random(seed)
    client = Client(EngineModel(profile, watch=lambda _: True))
    draw = _conversation if "sharegpt" in test.name else _uniform
    prompts = _scaled([draw(chance) for _ in range(test.requests)], test.prompt_tokens)
    outputs = _scaled([draw(chance) for _ in range(test.requests)], test.output_tokens)
    arrivals = _arrivals(chance, test)
    running, asked, at = 0, 0, 0.0
    while True:
        open_places = test.callers_max is None or running < test.callers_max
        arrives_at = arrivals[asked] if asked < test.requests and open_places else math.inf
        next_at = client.engine.next_at()
        happens_at = math.inf if next_at is None else next_at
        if happens_at == arrives_at == math.inf:
            return _figures(client, at)
        if arrives_at <= happens_at:
            at = max(at, arrives_at)
            running -= len(client.hear(at))
            client.ask(at, prompts[asked], outputs[asked])
            running += 1
            asked += 1
        else:
            at = happens_at
            running -= len(client.hear(at))


def _figures(client: Client, duration_s: float) -> Figures:
    calls = client.calls
    gaps = Gaps.of(calls)
    ttft_s = [call.ttft_s for call in calls]
    return {
        "output_tokens_per_s": sum(call.output_tokens for call in calls) / duration_s,
        "ttft_mean_s": statistics.fmean(ttft_s),
        "ttft_p50_s": percentile(ttft_s, 0.5),
        "tpot_mean_s": statistics.fmean(call.tpot_s for call in calls if call.output_tokens > 1),
        "itl_mean_s": gaps.mean,
        "itl_p50_s": gaps.percentile(0.5),
    }


def _arrivals(chance: random.Random, test: Test) -> list[float]:
    """As `vllm bench serve` does: gamma intervals, stretched so that the rate comes out exactly."""
    shape = test.burstiness
    intervals = [chance.gammavariate(shape, 1.0 / shape) for _ in range(test.requests)]
    stretch = test.requests / test.request_rate / sum(intervals)
    arrivals, at = [], 0.0
    for interval in intervals:
        at += interval * stretch
        arrivals.append(at)
    return arrivals


def _uniform(chance: random.Random) -> float:
    # End-to-end p95 is 1.9 times the mean and p99 2.0 at low load: a range ratio of about 0.9.
    return chance.uniform(0.1, 1.9)


def _conversation(chance: random.Random) -> float:
    # End-to-end p95 / mean 2.9, p99 / mean 4.4: lognormal with sigma 0.9, its tail cut.
    return min(chance.lognormvariate(0.0, 0.9), 8.0)


def _scaled(parts: list[float], total: int) -> list[int]:
    scale = total / sum(parts)
    return [max(2, round(part * scale)) for part in parts]
