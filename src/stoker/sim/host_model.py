"""The host under the engine model: one pool of RAM, a co-tenant that takes of it, and the harm."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from stoker.core.events import HostSample

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class HostModel:
    """RAM over time on a box where host and accelerator share it.

    What others take is written down beforehand, as steps: a fault of a scenario, or a ramp made of
    many of them. Below `swap_below_bytes` the host swaps and every engine step takes 3 to 10 times
    as long; with nothing left it stands still until memory returns.
    """

    ram_total_bytes: int
    engine_bytes: int
    """Weights, KV cache, runtime: what the engine took at its start."""
    cotenant: Sequence[tuple[float, int]] = ()
    """(from when, bytes), in order of time."""
    swap_below_bytes: int = 3 * GIB
    kv_token_bytes: int = 0
    """RAM per KV token in use; 0 where the whole KV cache is taken at the start, as vLLM does."""
    _times: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        times = tuple(at for at, _ in self.cotenant)
        if list(times) != sorted(times):
            raise ValueError("the co-tenant's steps are not in order of time")
        object.__setattr__(self, "_times", times)

    def available_bytes(self, at: float, kv_tokens: int = 0) -> int:
        """Return what is left; negative when more was asked for than there is."""
        place = bisect_right(self._times, at)
        taken = self.cotenant[place - 1][1] if place else 0
        return self.ram_total_bytes - self.engine_bytes - taken - kv_tokens * self.kv_token_bytes

    def slowdown(self, at: float, kv_tokens: int = 0) -> float:
        """By what factor a step that starts now takes longer. Ask only where it is not frozen."""
        left = self.available_bytes(at, kv_tokens) / self.swap_below_bytes
        return 1.0 if left >= 1.0 else 3.0 + 7.0 * (1.0 - max(0.0, left))

    def is_frozen(self, at: float, kv_tokens: int = 0) -> bool:
        return self.available_bytes(at, kv_tokens) < 0

    def next_change(self, after: float) -> float | None:
        place = bisect_right(self._times, after)
        return self._times[place] if place < len(self._times) else None

    def sample(self, at: float, kv_tokens: int = 0) -> HostSample:
        """Return what `/proc/meminfo` and `/proc/pressure/memory` would say."""
        left = self.available_bytes(at, kv_tokens)
        short = min(1.0, max(0.0, 1.0 - left / self.swap_below_bytes))
        return HostSample(
            ram_available_bytes=max(0, left),
            ram_total_bytes=self.ram_total_bytes,
            psi_full_percent=10.0 + 70.0 * short if short else 0.0,
        )


def ramp(start: float, end: float, bytes_taken: int, *, steps: int = 20) -> list[tuple[float, int]]:
    """Take memory evenly from `start` to `end`: steps for `HostModel.cotenant`."""
    return [
        (start + (end - start) * step / steps, bytes_taken * step // steps)
        for step in range(1, steps + 1)
    ]
