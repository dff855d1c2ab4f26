"""A local quadratic of ln throughput against ln concurrency, with priors: the model of one step.

Owns the arithmetic of a penalised weighted least-squares fit; what is done with it is the
climber's. The curvature is never read from the difference of two noisy gradients: it is the mode of
a posterior whose prior is the last curvature, which in one dimension is what secant-penalised BFGS
does (Irwin and Haber, arXiv 2010.01275).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

NOISE_MIN = 0.01
"""Least standard deviation believed of one sample of ln throughput: a wobble of 1 %."""
_HUBER = 1.5
_ROUNDS = 2


class Sample(NamedTuple):
    """One clean tick: where it was (ln concurrency), what it gave (ln tokens/s), its weight."""

    x: float
    y: float
    weight: float


@dataclass(frozen=True, slots=True)
class Prior:
    """Normal beliefs about slope and curvature before any sample."""

    slope: float
    slope_sd: float
    curvature: float
    curvature_sd: float


@dataclass(frozen=True, slots=True)
class Fit:
    """ln y = level + slope * x + curvature * x**2 / 2 around x = 0, and how sure it is."""

    level: float
    slope: float
    slope_sd: float
    curvature: float
    noise: float
    """Standard deviation of one sample around the curve."""
    count: float
    """Effective number of samples."""

    def at(self, x: float) -> float:
        return self.level + self.slope * x + self.curvature * x * x / 2.0


def fit(samples: Sequence[Sample], prior: Prior) -> Fit:
    """The most probable curve; samples far off it count less (Huber).

    Neighbouring samples share their disturbances (a batch of prompts spoils several ticks), so the
    noise is widened by their lag-one correlation before it decides how sure the slope is.
    """
    assert samples, "a fit needs samples"
    noise = max(NOISE_MIN, _spread([sample.y for sample in samples]))
    weights = [sample.weight for sample in samples]
    solved = _solve(samples, weights, noise, prior)
    for _ in range(_ROUNDS):
        residuals = [sample.y - _value(solved, sample.x) for sample in samples]
        noise = max(NOISE_MIN, _weighted_sd(residuals, weights))
        weights = [
            sample.weight * min(1.0, _HUBER * noise / max(abs(residual), 1e-12))
            for sample, residual in zip(samples, residuals, strict=True)
        ]
        solved = _solve(samples, weights, noise * _widening(residuals), prior)
    level, slope, curvature, slope_sd = solved
    total = sum(weights)
    squares = sum((weight * weight for weight in weights), 0.0)
    return Fit(
        level=level,
        slope=slope,
        slope_sd=slope_sd,
        curvature=curvature,
        noise=noise,
        count=total * total / squares if total > 0.0 else 0.0,
    )


_Solved = tuple[float, float, float, float]


def _solve(
    samples: Sequence[Sample], weights: Sequence[float], noise: float, prior: Prior
) -> _Solved:
    """Normal equations of the three coefficients, priors as two more observations."""
    per = 1.0 / (noise * noise)
    s = [0.0] * 5
    t = [0.0] * 3
    for sample, weight in zip(samples, weights, strict=True):
        power = weight * per
        for order in range(5):
            s[order] += power
            if order < 3:
                t[order] += power * sample.y
            power *= sample.x
    slope_per, curve_per = 1.0 / prior.slope_sd**2, 1.0 / prior.curvature_sd**2
    a, b, c = s[0], s[1], s[2] / 2.0
    d, e, f = s[2] + slope_per, s[3] / 2.0, s[4] / 4.0 + curve_per
    r0, r1 = t[0], t[1] + prior.slope * slope_per
    r2 = t[2] / 2.0 + prior.curvature * curve_per
    # Cramer's rule: the matrix is positive definite as long as there is one sample.
    det = a * (d * f - e * e) - b * (b * f - c * e) + c * (b * e - c * d)
    level = (r0 * (d * f - e * e) - b * (r1 * f - e * r2) + c * (r1 * e - d * r2)) / det
    slope = (a * (r1 * f - e * r2) - r0 * (b * f - c * e) + c * (b * r2 - c * r1)) / det
    curvature = (a * (d * r2 - e * r1) - b * (b * r2 - c * r1) + r0 * (b * e - c * d)) / det
    return level, slope, curvature, math.sqrt(max(0.0, (a * f - c * c) / det))


def _value(solved: _Solved, x: float) -> float:
    level, slope, curvature, _ = solved
    return level + slope * x + curvature * x * x / 2.0


def _widening(residuals: Sequence[float]) -> float:
    """sqrt((1 + r) / (1 - r)) for the lag-one correlation r: the price of being alike."""
    power = sum(residual * residual for residual in residuals)
    if power <= 0.0 or len(residuals) < 4:
        return 1.0
    lagged = sum(a * b for a, b in pairwise(residuals)) / power
    lagged = min(0.8, max(0.0, lagged))
    return math.sqrt((1.0 + lagged) / (1.0 - lagged))


def _weighted_sd(values: Sequence[float], weights: Sequence[float]) -> float:
    total = sum(weights)
    if total <= 0.0:
        return 0.0
    return math.sqrt(
        sum(weight * value * value for value, weight in zip(values, weights, strict=True)) / total
    )


def _spread(values: Iterable[float]) -> float:
    values = list(values)
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
