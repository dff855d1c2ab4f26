"""How fast the engine is: seconds per decode step at each batch size, and per prefill token.

Owns the fit and its evidence; what counts as evidence is `service_meter.py`'s. One step over a
batch B takes t(B) = a + b * B**gamma; a prompt of p uncached tokens takes o + c * p.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from stoker.core.service_snapshot import ServiceSnapshot

_FORGET_S: Final = 600.0
"""Time constant of forgetting."""
_KNOWN_SAMPLES: Final = 5.0
"""Samples (of a second or more) from which on the curve is believed."""
_PREFILLS_KNOWN: Final = 3.0
_REACH: Final = 2.0
"""The curve is trusted up to twice the largest batch seen, and down to half the smallest."""
_REFIT_S: Final = 3.0

_BINS_PER_OCTAVE: Final = 4
_GAIN_MIN: Final = 1 / 20
_CLIP: Final = 0.3
"""Huber: a sample further away than this (in logarithms, about a third) pulls no harder."""
_SHIFTED_SAMPLES: Final = 6
"""So many such samples in a row, all on one side, are no outliers: the engine has changed."""
_STALE_SHARE: Final = 0.02
_STAIR_SHARE: Final = 0.97
"""What was seen at a batch holds for it and all larger ones, less this for noise: an engine pads
batches up to its next CUDA graph, and a smooth curve would step over the stair."""
_STAIR_SAMPLES: Final = 2.0
_WEIGHT_MAX: Final = 20.0
"""Of one bin in the fit, so that an hour at one batch size does not drown the others."""

# Where only one or two batch sizes were seen, the shape is taken from a published fit of a
# mixture-of-experts model on a unified-memory box. It is steep: what is unseen counts as slower.
_PRIOR_A: Final = 12.2
_PRIOR_B: Final = 9.03
_PRIOR_GAMMA: Final = 0.72
_PRIOR_WEIGHT: Final = 0.5
_GAMMAS: Final = (0.3, 0.4, 0.5, 0.6, 0.72, 0.85, 1.0, 1.15)
_GAMMA_PENALTY: Final = 0.02

_PREFILL_SOFT_TOKENS: Final = 500.0
"""Below this size a prefill's own cost is drowned in the noise of one step."""


@dataclass(slots=True)
class _Bin:
    """Steps at about one batch size, as moving means of logarithms."""

    samples: float
    log_batch: float
    log_step: float
    at: float
    outliers: int = 0
    """Latest clipped samples in a row: above the mean positive, below it negative."""

    def add(self, at: float, log_batch: float, log_step: float, weight: float) -> None:
        self.samples = self.samples * math.exp(-max(0.0, at - self.at) / _FORGET_S) + weight
        self.at = at
        gain = max(_GAIN_MIN * weight, weight / self.samples)
        self.log_batch += gain * (log_batch - self.log_batch)
        off = log_step - self.log_step
        side = (off > _CLIP) - (off < -_CLIP)
        self.outliers = self.outliers + side if side * self.outliers >= 0 and side else side
        if abs(self.outliers) >= _SHIFTED_SAMPLES:
            self.samples, self.log_step, self.outliers = weight, log_step, 0
        elif self.samples < _KNOWN_SAMPLES:
            self.log_step += gain * off
        else:
            self.log_step += gain * max(-_CLIP, min(_CLIP, off))

    def weight(self, at: float) -> float:
        fresh = max(_STALE_SHARE, math.exp(-max(0.0, at - self.at) / _FORGET_S))
        return min(_WEIGHT_MAX, self.samples) * fresh


@dataclass(slots=True)
class _Line:
    """seconds = base + slope * tokens, by forgetting least squares on relative errors."""

    samples: float = 0.0
    at: float = 0.0
    weight: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    base: float = 0.0
    slope: float = 0.0

    def add(self, at: float, tokens: float, seconds: float, trust: float) -> None:
        weight = trust * (_PREFILL_SOFT_TOKENS / (tokens + _PREFILL_SOFT_TOKENS)) ** 2
        if self.samples >= _KNOWN_SAMPLES:
            off = abs(math.log(seconds / max(1e-9, self.base + self.slope * tokens)))
            weight *= min(1.0, _CLIP / max(off, 1e-9))
        keep = math.exp(-max(0.0, at - self.at) / _FORGET_S) if self.samples else 0.0
        keep = min(keep, 1.0 - _GAIN_MIN / 4)
        self.at = at
        self.samples = self.samples * keep + trust
        self.weight = self.weight * keep + weight
        self.x = self.x * keep + weight * tokens
        self.y = self.y * keep + weight * seconds
        self.xx = self.xx * keep + weight * tokens * tokens
        self.xy = self.xy * keep + weight * tokens * seconds
        self.solve()

    def solve(self) -> None:
        # One pseudo-observation of no base cost parts the two where all prompts are alike.
        weight = self.weight + min(0.25, 0.25 * self.weight)
        spread = self.xx * weight - self.x * self.x
        slope = (self.xy * weight - self.x * self.y) / spread if spread > 0 else 0.0
        base = (self.y - slope * self.x) / weight
        if slope <= 0.0:
            slope, base = 0.0, self.y / self.weight
        elif base < 0.0:
            slope, base = self.xy / self.xx, 0.0
        self.slope, self.base = slope, base


class ServiceCurve:
    """t(B), seconds per decode step at batch B, and the time that reading a prompt takes.

    Memory is bounded by the number of batch sizes, four to an octave; old evidence fades within
    ten minutes of newer evidence at the same size, and never before there is newer.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Another engine: nothing of what was learned holds."""
        self._bins: dict[int, _Bin] = {}
        self._line = _Line()
        self._fit: tuple[float, float, float] | None = None
        self._fitted_at = float("-inf")
        self._stairs: list[tuple[float, float]] = []
        self._seen = (math.inf, 0.0)
        self._samples = 0.0

    # ------------------------------------------------------------------ evidence

    def note_step(self, at: float, batch: float, step_s: float, *, weight: float = 1.0) -> None:
        """A second or more of decoding at about `batch` took `step_s` per step."""
        if batch < 1.0 or not 0.0 < step_s < math.inf:
            return
        log_batch, log_step = math.log(batch), math.log(step_s)
        index = round(_BINS_PER_OCTAVE * log_batch / math.log(2.0))
        known = self._bins.get(index)
        if known is None:
            self._bins[index] = _Bin(weight, log_batch, log_step, at)
        else:
            known.add(at, log_batch, log_step, weight)
        if known is None or at - self._fitted_at >= _REFIT_S:
            self._refit(at)

    def note_prefill(
        self, at: float, tokens: float, seconds: float, *, weight: float = 1.0
    ) -> None:
        """The engine read `tokens` uncached prompt tokens in `seconds`, decoding taken off.

        `weight`: less than 1 where most of the time had to be taken off.
        """
        if tokens >= 1.0 and 0.0 < seconds < math.inf and weight > 0.0:
            self._line.add(at, tokens, seconds, weight)

    # ------------------------------------------------------------------ answers

    @property
    def is_known(self) -> bool:
        return self._fit is not None and self._samples >= _KNOWN_SAMPLES

    @property
    def batch_reach(self) -> int:
        """Largest batch that the evidence speaks for; 0 while nothing is known."""
        return math.floor(self._seen[1] * _REACH) if self.is_known else 0

    def step_s(self, batch: float) -> float | None:
        """Seconds per step at `batch`; `None` while unknown, or too far from every batch seen."""
        if self._fit is None or not self.is_known:
            return None
        low, high = self._seen
        if not low / _REACH <= batch <= high * _REACH:
            return None
        a, b, gamma = self._fit
        seen_s = max((step_s for edge, step_s in self._stairs if edge <= batch), default=0.0)
        return max(seen_s, float(a + b * batch**gamma))

    def batch_max(self, itl_s: float) -> int | None:
        """Largest batch whose step is within `itl_s`, as far as is known; 0 = not even one."""
        if self._fit is None or not self.is_known:
            return None
        a, b, gamma = self._fit
        if itl_s < a:
            return 0
        batch = self.batch_reach
        if a + b * batch**gamma > itl_s:
            batch = math.floor(((itl_s - a) / b) ** (1.0 / gamma) + 1e-9)
        for edge, step_s in self._stairs:
            if step_s > itl_s:
                batch = min(batch, math.ceil(edge) - 1)
        return batch if batch >= self._seen[0] / _REACH else 0

    def prefill_s(self, tokens: float, *, prompts: int = 1) -> float | None:
        """Seconds to read `tokens` that are not in the prefix cache; `None` while unknown."""
        if self._line.samples < _PREFILLS_KNOWN:
            return None
        return prompts * self._line.base + self._line.slope * max(0.0, tokens)

    def prefill_tokens_max(self, seconds: float) -> float | None:
        """Most uncached tokens that are read within `seconds`."""
        base_s, token_s = self.prefill_s(0), self.prefill_token_s
        if base_s is None or token_s is None:
            return None
        if base_s > seconds:
            return 0.0
        return (seconds - base_s) / token_s if token_s > 0.0 else math.inf

    @property
    def prefill_token_s(self) -> float | None:
        """c: seconds to read one more token; `None` while unknown."""
        return self._line.slope if self._line.samples >= _PREFILLS_KNOWN else None

    def snapshot(self) -> ServiceSnapshot:
        """What is known, frozen."""
        fit = self._fit if self.is_known else None
        has_prefill = self._line.samples >= _PREFILLS_KNOWN
        low, high = self._seen
        powers = [1 << power for power in range(self.batch_reach.bit_length())]
        steps = [(batch, self.step_s(batch)) for batch in powers]
        return ServiceSnapshot(
            is_known=self.is_known,
            samples=self._samples,
            batch_seen_min=round(low) if self._bins else None,
            batch_seen_max=round(high) if self._bins else None,
            base_s=fit[0] if fit else None,
            per_batch_s=fit[1] if fit else None,
            gamma=fit[2] if fit else None,
            prefill_s_per_token=self._line.slope if has_prefill else None,
            prefill_base_s=self._line.base if has_prefill else None,
            steps_s={batch: step_s for batch, step_s in steps if step_s is not None},
        )

    # ------------------------------------------------------------------ across restarts

    def state(self) -> dict[str, list[float]]:
        """All evidence as plain numbers, without times: a monotonic clock ends with its process."""
        line = self._line
        document = {
            f"step.{index}": [one.samples, one.log_batch, one.log_step]
            for index, one in self._bins.items()
        }
        if line.samples:
            document["prefill"] = [line.samples, line.weight, line.x, line.y, line.xx, line.xy]
        return document

    def restore(self, document: Mapping[str, Sequence[float]], at: float) -> None:
        """Take up saved evidence where there is none yet; it counts as one step's worth of news.

        So a warm start knows the shape at once, and the first seconds of the new life correct it.
        """
        for name, values in document.items():
            if not all(math.isfinite(value) for value in values):
                continue
            kind, _, index = name.partition(".")
            if kind == "step" and len(values) == 3 and int(index) not in self._bins:
                samples, log_batch, log_step = values
                kept = min(samples, _KNOWN_SAMPLES)
                self._bins[int(index)] = _Bin(kept, log_batch, log_step, at)
            elif kind == "prefill" and len(values) == 6 and not self._line.samples:
                samples, weight, x, y, xx, xy = values
                share = min(1.0, _KNOWN_SAMPLES / samples)
                scaled = (share * value for value in (samples, weight, x, y, xx, xy))
                n, weight, x, y, xx, xy = scaled
                self._line = _Line(n, at, weight, x, y, xx, xy)
                self._line.solve()
        if self._bins:
            self._refit(at)

    # ------------------------------------------------------------------ the fit

    def _refit(self, at: float) -> None:
        self._fitted_at = at
        points = [
            (math.exp(one.log_batch), math.exp(one.log_step), one.weight(at))
            for one in self._bins.values()
        ]
        self._samples = sum(one.samples for one in self._bins.values())
        self._seen = (min(p[0] for p in points), max(p[0] for p in points))
        self._stairs = [
            (_lower_edge(index), math.exp(one.log_step) * _STAIR_SHARE)
            for index, one in self._bins.items()
            if one.samples >= _STAIR_SAMPLES and at - one.at < _FORGET_S
        ]
        anchor = max(points, key=lambda point: point[2])
        scale = anchor[1] / _prior(anchor[0])
        points += [
            (batch, scale * _prior(batch), _PRIOR_WEIGHT) for batch in (1.0, self._seen[1] * _REACH)
        ]
        self._fit = min((_solve(points, gamma) for gamma in _GAMMAS), key=lambda fit: fit[1])[0]


def _lower_edge(index: int) -> float:
    return math.exp2((index - 0.5) / _BINS_PER_OCTAVE)


def _prior(batch: float) -> float:
    return float(_PRIOR_A + _PRIOR_B * batch**_PRIOR_GAMMA)


def _solve(
    points: Sequence[tuple[float, float, float]], gamma: float
) -> tuple[tuple[float, float, float], float]:
    """The best a, b >= 0 for one gamma by least squares on relative errors, and its loss."""
    zz = zv = vv = z1 = v1 = total = 0.0
    for batch, step, weight in points:
        z = 1.0 / step
        v = batch**gamma * z
        total += weight
        zz += weight * z * z
        zv += weight * z * v
        vv += weight * v * v
        z1 += weight * z
        v1 += weight * v
    det = zz * vv - zv * zv
    a, b = -1.0, -1.0
    if det > 1e-12 * zz * vv:
        a, b = (z1 * vv - v1 * zv) / det, (v1 * zz - z1 * zv) / det
    if a < 0.0:
        a, b = 0.0, v1 / vv
    elif b < 0.0:
        a, b = z1 / zz, 0.0
    loss = total - 2.0 * (a * z1 + b * v1) + a * a * zz + 2.0 * a * b * zv + b * b * vv
    return (a, b, gamma), loss + _GAMMA_PENALTY * (gamma - _PRIOR_GAMMA) ** 2
