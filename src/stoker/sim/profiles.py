"""What an engine costs per step and how much fits it: the constants of the engine model."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineProfile:
    """An engine in numbers. A step of `B` decoding sequences takes
    `base + slope * B**exponent + context_token * (tokens that they hold)` seconds; prompt tokens
    read in the same step come on top, less what overlaps."""

    name: str
    step_base_s: float
    step_slope_s: float
    step_exponent: float
    context_token_s: float
    """Attention: per token of context in the batch, per step."""
    prefill_token_s: float
    """Per prompt token computed."""
    prefill_step_s: float = 0.0
    """Extra for a step with a prefill that is too large for the captured CUDA graphs."""
    prefill_overlap: float = 0.0
    """Share of the smaller of (decoding, prefill) that the larger hides, 0 to 1: one is bound by
    bandwidth, the other by arithmetic."""
    capture_sizes: tuple[int, ...] = ()
    """Batch sizes of the CUDA graphs: `B` is padded up to the next one. Empty: no padding."""
    requests: int = 256
    kv_tokens: int = 400_000
    block_tokens: int = 16
    prefill_tokens_per_step: int = 2048
    long_prefill_tokens: int | None = None
    """Most prompt tokens of one request in one step."""
    context_tokens: int | None = None
    has_priority: bool = True
    has_prefix_cache: bool = True
    front_s: float = 0.0
    """From the call to the engine's queue: HTTP, templates, tokenizing."""
    steps_ahead: int = 0
    """Steps that are planned before the one before has ended (vLLM's async scheduling: 1)."""
    abort_delay_s: float = 0.0
    """How long a hang-up goes unnoticed; then the step in progress still ends."""

    def __post_init__(self) -> None:
        if self.requests > self.prefill_tokens_per_step:
            # Then vLLM would leave some sequences out of a step, which is not modelled.
            raise ValueError(f"{self.name}: more requests than tokens in a step")
        if self.kv_tokens < self.block_tokens:
            raise ValueError(f"{self.name}: the KV cache holds no block")

    def decode_step_s(self, batch: int, context_tokens: int) -> float:
        """Return the seconds of a step in which `batch` sequences get one token each."""
        # `**` of two floats may be complex, so a type checker knows its type only by being told.
        power: float = self._padded(batch) ** self.step_exponent
        return self.step_base_s + self.step_slope_s * power + self.context_token_s * context_tokens

    def mixed_step_s(self, batch: int, context_tokens: int, prefill_tokens: int) -> float:
        """Return the seconds of a step that also reads `prefill_tokens` prompt tokens."""
        prefill = self.prefill_token_s * prefill_tokens
        if batch + prefill_tokens > max(self.capture_sizes, default=0):
            prefill += self.prefill_step_s
        if not batch:
            return self.step_base_s + prefill
        decode = self.decode_step_s(batch, context_tokens)
        hidden = self.prefill_overlap * min(decode - self.step_base_s, prefill)
        return decode + prefill - hidden

    def _padded(self, batch: int) -> int:
        place = bisect_left(self.capture_sizes, batch)
        return self.capture_sizes[place] if place < len(self.capture_sizes) else batch
