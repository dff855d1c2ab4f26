"""Facts in. Every event carries `at`, monotonic seconds; nothing else tells the core the time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stoker.core.limits import Capacity, Limits
from stoker.core.work import LeaseId, Outcome, Request, RequestId, Usage


@dataclass(frozen=True, slots=True)
class EngineSample:
    """An engine's gauges at one instant. A gauge that the engine lacks is `None`, never 0."""

    running: int | None = None
    waiting: int | None = None
    kv_cache_usage: float | None = None
    """Share of the KV cache in use, 0 to 1."""
    preemptions_total: float | None = None
    prompt_tokens_total: float | None = None
    prompt_tokens_cached_total: float | None = None
    output_tokens_total: float | None = None


@dataclass(frozen=True, slots=True)
class HostSample:
    """The host's own pressure: on unified memory it drains the same pool as the KV cache."""

    ram_available_bytes: int | None = None
    ram_total_bytes: int | None = None
    psi_full_percent: float | None = None
    """`/proc/pressure/memory`, `full avg10`."""
    swap_used_bytes: int | None = None
    engine_rss_bytes: int | None = None
    """Resident RAM of the engine's processes, where they run on this host; of several engines that
    are ours, of all together."""


@dataclass(frozen=True, slots=True)
class Arrived:
    at: float
    request: Request


@dataclass(frozen=True, slots=True)
class FirstToken:
    at: float
    id: RequestId


@dataclass(frozen=True, slots=True)
class Progressed:
    """Output tokens seen so far, for the running requests that moved. Sent a few times a second."""

    at: float
    tokens: Mapping[RequestId, int]


@dataclass(frozen=True, slots=True)
class Left:
    """The request is over here, waiting or running; whatever it held is given back."""

    at: float
    id: RequestId
    outcome: Outcome
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class LeaseGranted:
    """A P0 lease was granted, or extended when the id is known already."""

    at: float
    id: LeaseId
    expires_at: float


@dataclass(frozen=True, slots=True)
class LeaseReleased:
    at: float
    id: LeaseId


@dataclass(frozen=True, slots=True)
class JobsAvailable:
    """The store has claimable jobs (a ping: the count need not be exact)."""

    at: float
    count: int
    tenants: Mapping[str, int] = field(default_factory=dict)
    """How many of each tenant; empty where they are not told apart."""


@dataclass(frozen=True, slots=True)
class JobsClaimed:
    """Answer to `ClaimJobs(asked)`: `claimed` rows were had, and will arrive as requests."""

    at: float
    asked: int
    claimed: int
    tenant: str | None = None
    """Whose were asked for, if only one tenant's were."""


@dataclass(frozen=True, slots=True)
class EngineSampled:
    at: float
    sample: EngineSample


@dataclass(frozen=True, slots=True)
class HostSampled:
    at: float
    sample: HostSample
    in_flight: int | None = None
    """P1 and P2 in all engines of the box, so that all judge alike; `None` where there is one."""


@dataclass(frozen=True, slots=True)
class P0Elsewhere:
    """One more P0 request, or a hold, has come to another engine of this box; or none is left."""

    at: float
    is_held: bool


@dataclass(frozen=True, slots=True)
class RunningElsewhere:
    """P1 and P2 in the other engines of this box. Told while the host's RAM bounds them all."""

    at: float
    requests: int
    is_other_next: bool = False
    """Another engine has nothing in it, waits for RAM, and had its last turn before this one."""


@dataclass(frozen=True, slots=True)
class CapacityChanged:
    at: float
    capacity: Capacity


@dataclass(frozen=True, slots=True)
class LimitsChanged:
    at: float
    limits: Limits


@dataclass(frozen=True, slots=True)
class EngineUp:
    at: float
    abort_grace_s: float = 0.0
    """How long this engine may keep a slot after we hung up."""


@dataclass(frozen=True, slots=True)
class EngineDown:
    at: float
    cause: str


@dataclass(frozen=True, slots=True)
class DrainRequested:
    at: float


@dataclass(frozen=True, slots=True)
class DeadlineReached:
    """The instant that `Scheduler.next_deadline()` named has come."""

    at: float


Observation = EngineSampled | CapacityChanged | LimitsChanged | EngineUp | DeadlineReached
"""What is noticed about the engine, or the passing of time."""

Event = (
    Arrived
    | FirstToken
    | Progressed
    | Left
    | LeaseGranted
    | LeaseReleased
    | JobsAvailable
    | JobsClaimed
    | EngineDown
    | DrainRequested
    | HostSampled
    | P0Elsewhere
    | RunningElsewhere
    | Observation
)
