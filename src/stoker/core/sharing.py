"""How much of the KV cache a token in flight really takes: common prefixes lie there once.

Learned from the engine's gauge against our own count. Where every agent has the same system prompt,
counting it for each of them kept a quarter of an H100's throughput away from 64 agents (simulated).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from stoker.core.events import EngineSample
from stoker.core.ledger import Running

HELD_MIN_SHARE: Final = 0.1
"""Of the cache: below it, blocks and moments of reading say more than prefixes do."""
RISE: Final = 0.3
FALL: Final = 0.05
"""Gains per sample. Slow to believe in sharing, quick to give it up: the error has a price."""


class Sharing:
    def __init__(self) -> None:
        self.factor = 1.0
        """KV tokens per token counted; 1 while nothing else is known."""

    def reset(self) -> None:
        self.factor = 1.0

    def note(self, sample: EngineSample, running: Iterable[Running], kv_tokens: int | None) -> None:
        """Take a sample of the engine, if it can be compared with what we know to be read."""
        if sample.kv_cache_usage is None or kv_tokens is None or sample.waiting:
            return
        held = sum(one.held_tokens for one in running if one.first_token_at is not None)
        if held < HELD_MIN_SHARE * kv_tokens:
            return
        seen = min(1.0, sample.kv_cache_usage * kv_tokens / held)
        self.factor += (RISE if seen > self.factor else FALL) * (seen - self.factor)
