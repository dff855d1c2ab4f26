"""Least squares through the engine model: the constants with which it tells what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from scipy.optimize import least_squares

from stoker.sim.profiles import EngineProfile

from .figures import Figures


class Measured(Protocol):
    """A measured case that the model can replay."""

    @property
    def name(self) -> str: ...

    @property
    def measured(self) -> Figures: ...


Case = TypeVar("Case", bound=Measured)


@dataclass(frozen=True, slots=True)
class Free:
    """A constant that is fitted, inside its bounds."""

    field: str
    low: float
    high: float


STEP = (
    Free("step_base_s", 1e-4, 0.3),
    Free("step_slope_s", 1e-6, 0.3),
    Free("prefill_token_s", 1e-7, 3e-3),
    Free("front_s", 1e-5, 0.3),
)
EXPONENT = Free("step_exponent", 0.2, 1.3)
PREFILL_STEP = Free("prefill_step_s", 1e-3, 0.5)
EXPERTS = Free("experts_s", 1e-4, 0.5)

SIGMAS = {
    "output_tokens_per_s": 0.03, "ttft_p50_s": 0.08, "ttft_mean_s": 0.08, "itl_p50_s": 0.06,
    "itl_mean_s": 0.06, "itl_p95_s": 0.3, "tpot_p50_s": 0.06, "tpot_mean_s": 0.06,
}  # fmt: skip
"""Relative errors that weigh the same: a figure counts as much as it can be trusted."""


def fit(
    cases: Sequence[Case],
    simulate: Callable[[EngineProfile, Case], Figures],
    start: EngineProfile,
    free: Sequence[Free],
) -> EngineProfile:
    """Return `start` with its free constants fitted to the cases."""

    def profile_of(place: Sequence[float]) -> EngineProfile:
        values = {one.field: math.exp(at) for one, at in zip(free, place, strict=True)}
        return replace(start, **values)  # type: ignore[arg-type]

    def residuals(place: Sequence[float]) -> list[float]:
        profile = profile_of(place)
        return [
            math.log(simulated[name] / value) / SIGMAS[name]
            for case in cases
            for simulated in [simulate(profile, case)]
            for name, value in case.measured.items()
        ]

    bounds = ([math.log(one.low) for one in free], [math.log(one.high) for one in free])
    first = [
        math.log(min(one.high * 0.99, max(one.low * 1.01, getattr(start, one.field))))
        for one in free
    ]
    # Logarithms, so that a step is a share of the constant; large differences, because a simulated
    # figure moves in small jumps. `soft_l1`: one test that the model cannot tell must not bend all.
    found = least_squares(
        residuals, first, bounds=bounds, diff_step=0.01, loss="soft_l1", max_nfev=25
    )
    return profile_of(found.x)


def errors(
    cases: Sequence[Case],
    simulate: Callable[[EngineProfile, Case], Figures],
    profile: EngineProfile,
) -> dict[str, Figures]:
    """Relative errors (simulated / measured - 1) by case and figure."""
    table = {}
    for case in cases:
        simulated = simulate(profile, case)
        table[case.name] = {
            name: simulated[name] / value - 1 for name, value in case.measured.items()
        }
    return table


def mean_absolute(table: Mapping[str, Figures], figure: str) -> float:
    known = [abs(row[figure]) for row in table.values() if figure in row]
    return sum(known) / len(known) if known else math.nan
