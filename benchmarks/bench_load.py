"""What load prediction costs per decision. Run: `python benchmarks/bench_load.py`."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable

from stoker.core.load import InFlight, LoadPredictor, kv_peak
from stoker.core.work import Priority, Request, RequestId, Usage

FAMILIES = 20


def main() -> None:
    draw = random.Random(1)
    requests = [_request(number) for number in range(FAMILIES)]
    predictor = LoadPredictor()

    usages = [Usage(1000, min(1000, round(draw.expovariate(1 / 300)))) for _ in range(1000)]

    def observe() -> None:
        usage = draw.choice(usages)
        predictor.observe(draw.choice(requests), usage, is_truncated=usage.output_tokens == 1000)

    for _ in range(4000):
        observe()
    loads = {request.id: predictor.estimate(request) for request in requests}

    def remaining() -> None:
        request = draw.choice(requests)
        predictor.remaining(request, loads[request.id], draw.randrange(900))

    def cycle() -> None:
        observe()
        predictor.estimate(draw.choice(requests))

    running = [(draw.choice(requests), draw.randrange(900)) for _ in range(64)]
    fleets = {count: _fleet(draw, count) for count in (64, 256)}
    rows: list[tuple[str, str, Callable[[], object], int]] = [
        ("estimate", "5 µs", lambda: predictor.estimate(requests[0]), 20_000),
        ("remaining (random request and progress)", "–", remaining, 20_000),
        ("observe", "5 µs", observe, 20_000),
        ("observe, then estimate", "–", cycle, 20_000),
        ("note_in_flight, 64 running", "–", lambda: predictor.note_in_flight(running), 500),
        ("kv_peak, 64 in flight", "40 µs", lambda: kv_peak(fleets[64], 1.0), 5_000),
        ("kv_peak, 256 in flight", "150 µs", lambda: kv_peak(fleets[256], 1.0), 2_000),
    ]
    print("| call | p50 µs | mean µs | p99 µs | budget (p50) |\n|---|---|---|---|---|")
    for name, budget, call, rounds in rows:
        p50, mean, p99 = _timed(call, rounds)
        print(f"| {name} | {p50:.1f} | {mean:.1f} | {p99:.1f} | {budget} |")


def _request(number: int) -> Request:
    return Request(
        RequestId(str(number)), Priority.P2, 4000 + number, max_tokens=1000, family=f"f{number}"
    )


def _fleet(draw: random.Random, count: int) -> list[InFlight]:
    return [InFlight(draw.randrange(4000), draw.random() * 500, 1e4) for _ in range(count)]


def _timed(call: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    taken = []
    for _ in range(rounds):
        start = time.perf_counter_ns()
        call()
        taken.append((time.perf_counter_ns() - start) / 1000)
    taken.sort()
    return taken[rounds // 2], statistics.fmean(taken), taken[rounds * 99 // 100]


if __name__ == "__main__":
    main()
