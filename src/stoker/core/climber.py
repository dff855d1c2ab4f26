"""One learned ceiling: it climbs the hill of throughput against concurrency, slowly and surely.

Owns the state of the climb for one class and one shape of work; whether a window may teach at all
is decided before it comes here (`optimizer.py`). The position is u = ln N. A slow square dither
moves N to both sides; a penalised local fit (`local_fit.py`) reads slope and curvature; a damped
quasi-Newton step follows inside a trust region, and only as far as the slope is beyond noise.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from statistics import median

from stoker.core.climb import ClimbPolicy, ClimbReason, ClimbStep, ClimbView
from stoker.core.drift import Drift
from stoker.core.finished import FinishedThroughput
from stoker.core.local_fit import Fit, Prior, Sample, fit

_SAMPLES_MAX = 160
_RANGE = 0.35
_SURE = 2.0
_REST_PERIODS = 6
_PAST_GUARD = math.log(1.15)
_GUARD_DECAY = 0.003
_FALL = 0.1
"""Loss of throughput (in logarithms) that ends the growth: well beyond a tick's noise."""


class Climber:
    """Call `step` once per window; the answer is the ceiling for the next one."""

    def __init__(self, policy: ClimbPolicy, *, position: float | None = None) -> None:
        self._policy = policy
        self.position = math.log(policy.start) if position is None else position
        self.curvature = policy.curvature
        self.trust = policy.trust_start
        self.is_cold = position is None
        self._samples: deque[tuple[float, float, float]] = deque(maxlen=_SAMPLES_MAX)
        self._finished = FinishedThroughput()
        self._drift = Drift()
        self._fit: Fit | None = None
        self._sign = 1
        self._flips = 0
        self._flip_at: float | None = None
        self._settled_at = -math.inf
        self._rest_until = -math.inf
        self._cool_until = -math.inf
        self._ticks = 0
        self._last_direction = 0
        self._dither = 0.0

    # ------------------------------------------------------------------ one window

    def step(self, view: ClimbView) -> ClimbStep:
        """Learn from one window, where it may teach, and say where the ceiling is now."""
        reason = self._why_not(view)
        is_clean = reason is None
        self._finished.note(view.exposures)
        self._finished.tick(view.at, self.position, is_clean=is_clean)
        if reason is None:
            reason = self._edges(view) or self._sample(view) or self._move(view)
        elif reason is ClimbReason.TAINTED and view.may_grow and self.is_cold:
            # Nobody is to wait for hours behind a number that was never learned.
            reason = self._edges(view) or self._grow(view)
        else:
            self._dither, self._flip_at = 0.0, None
        self.position = min(max(self.position, 0.0), math.log(max(1, view.capacity)))
        return self._told(reason, view)

    def _why_not(self, view: ClimbView) -> ClimbReason | None:
        """Why this window says nothing about the engine, if so."""
        if view.taint is not None:
            return ClimbReason.TAINTED
        waited = view.limit_share + view.guard_share + view.pace_share
        is_full = view.places >= 0.9 * math.exp(self.position - self._dither)
        if waited < 0.5 and not is_full:
            return ClimbReason.APP_LIMITED
        return None

    def _edges(self, view: ClimbView) -> ClimbReason | None:
        """Signs that need no statistics: a step back and a pause, whatever the fit says."""
        if view.at < self._cool_until:
            return ClimbReason.COOLING
        if view.preemptions <= 0:
            return None
        back = 0.05 * min(3.0, view.preemptions)
        here = math.log(max(1.0, view.places))
        self.position = min(self.position, here) - back
        self.is_cold = False
        self._cool_until = view.at + self._policy.cooldown_s
        self._dither, self._flip_at = 0.0, None
        return ClimbReason.BACKED_OFF

    def _sample(self, view: ClimbView) -> ClimbReason | None:
        """Take the window as a sample of the curve; a residual beyond noise means drift."""
        if view.rate <= 0.0 or view.places < 0.5:
            return ClimbReason.PACED
        if self._policy.has_settle and view.at < self._settled_at:
            return None
        x, y = math.log(view.places), math.log(view.rate)
        drifted = False
        if self._fit is not None and self._fit.count >= self._policy.samples_min:
            predicted = self._fit.at(x - self.position)
            drifted = self._drift.note((y - predicted) / max(self._fit.noise, 0.03))
        if drifted:
            self.forget()
        self._samples.append((view.at, x, y))
        return ClimbReason.DRIFTED if drifted else None

    def forget(self) -> None:
        """The work has changed: the shape is the prior again; the position stays."""
        self._samples.clear()
        self.curvature, self._fit = self._policy.curvature, None
        self._finished.forget()
        self._rest_until = -math.inf

    def _move(self, view: ClimbView) -> ClimbReason:
        self._ticks += 1
        if self._ticks % self._policy.step_every == 0:
            self._refit(view)
        if view.guard_share >= 0.5 and view.guard_share > view.limit_share:
            return self._beside_guard(view)
        if self.is_cold:
            return self._grow(view)
        if view.pace_share >= 0.5 and view.places < 0.9 * math.exp(self.position):
            return ClimbReason.PACED
        better = self._finished.better(view.at, self.position)
        if better is not None:
            self.position = better.position
            self.trust = max(self._policy.trust_min, self.trust / 2.0)
            self._finished.forget()
            self._cool_until = view.at + self._policy.cooldown_s
            return ClimbReason.ROLLED_BACK
        self._flip(view.at)
        if self._ticks % self._policy.step_every:
            return ClimbReason.SETTLED if view.at < self._rest_until else ClimbReason.PROBING
        return self._step(view)

    # ------------------------------------------------------------------ the ways to move

    def _beside_guard(self, view: ClimbView) -> ClimbReason:
        """The guard holds below the ceiling: follow it just above, without dither.

        Only a slope that is surely negative makes the ceiling go below the guard.
        """
        self.is_cold = False
        self._dither, self._flip_at = 0.0, None
        here = math.log(max(1.0, view.places))
        if self._is_surely_down():
            self.position = here
            return self._step(view)
        # Slowly down: what comes and goes (agents between two calls) is not to meet the ceiling.
        self.position = max(self.position - _GUARD_DECAY, here + _PAST_GUARD)
        return ClimbReason.GUARDED

    def _grow(self, view: ClimbView) -> ClimbReason:
        if view.places < 0.85 * math.exp(self.position):
            return ClimbReason.PACED if view.pace_share >= 0.25 else ClimbReason.GROWING
        # Growing on is safe where the forecast of the KV cache binds in time; and newcomers'
        # prompts make the first samples look flat. Without a guard, curve and samples must agree.
        slopes = [] if view.expected_slope is None else [view.expected_slope]
        if self._fit is not None and len(self._samples) >= 6:
            slopes.append(self._fit.slope + self._fit.slope_sd)
        slope = None if view.has_guard else max(slopes, default=None)
        is_enough = slope is not None and slope < self._policy.elasticity
        if view.limit_share >= 0.5 and self._has_fallen(_FALL):
            self.is_cold = False
            self.position = self._best_grown()
            return ClimbReason.IMPROVED
        if is_enough or self.position >= math.log(view.capacity) - 1e-9:
            self.is_cold = False
            if self._has_fallen(_FALL / 2.0):
                self.position = self._best_grown()
            return ClimbReason.PROBING
        self.position += self._policy.growth
        return ClimbReason.GROWING

    def _has_fallen(self, least: float) -> bool:
        """Whether growth has passed the top: the last three samples lie below the best three."""
        if len(self._samples) < 6:
            return False
        last = median(y for _, _, y in list(self._samples)[-3:])
        best = median(y for _, _, y in self._best_three())
        noise = 0.0 if self._fit is None else self._fit.noise
        return last < best - max(least, 2.5 * noise)

    def _best_grown(self) -> float:
        return median(x for _, x, _ in self._best_three())

    def _best_three(self) -> list[tuple[float, float, float]]:
        """The three samples in a row with the best median rate, the newest not among them."""
        samples = list(self._samples)
        threes = [samples[i : i + 3] for i in range(len(samples) - 3)]
        return max(threes, key=lambda three: median(y for _, _, y in three))

    def _step(self, view: ClimbView) -> ClimbReason:
        """A damped quasi-Newton step, as far as the slope is sure to be worth it.

        Between no gain at all and the demanded elasticity it stays: so noise on a flat curve moves
        nothing, and neither does a gain that is not worth the latency.
        """
        fitted, policy = self._fit, self._policy
        if fitted is None or len(self._samples) < policy.samples_min:
            return ClimbReason.PROBING
        gain = fitted.slope - policy.elasticity if fitted.slope > 0.0 else fitted.slope
        is_up, is_down = fitted.slope > policy.elasticity, fitted.slope < 0.0
        confidence = min(1.0, max(0.0, abs(gain) / (_SURE * fitted.slope_sd) - 0.65))
        if not (is_up or is_down) or confidence == 0.0:
            self._rest(view.at, fitted)
            return ClimbReason.SETTLED if view.at < self._rest_until else ClimbReason.PROBING
        if is_up and self.position >= math.log(view.capacity) - 1e-9:
            self._sleep(view.at)  # more would pay, and there is no more
            return ClimbReason.SETTLED
        newton = gain / (abs(self.curvature) + 0.1)
        self.position += 0.5 * confidence * min(max(newton, -self.trust), self.trust)
        self._adapt_trust(1 if is_up else -1, confidence)
        return ClimbReason.IMPROVED

    def _rest(self, at: float, fitted: Fit) -> None:
        """Both ways are surely not worth it: no dither for some periods."""
        low, high = -_SURE * fitted.slope_sd, self._policy.elasticity + _SURE * fitted.slope_sd
        if fitted.slope_sd < 0.1 and low <= fitted.slope <= high and at >= self._rest_until:
            self._sleep(at)

    def _sleep(self, at: float) -> None:
        self._rest_until = at + _REST_PERIODS * self._policy.half_period_s
        self._dither, self._flip_at = 0.0, None

    def _adapt_trust(self, direction: int, confidence: float) -> None:
        policy = self._policy
        if direction == -self._last_direction:
            self.trust = max(policy.trust_min, self.trust / 2.0)
        elif direction == self._last_direction and confidence >= 0.5:
            self.trust = min(policy.trust_max, self.trust * 1.3)
        self._last_direction = direction

    def _flip(self, at: float) -> None:
        """Keep the square wave going: slow, and a little irregular, so that it fits no other."""
        policy = self._policy
        if not policy.has_dither or at < self._rest_until:
            self._dither = 0.0
            return
        noise = self._fit.noise if self._fit is not None else policy.dither_min
        width = min(policy.dither_max, max(policy.dither_min, 2.0 * noise))
        # On few sequences a share of one is none: at least one more and one less.
        width = max(width, math.log1p(1.0 / max(2.0, math.exp(self.position))))
        if self._flip_at is None or at >= self._flip_at:
            self._flips += 1
            self._sign = -self._sign
            jitter = 0.15 * math.sin(2.4 * self._flips)
            self._flip_at = at + policy.half_period_s * (1.0 + jitter)
            self._settled_at = at + policy.settle_s
        self._dither = self._sign * width

    # ------------------------------------------------------------------ the fit

    def _refit(self, view: ClimbView) -> None:
        policy = self._policy
        here = self.position
        samples = [
            Sample(
                x - here,
                y,
                0.5 ** ((view.at - then) / policy.half_life_s)
                * math.exp(-(((x - here) / _RANGE) ** 2)),
            )
            for then, x, y in self._samples
            if abs(x - here) < 2.0
        ]
        if not samples or sum(sample.weight for sample in samples) < 1e-3:
            self._fit = None
            return
        known = view.expected_slope
        self._fit = fit(
            samples,
            Prior(
                slope=0.3 if known is None else known,
                slope_sd=1.0 if known is None else 0.25,
                curvature=self.curvature,
                curvature_sd=0.3,
            ),
        )
        self.curvature = 0.9 * self.curvature + 0.1 * min(self._fit.curvature, -0.08)

    def _is_surely_down(self) -> bool:
        fitted = self._fit
        return (
            fitted is not None
            and len(self._samples) >= 2 * self._policy.samples_min
            and fitted.slope + _SURE * fitted.slope_sd < 0.0
        )

    def _told(self, reason: ClimbReason, view: ClimbView) -> ClimbStep:
        most = max(1, view.capacity)
        told = ClimbStep(
            reason=reason,
            ceiling=min(most, max(1, round(math.exp(self.position + self._dither)))),
            position=self.position,
            trust=self.trust,
            dither=self._dither,
            samples=len(self._samples),
            finished_rate=self._finished.rate,
            note=view.taint,
        )
        fitted = self._fit
        if fitted is None:
            return told
        return replace(
            told,
            slope=fitted.slope,
            slope_sd=fitted.slope_sd,
            curvature=self.curvature,
            noise=fitted.noise,
        )
