"""What one control interval saw, frozen; `window_meter.py` measures it.

The optimizer reads `Window`s and nothing else, so a recorded window steps it again in a replay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stoker.core.limits import Capacity, Limits
from stoker.core.service_snapshot import ServiceSnapshot
from stoker.core.work import Priority


@dataclass(frozen=True, slots=True)
class Exposure:
    """Useful tokens of one run that is over, and the time over which they were made."""

    began_at: float
    ended_at: float
    tokens: int


@dataclass(frozen=True, slots=True)
class ClassWindow:
    """One priority class in one window. Rates are for the reader to form: counts are exact."""

    running: float = 0.0
    """Requests in the engine, averaged over the window."""
    places: float = 0.0
    """The same with parked agent sessions, which keep their place between turns."""
    output_tokens: int = 0
    prompt_tokens: int = 0
    """Prompt tokens that were new: not kept from a preempted run or from a session's last turn."""
    bound: Mapping[str, float] = field(default_factory=dict)
    """Reason -> share of the window in which it kept the next one out; the rest: nobody waited."""
    exposures: tuple[Exposure, ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """A closed control interval (seconds of the events' clock)."""

    began_at: float
    at: float
    p0: ClassWindow
    p1: ClassWindow
    p2: ClassWindow
    p0_share: float
    """Share of the window in which P0 held the box, or background work was still coming back."""
    is_steady: bool
    """The engine was up all the time, and its limits did not change."""
    tokens_per_request: float = 0.0
    """Forecast peak of the KV cache per running request, at the end; 0 while none runs."""
    engine_preemptions: float = 0.0
    """Running requests that the engine itself threw out for want of KV cache."""
    is_thrashing: bool = False
    """The prefix cache loses what it will need again (`thrash.py`)."""
    is_host_short: bool = False
    """The host is short of RAM; admission is held by it."""
    cached_share: float | None = None
    """Share of prompt tokens that the prefix cache served lately."""
    service: ServiceSnapshot | None = None
    """What is known of the engine's speed."""
    capacity: Capacity = field(default_factory=lambda: Capacity(requests=1))
    limits: Limits = field(default_factory=Limits)
    """The ceilings in force."""

    @property
    def seconds(self) -> float:
        return self.at - self.began_at

    def of(self, priority: Priority) -> ClassWindow:
        return (self.p0, self.p1, self.p2)[priority]
