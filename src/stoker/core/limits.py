"""`Capacity` (physical: refuses) and `Limits` (learned: only delay), and the clamp between them.

They are two types on purpose. A learned number must never turn a request away, and must never
fall so low that an idle engine leaves somebody waiting.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from stoker.core.work import Priority


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the engine can physically hold. `None` = the engine does not say."""

    requests: int
    """Sequences it runs at once (`max_num_seqs`, llama.cpp's slots)."""
    kv_tokens: int | None = None
    """Tokens that fit its KV cache."""
    context_tokens: int | None = None
    """Longest prompt + output of one sequence (`max_model_len`)."""
    prefill_tokens_per_step: int = 2048
    """Prompt tokens it reads in one step (`max_num_batched_tokens`, llama.cpp's batch)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Learned ceilings on what is in flight. `None` = nothing learned, capacity alone binds."""

    requests_p0: int | None = None
    requests_p1: int | None = None
    """Places: running requests, and sessions that are between two turns."""
    requests_p2: int | None = None
    """Places, too."""
    tokens: int | None = None
    """Predicted tokens in flight at their peak, all classes together, that P1 and P2 may fill."""

    def requests(self, priority: Priority) -> int | None:
        """The ceiling of one class."""
        return (self.requests_p0, self.requests_p1, self.requests_p2)[priority]


def clamp(limits: Limits, capacity: Capacity) -> Limits:
    """Bring every learned ceiling into [1, capacity]: it may delay, never strand or overrun."""
    tokens = limits.tokens
    if tokens is not None:
        tokens = max(1, tokens if capacity.kv_tokens is None else min(tokens, capacity.kv_tokens))
    return replace(
        limits,
        requests_p0=_clamped(limits.requests_p0, capacity.requests),
        requests_p1=_clamped(limits.requests_p1, capacity.requests),
        requests_p2=_clamped(limits.requests_p2, capacity.requests),
        tokens=tokens,
    )


def _clamped(limit: int | None, most: int) -> int | None:
    return None if limit is None else max(1, min(limit, most))
