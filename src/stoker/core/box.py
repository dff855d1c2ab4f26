"""What is known about the box at this instant: the engine's state and gauges, the host, capacity.

Facts only, each with its age. `admission.py` draws the conclusions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from stoker.core.events import EngineSample, HostSample
from stoker.core.limits import Capacity, Limits
from stoker.core.thrash import Thrash


@dataclass(slots=True)
class Box:
    capacity: Capacity
    limits: Limits = field(default_factory=Limits)
    is_engine_up: bool = False
    down_cause: str = "starting"
    abort_grace_s: float = 0.0
    changed_at: float = float("-inf")
    """When the engine last came up or went down."""
    engine: EngineSample = field(default_factory=EngineSample)
    engine_sampled_at: float | None = None
    """`None` until the first sample: an engine without gauges is never stale."""
    thrash: Thrash = field(default_factory=Thrash)
    kv_per_token: float = 1.0
    """KV tokens that a token in flight really takes: less than 1 where prefixes are common."""
    host: HostSample = field(default_factory=HostSample)
    requests_elsewhere: int = 0
    """P1 and P2 in the other engines of this box, as last told."""
    is_other_next: bool = False
    """Whether RAM that comes free is another engine's to take."""
    is_draining: bool = False

    def telemetry_age_s(self, at: float) -> float | None:
        return None if self.engine_sampled_at is None else at - self.engine_sampled_at
