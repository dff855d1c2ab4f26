"""What a run has shown: figures over the measured window, and what they looked like over time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from stoker.sim import stats


@dataclass(slots=True)
class Series:
    """One entry per sample of the run, from its start, in all lists."""

    at_s: list[float] = field(default_factory=list)
    limit: list[int | None] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)
    """Background and agent requests in the engine."""
    running: list[int] = field(default_factory=list)
    """Sequences that the engine runs, and those that it holds back."""
    waiting: list[int] = field(default_factory=list)
    predicted_tokens: list[float | None] = field(default_factory=list)
    kv_tokens: list[float] = field(default_factory=list)
    host_available_bytes: list[int] = field(default_factory=list)
    output_tokens: list[float] = field(default_factory=list)
    """Useful background output, since the start."""
    prompt_tokens: list[float] = field(default_factory=list)
    finished: list[float] = field(default_factory=list)
    p0_present: list[int] = field(default_factory=list)

    def output_per_s(self, start: float, end: float) -> float:
        return stats.rate(self.at_s, self.output_tokens, start, end)

    def time_to_level(self, level: float, *, start: float = 0.0) -> float | None:
        """Seconds from `start` until output over the next minute is at `level` a second."""
        return stats.time_to_level(self.at_s, self.output_tokens, level, start=start)


@dataclass(frozen=True, slots=True)
class Work:
    """Background and agent work in the measured window. Rates are per second."""

    output_per_s: float
    prompt_per_s: float
    finished_per_s: float
    cv60: float | None
    """Variation of the output of whole minutes, within each phase of the demand."""
    preemptions_per_min: float
    """By the engine, for want of KV blocks."""
    aborts_per_min: float
    """By whoever stands in front of it."""
    wasted_per_s: float
    """Tokens made and thrown away, or read again after an abort."""
    cached_share: float | None
    """Of prompt tokens, those that the prefix cache served."""
    resident_mean: float
    kv_usage_mean: float
    kv_usage_max: float
    jain: float | None
    """Evenness between tenants of what they got; `None` without tenants."""

    @property
    def total_per_s(self) -> float:
        return self.output_per_s + self.prompt_per_s


@dataclass(frozen=True, slots=True)
class People:
    """Interactive requests that arrived in the measured window. Times are seconds."""

    arrived: int
    served: int
    refused: int
    ttft_p50_s: float | None
    ttft_p95_s: float | None
    ttft_p99_s: float | None
    itl_p50_s: float | None
    itl_p95_s: float | None
    itl_p99_s: float | None
    itl_target_s: float
    tokens_in_target: float | None
    """Share of tokens whose gap is within the target."""
    requests_in_target: float | None
    """Share of requests whose mean gap is."""
    e2e_p50_s: float | None
    output_per_s: float
    ttfts_s: tuple[float, ...]
    """All of them, sorted, for the plots."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """How honest the KV-peak forecast was."""

    judged: int
    coverage: float
    over_estimate: float


@dataclass(frozen=True, slots=True)
class Report:
    scenario: str
    arm: str
    seed: int
    box_s: float
    warm_up_s: float
    work: Work
    phases: tuple[float, ...]
    """Background output per second in each phase of the demand; one, where it does not change."""
    people: People | None
    forecast: Forecast | None
    freezes: int
    host_available_min_bytes: int
    reasons: Mapping[str, int]
    """Why background and interactive work waited, by `class reason`."""
    violations: tuple[str, ...]
    series: Series

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Report:
        data: dict[str, Any] = json.loads(text)
        people, forecast = data["people"], data["forecast"]
        if people is not None:
            people = People(**{**people, "ttfts_s": tuple(people["ttfts_s"])})
        return cls(
            **{
                **data,
                "work": Work(**data["work"]),
                "people": people,
                "forecast": None if forecast is None else Forecast(**forecast),
                "phases": tuple(data["phases"]),
                "violations": tuple(data["violations"]),
                "series": Series(**data["series"]),
            }
        )
