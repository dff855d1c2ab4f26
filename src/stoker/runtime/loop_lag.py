"""How late the event loop is: everything in this process waits for as long as that."""

from __future__ import annotations

from collections import deque

KEPT = 15
"""As many seconds: whoever sleeps for a second anyway says by how much it overslept."""


class LoopLag:
    """The last delays of one loop. It needs no timer of its own."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=KEPT)

    def note(self, slept_s: float, *, wanted_s: float) -> None:
        self._recent.append(max(0.0, slept_s - wanted_s))

    @property
    def worst_s(self) -> float | None:
        """The longest; `None` before the first."""
        return max(self._recent, default=None)
