"""The virtual clock, the event heap behind it, and every source of chance.

Two runs of one seed are the same run: equal times are served in the order in which they were asked
for, and each purpose has its own random stream, so that all arms meet the very same arrivals.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random


class Kernel:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0

    def random(self, purpose: str) -> Random:
        """A stream of its own: what one purpose draws does not move what another one meets."""
        return Random(f"{self.seed}/{purpose}")

    def at(self, time: float, call: Callable[[], None]) -> None:
        """Call then, or at once if that is past."""
        self._sequence += 1
        heapq.heappush(self._heap, (max(time, self.now), self._sequence, call))

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        self.at(self.now + seconds, call)

    def every(self, seconds: float, call: Callable[[], None]) -> None:
        """Call `seconds` from now and at that interval from then on."""
        self._repeat(self.now + seconds, seconds, call)

    def next_at(self) -> float | None:
        return self._heap[0][0] if self._heap else None

    def run_due(self) -> None:
        """Make every call that is due now, also those made on the way."""
        while self._heap and self._heap[0][0] <= self.now:
            _, _, call = heapq.heappop(self._heap)
            call()

    def _repeat(self, time: float, seconds: float, call: Callable[[], None]) -> None:
        def once() -> None:
            call()
            self._repeat(time + seconds, seconds, call)

        self.at(time, once)
