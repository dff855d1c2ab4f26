"""What people feel and what the box delivers: time to first token and tokens, per class, recently.

A bounded ring of finished requests per class; percentiles are computed when somebody looks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stoker.core.work import Priority, RequestId, Usage

SAMPLES_MAX = 4_096
WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class Finished:
    """One finished request, as its caller saw it. Times are seconds."""

    at: float
    id: RequestId
    tenant: str
    priority: Priority
    queued_s: float
    ttft_s: float | None
    """From arrival here to the first token: waiting included."""
    e2e_s: float
    usage: Usage | None
    itl_s: float | None = None
    """Mean time between its output tokens; `None` where they did not come one by one."""


@dataclass(frozen=True, slots=True)
class ClassMeter:
    completed: int
    """Since the start."""
    ttft_p50_s: float | None
    ttft_p95_s: float | None
    itl_p50_s: float | None
    itl_p95_s: float | None
    """Between two output tokens of an answer, on its average."""
    prompt_tokens_per_s: float
    output_tokens_per_s: float
    """Of requests that finished in the last minute."""


class Meter:
    def __init__(self) -> None:
        self._recent: dict[Priority, deque[Finished]] = {
            priority: deque(maxlen=SAMPLES_MAX) for priority in Priority
        }
        self._completed = dict.fromkeys(Priority, 0)
        self._listeners: list[Callable[[Finished], None]] = []

    def listen(self, listener: Callable[[Finished], None]) -> None:
        """Call `listener` for each finished request (histograms feed on this)."""
        self._listeners.append(listener)

    def note(self, finished: Finished) -> None:
        self._recent[finished.priority].append(finished)
        self._completed[finished.priority] += 1
        for listener in self._listeners:
            listener(finished)

    def of(self, priority: Priority, now: float) -> ClassMeter:
        recent = [f for f in self._recent[priority] if now - f.at <= WINDOW_S]
        ttfts = sorted(f.ttft_s for f in recent if f.ttft_s is not None)
        itls = sorted(f.itl_s for f in recent if f.itl_s is not None)
        usages = [f.usage for f in recent if f.usage is not None]
        return ClassMeter(
            completed=self._completed[priority],
            ttft_p50_s=percentile(ttfts, 0.50),
            ttft_p95_s=percentile(ttfts, 0.95),
            itl_p50_s=percentile(itls, 0.50),
            itl_p95_s=percentile(itls, 0.95),
            prompt_tokens_per_s=sum(u.prompt_tokens for u in usages) / WINDOW_S,
            output_tokens_per_s=sum(u.output_tokens for u in usages) / WINDOW_S,
        )


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Nearest-rank percentile of sorted values; `None` of nothing."""
    if not ordered:
        return None
    rank = max(0, min(len(ordered) - 1, round(share * (len(ordered) - 1))))
    return ordered[rank]
