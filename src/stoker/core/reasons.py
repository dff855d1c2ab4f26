"""Why a request is where it is: the closed set of reasons, and an explanation with numbers.

`admission.py` decides with these and explains with these; there is no second list for humans.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Reason(Enum):
    """The first check that a request fails, or `ADMITTED`. The value is the wire code."""

    ADMITTED = "admitted"

    # It waits because ...
    ENGINE_DOWN = "engine_down"
    """... the engine is not ready: starting, dead, hanging, or failing its small completion."""
    TELEMETRY_STALE = "telemetry_stale"
    """... the engine's gauges are older than the limit; unseen counts as saturated."""
    HOST_RAM_FLOOR = "host_ram_floor"
    """... `MemAvailable` is at the floor (or will be within seconds)."""
    P0_LEASE = "p0_lease"
    """... P0 holds the box: a lease, or P0 traffic and its linger."""
    RAMP = "ramp"
    """... a lease or an outage has just ended and background work returns gradually."""
    SLOTS_FULL = "slots_full"
    """... every sequence slot of the engine is taken."""
    SLOT_RESERVE = "slot_reserve"
    """... the slots left are kept free for a higher class."""
    PREFILL_DEBT = "prefill_debt"
    """... background prompts that the engine has not read yet already fill the allowed steps."""
    KV_PEAK = "kv_peak"
    """... the forecast peak of the KV cache would pass its limit."""
    LIMIT = "limit"
    """... the learned ceiling (requests or tokens in flight) is reached."""
    THRASH = "thrash"
    """... the sessions that are here push each other's prefixes out of the cache already."""
    ENGINE_GONE = "engine_gone"
    """... it is a job for an engine that is not in the configuration any more."""
    QUEUED = "queued"
    """... others of its class, or of a higher one, are before it."""

    # It is refused because ...
    EXCEEDS_CAPACITY = "exceeds_capacity"
    """... it can never fit this engine."""
    QUEUE_FULL = "queue_full"
    """... the queue of its class is full."""
    KEY_IN_FLIGHT = "key_in_flight"
    """... its key has as many requests, or tokens, here as it may."""
    KEY_QUEUED = "key_queued"
    """... as many of its key's tenant wait as may."""
    RATE_LIMIT_EXCEEDED = "rate_limit_exceeded"
    """... its key has had as many requests, or tokens, in the last minute as it may."""
    QUEUE_TIMEOUT = "queue_timeout"
    """... it waited longer than its class may wait, or past its own deadline."""
    ENGINE_UNAVAILABLE = "engine_unavailable"
    """... the engine has been down longer than a caller is made to wait."""
    DRAINING = "draining"
    """... this process is shutting down."""

    # Members are compared by identity; the inherited hash, of the name, is Python code.
    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True)
class Explanation:
    """One answer to *why*: the reason, the knob behind it, what was measured against what limit."""

    reason: Reason
    knob: str | None = None
    """Name of the setting or gauge that would change the answer."""
    measured: float | None = None
    limit: float | None = None
    is_retryable: bool = True
    note: str | None = None

    @property
    def message(self) -> str:
        """One sentence for people; built only when somebody reads it."""
        text = SENTENCES[self.reason]
        if self.note:
            text = f"{text}: {self.note}"
        if self.measured is not None and self.limit is not None:
            text = f"{text} ({self.knob or 'measured'} {self.measured:g}, limit {self.limit:g})"
        elif self.measured is not None:
            text = f"{text} ({self.knob or 'measured'} {self.measured:g})"
        return text


ADMITTED = Explanation(Reason.ADMITTED)

SENTENCES = {
    Reason.ADMITTED: "nothing stands in its way",
    Reason.ENGINE_DOWN: "the engine is not ready",
    Reason.TELEMETRY_STALE: "the engine's gauges are too old to trust, which counts as full",
    Reason.HOST_RAM_FLOOR: "the host is short of RAM",
    Reason.P0_LEASE: "interactive work holds the box",
    Reason.RAMP: "background work is returning gradually",
    Reason.SLOTS_FULL: "every slot of the engine is taken",
    Reason.SLOT_RESERVE: "the free slots are kept for a higher class",
    Reason.PREFILL_DEBT: "background prompts are still being read",
    Reason.KV_PEAK: "the KV cache would overflow at its forecast peak",
    Reason.LIMIT: "the learned ceiling is reached",
    Reason.THRASH: "calls push each other's prefixes out of the cache",
    Reason.ENGINE_GONE: "the engine that it is for is not in the configuration any more",
    Reason.QUEUED: "others are before it",
    Reason.EXCEEDS_CAPACITY: "it can never fit this engine",
    Reason.QUEUE_FULL: "the queue of its class is full",
    Reason.KEY_IN_FLIGHT: "its API key has as much here as it may",
    Reason.KEY_QUEUED: "as many of its API key's tenant wait as may",
    Reason.RATE_LIMIT_EXCEEDED: "its API key has had as much this minute as it may",
    Reason.QUEUE_TIMEOUT: "it waited as long as it may",
    Reason.ENGINE_UNAVAILABLE: "the engine is not available",
    Reason.DRAINING: "the service is shutting down",
}
