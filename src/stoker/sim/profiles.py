"""What an engine costs per step and how much fits it: the constants of the engine model."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class EngineProfile:
    """An engine in numbers. A step of `B` decoding sequences and `P` prompt tokens takes

    `base + slope * B**exponent + context_token * (tokens that the B hold) + prefill_token * P
    + experts * (1 - (1 - expert_share)**(B + P))` seconds.

    The last term is what makes a mixture of experts slow at small batches already: it is the share
    of all experts that this many tokens choose from, hence of the weights that are read.
    """

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
    experts_s: float = 0.0
    """For reading all experts once; 0 for a dense model, whose weights are in the base."""
    expert_share: float = 0.0
    """Experts that one token takes, of all: 8 of 256 for Qwen3.6-35B-A3B."""
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
        return self._decode_s(batch, context_tokens) + self._experts_s(self._padded(batch))

    def mixed_step_s(self, batch: int, context_tokens: int, prefill_tokens: int) -> float:
        """Return the seconds of a step that also reads `prefill_tokens` prompt tokens."""
        tokens = batch + prefill_tokens
        seconds = self._experts_s(tokens) + self.prefill_token_s * prefill_tokens
        if tokens > max(self.capture_sizes, default=0):
            seconds += self.prefill_step_s
        return seconds + (self._decode_s(batch, context_tokens) if batch else self.step_base_s)

    def _decode_s(self, batch: int, context_tokens: int) -> float:
        # `**` of two floats may be complex, so a type checker knows its type only by being told.
        power: float = self._padded(batch) ** self.step_exponent
        return self.step_base_s + self.step_slope_s * power + self.context_token_s * context_tokens

    def _experts_s(self, tokens: int) -> float:
        unread: float = (1.0 - self.expert_share) ** tokens
        return self.experts_s * (1.0 - unread)

    def _padded(self, batch: int) -> int:
        place = bisect_left(self.capture_sizes, batch)
        return self.capture_sizes[place] if place < len(self.capture_sizes) else batch


_H100_SIZES = (1, 2, 4, *range(8, 129, 8))

H100_MOE = EngineProfile(
    name="h100-moe",
    step_base_s=4.87e-3,
    step_slope_s=5.1e-6,
    step_exponent=1.0,
    context_token_s=3.6e-8,  # not fitted: 96 KiB per token at 2.7 TB/s
    prefill_token_s=1.417e-5,
    prefill_step_s=0.0773,
    experts_s=9.75e-3,
    expert_share=8 / 128,
    capture_sizes=(*_H100_SIZES, 2048),
    requests=128,
    kv_tokens=96_000,
    prefill_tokens_per_step=8192,
    context_tokens=8192,
    front_s=6.7e-3,
    steps_ahead=1,
)
"""vLLM 0.23 on an H100, Qwen3-30B-A3B shape in FP8, KV cut to 96,000 tokens, large CUDA graphs.

Source: benchmarks/data/h100_moe_30b_*.csv, 2026-11-23. Fitted on 8 of 15 points; the other 7 are
predicted within 6 % in throughput and 17 % in TTFT p50, past the KV wall too.
"""

H100_MOE_DEFAULT = replace(
    H100_MOE, name="h100-moe-default", capture_sizes=(*_H100_SIZES, 160, 192, 256)
)
"""The same server with vLLM's own capture sizes: a step with a larger prefill costs 77 ms more."""

GB10_FP8 = EngineProfile(
    name="gb10-fp8",
    step_base_s=0.01812,
    step_slope_s=8.9e-4,
    step_exponent=1.0,
    context_token_s=3.75e-8,  # not fitted: 10 KiB per token at 273 GB/s
    prefill_token_s=1.929e-4,
    experts_s=0.0816,
    expert_share=8 / 256,
    capture_sizes=(1, 2, 4, *range(8, 257, 8)),  # vLLM's own
    kv_tokens=1_000_000,
    front_s=0.0113,
    steps_ahead=1,
)
"""vLLM 0.26 on a DGX Spark, Qwen3.6-35B-A3B in FP8.

Source: djangodevreng/dgx-spark-benchmarks (CC-BY-4.0), 10 open-loop tests. Mean
error in output throughput, TTFT p50 and TPOT: 3.4 %, 5.5 % and 6.9 % on five tests that were
predicted from the other five; these constants are fitted on all ten: 1.7 %, 5.8 % and 3.9 %.
The KV cache was never full there: `kv_tokens` is about the most that was held, not what fits.
"""

GB10_NVFP4 = replace(
    GB10_FP8,
    name="gb10-nvfp4",
    step_base_s=0.0205,
    step_slope_s=7.91e-4,
    prefill_token_s=1.391e-4,
    experts_s=0.0456,
    front_s=0.0214,
)
"""The same in NVFP4. Predicted 3.5 %, 4.1 % and 8.5 %; here 1.6 %, 6.4 % and 4.1 %."""

GB10_BF16 = replace(
    GB10_FP8,
    name="gb10-bf16",
    step_base_s=0.0302,
    step_slope_s=7.62e-4,
    prefill_token_s=1.638e-4,
    experts_s=0.1826,
    front_s=0.0169,
)
"""The same in BF16. Predicted 3.4 %, 12.3 % and 3.0 %; here 2.4 %, 6.7 % and 4.3 %."""
