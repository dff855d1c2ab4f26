"""The frozen view of the scheduler that dashboards, metrics and tests read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stoker.core.events import EngineSample, HostSample
from stoker.core.host_guard import GuardView
from stoker.core.limits import Capacity, Limits
from stoker.core.load import PredictorSnapshot
from stoker.core.places import PlacesView
from stoker.core.reasons import Explanation, Reason
from stoker.core.service_snapshot import ServiceSnapshot
from stoker.core.story import Entry
from stoker.core.tenants import TenantView
from stoker.core.work import LeaseId, Priority, Request, RequestId


@dataclass(frozen=True, slots=True)
class ClassView:
    waiting: int
    running: int
    oldest_wait_s: float | None
    blocked_by: Explanation | None
    """Why the head of this class waits; `None` when nobody waits."""
    places: PlacesView
    prompt_tokens_total: int
    """Useful tokens since the start: what is computed twice counts once."""
    output_tokens_total: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    at: float
    classes: Mapping[Priority, ClassView]
    tenants: Mapping[tuple[Priority, str], TenantView]
    """Those with anything here, or served before; so many by name."""
    leases: Mapping[LeaseId, float]
    """Lease -> seconds left."""
    is_p0_held: bool
    is_p0_elsewhere: bool
    """Whether it is held by P0 on another engine of this box."""
    p0_linger_s: float
    p2_beside_p0: int
    """Background requests that may be in the engine while P0 holds it."""
    resumed_cached_share: float
    """Of the prompts of continued jobs, what the engine had cached."""
    is_engine_up: bool
    engine_cause: str | None
    is_draining: bool
    capacity: Capacity
    limits: Limits
    engine: EngineSample
    telemetry_age_s: float | None
    is_telemetry_stale: bool
    host: HostSample
    guard: GuardView
    departing: int
    parked_tokens: float
    """The room in the KV cache that is kept for sessions between two calls."""
    cached_share: float | None
    """Share of prompt tokens that the engine found cached, over the last 10 s or more."""
    is_thrashing: bool
    kv_per_token: float
    """KV tokens that a token in flight really takes: less than 1 where prefixes are common."""
    unread_p2_tokens: int
    held_tokens: int
    """Actual tokens in flight: prompts plus output seen so far."""
    predicted_final_tokens: float
    """What those requests are predicted to hold at their ends."""
    kv_peak_forecast_tokens: float
    forecast_z: float
    forecast_coverage: float | None
    forecast_over_estimate: float | None
    jobs_claiming: int
    admissions: Mapping[tuple[Priority, Reason], int]
    preemptions: int
    outcomes: Mapping[tuple[Priority, str], int]
    predictor: PredictorSnapshot
    service: ServiceSnapshot


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted tokens of one request, and what it has shown; its story has the final usage."""

    prompt_tokens: int
    output_tokens: float
    tokens_seen: int


@dataclass(frozen=True, slots=True)
class Story:
    """One request, from arrival to leaving."""

    id: RequestId
    state: str
    """`waiting`, `running`, or `gone`."""
    request: Request | None
    explanation: Explanation | None
    """Why it waits, now; `None` when it does not wait."""
    position: int | None
    prediction: Prediction | None
    entries: tuple[Entry, ...]
    engine: str | None = None
    """The name of the engine that it is for, where one is remembered."""
    began_at: float | None = None
    """When the first entry was, in seconds since 1970; entries have the time of the events."""
