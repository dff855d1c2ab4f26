"""A recorded closed loop, point by point, and the same loop on the engine model."""

from __future__ import annotations

import csv
import math
import random
from dataclasses import dataclass, replace
from pathlib import Path

from stoker.sim.engine_model import EngineModel
from stoker.sim.profiles import EngineProfile

from .figures import Client, Figures, Gaps, averaged, lognormal, percentile

FIGURES = ("output_tokens_per_s", "ttft_p50_s", "itl_p50_s", "itl_p95_s", "tpot_p50_s")
"""What is compared. TTFT p95 and ITL p99 of windows this short are not."""


@dataclass(frozen=True, slots=True)
class Point:
    """One line of a recording: N callers, what they asked, what they felt."""

    callers: int
    prompt_tokens: int
    output_tokens: float
    output_sigma: float
    measured: Figures
    server: str = ""
    capture_sizes: tuple[int, ...] | None = None
    """CUDA graphs of this recording, where one engine was recorded with several sets."""

    @property
    def name(self) -> str:
        return f"{self.server} N={self.callers}".strip()


def read_points(
    path: Path, server: str = "", capture_sizes: tuple[int, ...] | None = None
) -> list[Point]:
    """Read a file that `evaluate_real.py record --csv` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return [_point(row, server, capture_sizes) for row in csv.DictReader(file)]


def _point(row: dict[str, str], server: str, capture_sizes: tuple[int, ...] | None) -> Point:
    return Point(
        server=server,
        capture_sizes=capture_sizes,
        callers=int(float(row["n"])),
        prompt_tokens=int(float(row["prompt_tokens"])),
        output_tokens=float(row["output_tokens"]),
        output_sigma=float(row["output_sigma"]),
        measured={name: float(row[name]) for name in FIGURES if row.get(name)},
    )


@dataclass(frozen=True, slots=True)
class Times:
    """How long a recorded arm ran before it counted, and while it did.

    Short windows are replayed, not corrected: past the KV wall the queue in the engine still grows
    for longer than that, and a steady state would show a TTFT that nobody measured.
    """

    warm_up_s: float
    window_s: float


def simulate(profile: EngineProfile, point: Point, times: Times, *, seeds: int = 1) -> Figures:
    """What the engine model gives for a point, averaged over draws of the lengths."""
    return averaged([_run(profile, point, times, seed) for seed in range(seeds)])


def _run(profile: EngineProfile, point: Point, times: Times, seed: int) -> Figures:
    if point.capture_sizes is not None:
        profile = replace(profile, capture_sizes=point.capture_sizes)
    chance = random.Random(seed * 1_000_003 + point.callers)
    client = Client(EngineModel(profile, watch=lambda _: True))
    for _ in range(point.callers):
        client.ask(0.0, point.prompt_tokens, _residual(chance, point))
    began_at = times.warm_up_s
    ended_at = began_at + times.window_s
    _run_until(client, began_at, chance, point)
    tokens_before = client.engine.sample(began_at).output_tokens_total or 0.0
    _run_until(client, ended_at, chance, point)
    tokens = (client.engine.sample(ended_at).output_tokens_total or 0.0) - tokens_before
    ended = [call for call in client.calls if began_at <= call.ended_at <= ended_at]
    gaps = Gaps.of(ended)
    ttft_s = [call.ttft_s for call in client.calls if began_at <= call.first_at <= ended_at]
    return {
        "output_tokens_per_s": tokens / times.window_s,
        "ttft_p50_s": percentile(ttft_s, 0.5),
        "itl_p50_s": gaps.percentile(0.5),
        "itl_p95_s": gaps.percentile(0.95),
        "tpot_p50_s": percentile([call.tpot_s for call in ended if call.output_tokens > 1], 0.5),
    }


def _run_until(client: Client, until: float, chance: random.Random, point: Point) -> None:
    """Every caller asks again when answered."""
    while (at := client.engine.next_at()) is not None and at <= until:
        for _ in client.hear(at):
            length = lognormal(chance, point.output_tokens, point.output_sigma)
            client.ask(at, point.prompt_tokens, length)


def _residual(chance: random.Random, point: Point) -> int:
    """What is left of an answer that is found running: long ones are found more often."""
    found = lognormal(
        chance, point.output_tokens * math.exp(point.output_sigma**2), point.output_sigma
    )
    return max(1, round(found * chance.random()))
