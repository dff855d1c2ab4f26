"""Requests in the engine model while a measurement is replayed, and the figures that come of it."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from stoker.core.work import Priority, RequestId
from stoker.sim.engine_model import EngineModel
from stoker.sim.work import Ended, Segment, SimRequest, Started

Figures = dict[str, float]


@dataclass(slots=True)
class Call:
    """One request, as its client saw it."""

    asked_at: float
    output_tokens: int
    first_at: float = math.inf
    ended_at: float = math.inf
    gaps: Sequence[tuple[int, float]] = ()

    @property
    def ttft_s(self) -> float:
        return self.first_at - self.asked_at

    @property
    def tpot_s(self) -> float:
        return (self.ended_at - self.first_at) / (self.output_tokens - 1)


@dataclass(slots=True)
class Client:
    """Hands in unshared prompts and keeps what it was told."""

    engine: EngineModel
    calls: list[Call] = field(default_factory=list)

    def ask(self, at: float, prompt_tokens: int, output_tokens: int) -> None:
        name = str(len(self.calls))
        self.calls.append(Call(at, output_tokens))
        segment = Segment(f"prompt {name}", prompt_tokens)
        request = SimRequest(RequestId(name), Priority.P2, (segment,), output_tokens)
        self.engine.submit(at, request)

    def hear(self, to: float) -> list[Call]:
        """Let the engine run and return the calls that ended."""
        ended = []
        for notice in self.engine.advance(to):
            call = self.calls[int(notice.id)]
            match notice:
                case Started(at=at):
                    call.first_at = at
                case Ended(at=at, gaps=gaps):
                    call.ended_at = at
                    call.gaps = gaps
                    ended.append(call)
        return ended


@dataclass(frozen=True, slots=True)
class Gaps:
    """Inter-token times of many calls, weighted by tokens."""

    ordered: Sequence[tuple[float, int]]
    tokens: int

    @classmethod
    def of(cls, calls: Sequence[Call]) -> Gaps:
        pairs = sorted((gap, tokens) for call in calls for tokens, gap in call.gaps)
        return cls(pairs, sum(tokens for _, tokens in pairs))

    @property
    def mean(self) -> float:
        return sum(gap * tokens for gap, tokens in self.ordered) / max(1, self.tokens)

    def percentile(self, share: float) -> float:
        left = share * self.tokens
        for gap, tokens in self.ordered:
            left -= tokens
            if left <= 0:
                return gap
        return math.nan


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else math.nan


def lognormal(chance: random.Random, mean: float, sigma: float) -> int:
    return max(1, round(chance.lognormvariate(math.log(mean) - sigma**2 / 2, sigma)))


def averaged(runs: Sequence[Figures]) -> Figures:
    return {name: statistics.fmean(run[name] for run in runs) for name in runs[0]}
