"""Whether calls push each other's prefixes out of the cache: the share of prompts found cached.

It is read from the token counters. The hit counters of vLLM count every look at the waiting head,
and said 30 % where 34 % was true and 58 % where it was 75 %.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from stoker.core.events import EngineSample

WINDOW_MIN_S: Final = 10.0
TOKENS_MIN: Final = 2_000.0
"""Prompt tokens that a window needs before its share means anything."""
BEST_WITHIN_S: Final = 300.0
FALL: Final = 0.15
"""How far below the best of that time the share must be."""
RECOVERED: Final = 0.05
"""How far it must have come back from there."""
EASED: Final = 0.9
"""Part of the limit below which the working set counts as fallen."""
COOL_DOWN_S: Final = 30.0
"""Time after its end in which it does not begin again: what was let in has to show first."""


class Thrash:
    """One verdict, judged at each sample of the engine."""

    def __init__(self) -> None:
        self.share: float | None = None
        """Share of prompt tokens found cached in the latest full window."""
        self.is_on = False
        self._start: tuple[float, float, float] | None = None
        """When the open window began, and the prompt tokens and cached ones counted then."""
        self._windows: deque[tuple[float, float]] = deque()
        self._not_before = float("-inf")

    @property
    def floor(self) -> float | None:
        """The share below which calls push each other out; `None` before the first window."""
        best = max((share for _, share in self._windows), default=None)
        return None if best is None else best - FALL

    def reset(self) -> None:
        """The engine is gone, and its cache and counters with it."""
        self.share, self._start, self.is_on = None, None, False
        self._windows.clear()

    def judge(
        self, at: float, sample: EngineSample, *, working_set: float, limit: float | None
    ) -> None:
        """Take a sample; `working_set` is what runs and what is parked, in tokens."""
        self._measure(at, sample)
        floor = self.floor
        if limit is None or self.share is None or floor is None:
            self.is_on = False
        elif self.is_on:
            self.is_on = self.share < floor + RECOVERED and working_set > EASED * limit
            if not self.is_on:
                self._not_before = at + COOL_DOWN_S
        else:
            self.is_on = self.share < floor and working_set > limit and at >= self._not_before

    def _measure(self, at: float, sample: EngineSample) -> None:
        prompt, cached = sample.prompt_tokens_total, sample.prompt_tokens_cached_total
        while self._windows and self._windows[0][0] < at - BEST_WITHIN_S:
            self._windows.popleft()
        if prompt is None or cached is None:
            return
        if self._start is None or prompt < self._start[1]:
            self._start = (at, prompt, cached)
            return
        began, prompt_then, cached_then = self._start
        read = prompt - prompt_then
        if at - began >= WINDOW_MIN_S and read >= TOKENS_MIN:
            self.share = min(1.0, max(0.0, (cached - cached_then) / read))
            self._windows.append((at, self.share))
            self._start = (at, prompt, cached)
