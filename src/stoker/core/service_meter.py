"""Turns progress reports and first tokens into evidence for the service curve.

Tokens may be counted per frame, and frames come in bunches, so nothing shorter than a second is
believed. A second in which prompts were read too is corrected for them, and counts little.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from stoker.core.box import Box
from stoker.core.ledger import Ledger, Running
from stoker.core.service_curve import ServiceCurve
from stoker.core.work import RequestId, Usage

_WINDOW_MIN_S: Final = 1.0
_WINDOW_MAX_S: Final = 4.0
_STEPS_MIN: Final = 8.0
"""A window lasts until each request has moved so far, so that whole frames do not matter."""
_MIXED_MIN_S: Final = 3.0
_PROMPTS_MIN: Final = 3
"""Nor whole prompts: each counts at its first token, though it was read for a while."""
_GAP_MAX_S: Final = 2.0
"""Reports further apart than this say nothing about what was between them."""
_BATCH_CHANGE: Final = 0.25
_MIXED_WEIGHT: Final = 0.2
_MIXED_MAX: Final = 0.6
"""Share of a window that reading prompts may have taken if the rest is to say anything."""
_SILENT_S: Final = 5.0
"""Unread for so long, and four times as long as reading takes: its engine does not stream."""


class _Interval(NamedTuple):
    """Between two reports."""

    decoding: int
    """Requests that decoded throughout; only their tokens count."""
    newcomers: int
    """Others that decode now."""
    unread: int
    tokens: int


@dataclass(slots=True)
class _Window:
    """Exposure and tokens of those who decoded throughout each interval."""

    seconds: float = 0.0
    exposure_s: float = 0.0
    batch_s: float = 0.0
    tokens: int = 0
    read_tokens: float = 0.0
    prompts: int = 0

    def add(self, seconds: float, seen: _Interval, batch: float) -> None:
        self.seconds += seconds
        self.exposure_s += seconds * seen.decoding
        self.batch_s += seconds * batch
        self.tokens += seen.tokens

    def add_read(self, tokens: float, prompts: int) -> None:
        self.read_tokens += tokens
        self.prompts += prompts

    @property
    def batch(self) -> float:
        return self.batch_s / self.seconds

    @property
    def is_full(self) -> bool:
        steps = self.tokens * self.seconds / self.exposure_s
        return self.seconds >= _WINDOW_MIN_S and (
            steps >= _STEPS_MIN or self.seconds >= _WINDOW_MAX_S
        )

    @property
    def is_mixed_full(self) -> bool:
        return self.seconds >= _MIXED_MIN_S and self.prompts >= _PROMPTS_MIN


def _going_on(window: _Window, batch: float) -> _Window:
    """The same window while the batch stays about what it was; else a new one."""
    is_other = window.seconds and abs(window.batch - batch) > max(1.0, _BATCH_CHANGE * batch)
    return _Window() if is_other else window


class ServiceMeter:
    """Watches the ledger and feeds the curve."""

    def __init__(self, ledger: Ledger, box: Box, curve: ServiceCurve) -> None:
        self._ledger = ledger
        self._box = box
        self._curve = curve
        self._at: float | None = None
        self._batch = 0
        self._read = (0.0, 0)
        self._clean = _Window()
        self._mixed = _Window()

    def progressed(self, at: float, tokens: Mapping[RequestId, int]) -> None:
        """Before the ledger takes the report up: it still says where each was at the last one."""
        since, self._at = self._at, at
        seen = self._look(float("-inf") if since is None else since, at, tokens)
        batch, self._batch = self._batch, seen.decoding + seen.newcomers
        read, prompts = self._since_last()
        if since is None or not 0.0 < at - since <= _GAP_MAX_S or not seen.decoding:
            return
        mean = (batch + self._batch) / 2
        if not (seen.unread or prompts):
            self._clean = _going_on(self._clean, mean)
            self._clean.add(at - since, seen, mean)
            self._take_clean(at)
        else:
            self._mixed = _going_on(self._mixed, mean)
            self._mixed.add(at - since, seen, mean)
            self._mixed.add_read(read, prompts)
            self._take_mixed(at)

    def _look(self, since: float, at: float, tokens: Mapping[RequestId, int]) -> _Interval:
        """Who is where now, and how far those have come that decoded since the last report."""
        decoding = newcomers = unread = moved = 0
        for id, running in self._ledger.running.items():
            first = running.first_token_at
            if first is None:
                is_silent = self._is_silent(running, at)
                newcomers += is_silent
                unread += not is_silent
            elif first > since:
                newcomers += 1  # its first interval is not a whole one
            else:
                decoding += 1
                before = running.tokens_seen
                moved += tokens.get(id, before) - before
        return _Interval(decoding, newcomers, unread, moved)

    def _take_clean(self, at: float) -> None:
        window = self._clean
        if window.is_full:
            self._clean = _Window()
            self._note_step(at, window, 0.0, weight=1.0)

    def _take_mixed(self, at: float) -> None:
        window = self._mixed
        if not window.is_mixed_full:
            return
        self._mixed = _Window()
        reading_s = self._curve.prefill_s(window.read_tokens, prompts=window.prompts)
        if reading_s is not None and reading_s <= _MIXED_MAX * window.seconds:
            self._note_step(at, window, reading_s, weight=_MIXED_WEIGHT)

    def _note_step(self, at: float, window: _Window, reading_s: float, *, weight: float) -> None:
        if window.tokens:
            share = 1.0 - reading_s / window.seconds
            step_s = window.exposure_s / window.tokens * share
            self._curve.note_step(at, window.batch, step_s, weight=weight)

    def _since_last(self) -> tuple[float, int]:
        """Prompt tokens, and prompts, read since the last report."""
        before = self._read
        self._read = (self._ledger.read_tokens, self._ledger.prompts_read)
        return self._read[0] - before[0], self._read[1] - before[1]

    def _is_silent(self, running: Running, at: float) -> bool:
        age = at - running.dispatched_at
        if age < _SILENT_S:
            return False
        return age > 4.0 * (self._curve.prefill_s(running.load.prompt_tokens) or _SILENT_S)

    def left(self, at: float, running: Running, usage: Usage | None) -> None:
        """A whole answer beside which no prompt was read and the batch stayed: its own mean step.

        Where answers are over in a second, progress reports say next to nothing.
        """
        reading, first, ledger = running.reading, running.first_token_at, self._ledger
        if usage is None or reading is None or first is None or at <= first:
            return
        before, now = reading.decoding + 1, ledger.decoding + 1
        is_changed = abs(before - now) > _BATCH_CHANGE * before
        is_mixed = ledger.prompts_read != reading.prompts_read or len(ledger.running) >= now
        if usage.output_tokens > _STEPS_MIN and not is_changed and not is_mixed:
            step_s = (at - first) / (usage.output_tokens - 1)
            weight = min(1.0, (at - first) / _WINDOW_MIN_S)
            self._curve.note_step(at, (before + now) / 2, step_s, weight=weight)

    def finished(self, at: float, running: Running, usage: Usage) -> None:
        """Now it is known how much of its prompt was cached: learn what reading the rest took."""
        reading = running.reading
        if reading is None or reading.seconds <= 0.0 or usage.output_tokens < 2:
            return  # an answer in one piece: its "first token" is its end
        tokens = reading.others_tokens + max(0, usage.prompt_tokens - (usage.cached_tokens or 0))
        steps = math.ceil(tokens / self._box.capacity.prefill_tokens_per_step)
        step_s = (self._curve.step_s(reading.decoding) or 0.0) if reading.decoding else 0.0
        # Half a step more: it came while one was in progress.
        rest_s = max(0.1 * reading.seconds, reading.seconds - (steps + 0.5) * step_s)
        share = rest_s / reading.seconds
        self._curve.note_prefill(at, tokens, rest_s, weight=share * share)
