"""Throughput of finished work in non-overlapping blocks of 45 s: what accepts a step or takes it
back.

A job's tokens are spread over the time in which they were made (exposure), or a few long jobs that
happen to end together would look like a burst. A block is judged only when it is *ripe*: old enough
that most jobs that ran in it have ended.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from stoker.core.window import Exposure

BLOCK_S = 45.0
BLOCKS_MAX = 40
"""Half an hour: older blocks say nothing about the work of now."""
RECENT = 3
_BIN = 0.15
_NEAR = 0.1
_DURATIONS_MAX = 64


@dataclass(slots=True)
class _Block:
    began_at: float
    tokens: float = 0.0
    position: float = 0.0
    ticks: int = 0
    is_clean: bool = True

    @property
    def ended_at(self) -> float:
        return self.began_at + BLOCK_S

    @property
    def rate(self) -> float:
        return self.tokens / BLOCK_S


@dataclass(frozen=True, slots=True)
class Better:
    """A place that was better than where we are, beyond what noise explains."""

    position: float
    rate: float
    rate_now: float


class FinishedThroughput:
    """Blocks of finished tokens, each with the ln concurrency at which it was made."""

    def __init__(self) -> None:
        self._blocks: deque[_Block] = deque(maxlen=BLOCKS_MAX)
        self._durations: deque[float] = deque(maxlen=_DURATIONS_MAX)
        self.rate: float | None = None
        """Tokens/s of the newest ripe block."""

    def forget(self) -> None:
        """The work has changed: nothing before now can be compared with what comes."""
        self._blocks.clear()
        self.rate = None

    def note(self, exposures: Iterable[Exposure]) -> None:
        for exposure in exposures:
            seconds = exposure.ended_at - exposure.began_at
            self._durations.append(seconds)
            if seconds <= 0.0:
                continue
            for block in self._blocks:
                overlap = min(block.ended_at, exposure.ended_at) - max(
                    block.began_at, exposure.began_at
                )
                if overlap > 0.0:
                    block.tokens += exposure.tokens * overlap / seconds

    def tick(self, at: float, position: float, *, is_clean: bool) -> None:
        """Another control interval has ended at `at`, run at `position` (ln concurrency)."""
        if not self._blocks or at >= self._blocks[-1].ended_at:
            self._blocks.append(_Block(at))
        block = self._blocks[-1]
        block.ticks += 1
        block.position += (position - block.position) / block.ticks
        block.is_clean = block.is_clean and is_clean
        ripe = self._ripe(at)
        self.rate = ripe[-1].rate if ripe else None

    def better(self, at: float, position: float) -> Better | None:
        """Where it was better than in the last three ripe blocks, by more than two deviations."""
        ripe = self._ripe(at)
        recent, older = ripe[-RECENT:], ripe[:-RECENT]
        if len(recent) < RECENT or any(abs(b.position - position) > _BIN for b in recent):
            return None
        bins: dict[int, list[_Block]] = {}
        for block in older:
            bins.setdefault(round(block.position / _BIN), []).append(block)
        groups = [group for group in bins.values() if len(group) >= 2]
        if not groups:
            return None
        best = max(groups, key=_mean)
        deviation = _deviation([*groups, recent])
        error = deviation * math.sqrt(1.0 / len(best) + 1.0 / len(recent))
        where = sum(block.position for block in best) / len(best)
        if abs(where - position) <= _NEAR or _mean(best) - _mean(recent) <= 2.0 * error:
            return None
        return Better(where, _mean(best), _mean(recent))

    def _ripe(self, at: float) -> list[_Block]:
        ordered = sorted(self._durations)
        longest = ordered[int(0.9 * (len(ordered) - 1))] if ordered else math.inf
        return [b for b in self._blocks if b.is_clean and b.ended_at + longest <= at]


def _mean(blocks: list[_Block]) -> float:
    return sum(block.rate for block in blocks) / len(blocks)


def _deviation(groups: list[list[_Block]]) -> float:
    """Standard deviation of one block around the mean of its group, pooled."""
    square, freedom = 0.0, 0
    for group in groups:
        mean = _mean(group)
        square += sum((block.rate - mean) ** 2 for block in group)
        freedom += len(group) - 1
    return math.sqrt(square / freedom) if freedom > 0 else math.inf
