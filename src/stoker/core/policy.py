"""Every number a person may set about scheduling, with its default and where that came from.

Nothing here is learned; learned ceilings are `Limits`, physical ones `Capacity`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SHARES_MAX = 0.95
"""Of a class, what may be reserved for tenants by name, all together."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Scheduling policy. Times are seconds, sizes are counts unless the name says otherwise."""

    # A waiting P0 never displaces a running P2 inside vLLM (vllm#40004), hence the reserves.
    p0_reserved_slots: int = 2
    """Slots kept free for P0 below the engine's own limit; fewer on engines with few slots."""
    p1_reserved_slots: int = 1
    """Slots kept free for P0 and P1 together, beyond those kept for P0 alone."""

    # P0 holds the box while a lease is active, a P0 request is in flight, or one has just left.
    p0_linger_s: float | None = None
    """How long P0 still holds the box after its last request has left; learned from the gaps
    between its requests (1 to 15 s) when not set."""
    lease_max_s: float = 3600.0
    """Longest P0 lease that is granted, and that an extension may reach."""
    lease_count_max: int = 64
    """P0 leases that may be active at once."""
    p2_during_p0: int | None = None
    """Background requests that may stay in the engine while P0 holds the box; follows from the
    service curve and the two keys below when not set."""
    p0_itl_target_s: float = 0.05
    """Time between two tokens of P0 within which background work may stay beside it."""
    p0_ttft_slack_s: float | None = None
    """How much later than without background work P0's first token may come; not set, that follows
    from `p0_itl_target_s` alone. Small, it costs much background work on a fast GPU."""
    p0_lease_slowdown: float = 1.15
    """Under a lease, also: how much longer a step may take than without background work; and, while
    nobody is served under it, how much longer the next question may wait for its first token."""
    p0_across_engines: bool = True
    """Whether P0 on one engine, or a lease, makes background work give way on the others too: they
    share the box, and nobody can tell how much of each other they feel."""
    p1_itl_target_s: float = 0.25
    """Time between two tokens of P1 up to which its learned ceiling may go."""
    ramp_s: float = 2.0
    """Time over which background work returns to its full limit after P0 or an outage."""
    shed_pause_s: float = 5.0
    """A background job is preempted at most once in this time (Valve, arXiv 2604.07874)."""

    prefill_debt_steps: float = 4.0
    """Background prompt tokens that may lie unread in the engine, in engine steps."""
    prefill_debt_steps_p0: float = 1.0
    """The same while P0 holds the box."""

    kv_share_p0: float = 1.0
    """Share of the KV cache that the forecast peak may reach with a P0 request."""
    kv_share_p1: float = 0.97
    """The same with a P1 request."""
    kv_share_p2: float = 0.96
    """The same with a background request."""

    session_ttl_max_s: float = 30.0
    """Longest time that a session keeps its place between two calls; 0 keeps none."""

    telemetry_stale_s: float = 5.0
    """Age at which the engine's gauges count as unknown, and the engine as saturated."""
    # The floors follow the watchdogs that GB10 owners run (8 GiB); loading weights takes 17 to
    # 19 GiB there within 10 s, and a host that runs out of RAM has to be switched off and on.
    ram_floor_bytes: int = 8 * 2**30
    """`MemAvailable` below which nothing but P0 starts; never more than 1/16 of the RAM."""
    ram_shed_bytes: int = 6 * 2**30
    """`MemAvailable` below which running background work is taken back while it still falls, one
    job a second. A forecast of this within 10 s stops P1 and P2. Lowered as the floor is."""
    ram_hard_bytes: int = 4 * 2**30
    """`MemAvailable` below which all background work is taken back at once, unless it is steady.
    Lowered as the floor is."""
    ram_settle_s: float = 10.0
    """Time without a fall after which a host below its floor counts as steady, and P1 and P2 start
    again, a few at a time: a small host may live there."""
    psi_full_max_percent: float = 5.0
    """Stall share of the host (`/proc/pressure/memory`, full avg10) above which only P0 starts."""

    queue_max_p0: int = 256
    """P0 requests that may wait at once; one more is refused."""
    queue_max_p1: int = 1024
    """P1 requests that may wait at once."""
    queue_max_p2: int = 4096
    """Background requests that may wait at once (`flex`; jobs wait in the store instead)."""
    wait_max_p0_s: float = 60.0
    """Longest wait of a P0 request before it is refused."""
    wait_max_p1_s: float = 300.0
    """Longest wait of a P1 request before it is refused."""
    down_wait_max_s: float = 10.0
    """How long a P0 or P1 caller waits for an engine that is down before a clear refusal."""

    # Ageing: the head of a class that has waited this long goes before the class above it, once.
    # P0's reserve is then kept free of P1 and P2 together, whatever P0 itself has filled.
    age_p1_s: float = 30.0
    """Wait after which the oldest P1 request goes before P0."""
    age_p2_s: float = 120.0
    """Wait after which the oldest background request goes before P1."""

    tenant_shares: Mapping[str, float] = field(default_factory=dict)
    """Tenant to the share of a class that it gets while others have work: `{"nightly" = 0.05}`. It
    gets everything when they have none. Tenants that are not named divide the rest evenly."""

    def reserve(self, capacity_requests: int) -> tuple[int, int]:
        """Slots kept for P0, and for P0 and P1 together; an engine of one slot keeps none."""
        p0 = min(self.p0_reserved_slots, capacity_requests // 4)
        p1 = min(self.p1_reserved_slots, capacity_requests // 8)
        return p0, p0 + p1
