"""How well could the KV peak be forecast by somebody who knew the distribution of the lengths?

    python benchmarks/bench_forecast.py             # half a minute; nothing in it is timed

A box in its steady state: requests of random age, lengths drawn by how long they stay. The bound
knows the true distribution and every age, draws the rest of every answer many times, and takes the
95th of 100 peaks. Beside it stands the expected peak that Stoker uses, given the true moments of
what remains, with each request in two parts (as it is) and in more. Nobody joins.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
from bisect import bisect, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from stoker.core.envelope import InFlight, kv_peak
from stoker.sim.lengths import LogNormal, Shape
from stoker.sim.scenarios import KV_TIGHT, REASONING, SHORT

COVERAGE = 0.95
PARTS = 8
_POOL = 20_000
_DRAWS = 100
"""Of what remains, for each set of requests."""


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    shape: Shape
    running: int
    """As many as the best fixed limit of the scenario, or as many as Stoker runs there."""
    kv_tokens: int


def cases() -> list[Case]:
    tripled = LogNormal(1500, 1800, output_sigma=0.6)
    return [
        Case("reasoning", REASONING.shape, 86, 374_000),
        Case("kv-tight", KV_TIGHT.shape, 28, 60_000),
        Case("drift, second phase", tripled, 20, 60_000),
        Case("short", SHORT.shape, 256, 1_000_000),
    ]


class Lengths:
    """The true distribution of answers: many draws of it, in order."""

    def __init__(self, shape: Shape, chance: random.Random) -> None:
        self._shape, self._chance = shape, chance
        self._pool = sorted(shape.draw(chance)[1] for _ in range(_POOL))
        self._cumulated = list(accumulate(self._pool))
        self._known: dict[int, tuple[float, float]] = {}

    def running(self) -> tuple[int, int]:
        """Tokens held, and how many of them are output, of one that is met at a random moment."""
        place = self._chance.random() * self._cumulated[-1]
        seen = self._chance.randrange(self._pool[bisect(self._cumulated, place)])
        return self._shape.draw(self._chance)[0] + seen, seen

    def remaining(self, seen: int) -> int:
        longer = bisect_right(self._pool, seen)
        return self._pool[self._chance.randrange(longer, _POOL)] - seen

    def moments(self, seen: int) -> tuple[float, float]:
        if seen not in self._known:
            rest = [length - seen for length in self._pool[bisect_right(self._pool, seen) :]]
            self._known[seen] = statistics.fmean(rest), statistics.pvariance(rest)
        return self._known[seen]


def expected_peak(in_flight: Sequence[InFlight], parts: int) -> float:
    """The envelope's peak with each request in `parts` exponential parts; two are `kv_peak`."""
    edges = [-math.log1p(-part / parts) for part in range(parts)]
    below = [(edge + 1.0) * math.exp(-edge) for edge in edges] + [0.0]
    shifts = [parts * (a - b) - 1.0 for a, b in pairwise(below)]
    ends = [
        InFlight(
            one.held_tokens,
            max(0.0, one.remaining_tokens + shift * math.sqrt(one.remaining_variance)),
            0.0,
        )
        for one in in_flight
        for shift in shifts
    ]
    return kv_peak(ends, 0.0) / parts


def measured(case: Case, sets: int, seed: int) -> str:
    """One row of the table."""
    lengths = Lengths(case.shape, random.Random(seed))
    held: list[float] = []
    excess: dict[str, list[float]] = {"bound": [], "two": [], "more": []}
    misses = 0
    for _ in range(sets):
        drawn = [lengths.running() for _ in range(case.running)]
        peaks = [_peak(drawn, lengths.remaining) for _ in range(_DRAWS + 1)]
        realised, bound = peaks[0], sorted(peaks[1:])[round(COVERAGE * _DRAWS) - 1]
        expected = [InFlight(tokens, *lengths.moments(seen)) for tokens, seen in drawn]
        held.append(sum(tokens for tokens, _ in drawn) / case.kv_tokens)
        misses += realised > bound
        excess["bound"].append(bound / realised - 1.0)
        excess["two"].append(kv_peak(expected, 0.0) / realised - 1.0)
        excess["more"].append(expected_peak(expected, PARTS) / realised - 1.0)
    shares = " | ".join(f"{statistics.fmean(each):.1%}" for each in excess.values())
    return (
        f"| {case.name} | {case.running} | {statistics.fmean(held):.0%} ± "
        f"{statistics.pstdev(held):.1%} | {1 - misses / sets:.0%} | {shares} |"
    )


def _peak(drawn: Sequence[tuple[int, int]], remaining: Callable[[int], int]) -> float:
    return kv_peak([InFlight(tokens, float(remaining(seen)), 0.0) for tokens, seen in drawn], 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", type=int, default=150, help="boxes looked at for each row")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(
        "| work | running | of the cache held | bound: held | bound: over-estimate "
        f"| envelope, 2 parts, z = 0 | {PARTS} parts, z = 0 |\n"
        "|---|--:|--:|--:|--:|--:|--:|"
    )
    for case in cases():
        print(measured(case, options.sets, options.seed), flush=True)


if __name__ == "__main__":
    main()
