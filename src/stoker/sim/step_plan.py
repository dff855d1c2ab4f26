"""A run of engine steps of one composition: when each ends, in closed form."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import sqrt

from stoker.sim.sequences import Sequence

Chunk = tuple[Sequence, int]
"""Prompt tokens of one sequence, read in one step."""


@dataclass(slots=True)
class StepPlan:
    """`steps` steps from `start`: the first takes `first_s`, each next one `growth_s` longer."""

    start: float
    steps: int
    first_s: float
    growth_s: float = 0.0
    chunks: list[Chunk] = field(default_factory=list)
    """With any, the run is one step long."""
    taken_blocks: int = 0
    """Blocks of the first step's tokens, taken when it began."""

    @property
    def end(self) -> float:
        return self.end_of(self.steps)

    def end_of(self, steps: int) -> float:
        return self.start + steps * self.first_s + self.growth_s * (steps * (steps - 1) / 2)

    def ended(self, at: float) -> int:
        """Count the whole steps that end by `at`."""
        guess = max(0, min(self.steps, int(self._steps_in(at - self.start))))
        while guess < self.steps and self.end_of(guess + 1) <= at:
            guess += 1
        while guess and self.end_of(guess) > at:
            guess -= 1
        return guess

    def first_boundary(self, at: float) -> int:
        """Return the first step count whose end is not before `at`, or one more than planned."""
        ended = self.ended(at)
        return ended if self.end_of(ended) >= at else ended + 1

    def cut(self, steps: int) -> None:
        """End the run after `steps` steps; the one in progress is always finished."""
        self.steps = max(1, min(self.steps, steps))

    def _steps_in(self, seconds: float) -> float:
        if seconds <= 0.0:
            return 0.0
        if not self.growth_s:
            return seconds / self.first_s
        linear = self.first_s - self.growth_s / 2
        return 2.0 * seconds / (linear + sqrt(linear * linear + 2.0 * self.growth_s * seconds))
