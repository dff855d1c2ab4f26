"""The fabric as rows of numbers, one per engine every few seconds, and the last hour of them.

Owns what is sampled and how long it is kept in RAM; who draws it, or writes it to the disk, reads
`COLUMNS` and `Row`s and need not know a snapshot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from stoker.core.jobs import JobState
from stoker.core.work import Priority
from stoker.overview import EngineSnapshot, FabricSnapshot

EVERY_S = 5.0
KEPT_S = 3600.0

Value = float | None
_WAITING = (JobState.AVAILABLE, JobState.RETRYABLE)
_PER_CLASS = (
    "prompt_tokens_per_s",
    "output_tokens_per_s",
    "waiting",
    "running",
    "oldest_wait_s",
    "ttft_p50_s",
    "ttft_p95_s",
    "itl_p50_s",
    "itl_p95_s",
    "ceiling",
)
_PER_ENGINE: Mapping[str, Callable[[EngineSnapshot], Value]] = {
    "held_tokens": lambda one: one.scheduler.held_tokens,
    "predicted_final_tokens": lambda one: one.scheduler.predicted_final_tokens,
    "kv_peak_forecast_tokens": lambda one: one.scheduler.kv_peak_forecast_tokens,
    "ceiling_tokens": lambda one: one.scheduler.limits.tokens,
    "kv_cache_usage": lambda one: one.scheduler.engine.kv_cache_usage,
    "engine_waiting": lambda one: one.scheduler.engine.waiting,
    "is_ready": lambda one: float(one.engine.is_ready),
    "is_p0_held": lambda one: float(one.scheduler.is_p0_held),
    "preemptions": lambda one: one.scheduler.preemptions,
    "jobs_waiting": lambda one: float(sum(one.jobs[state] for state in _WAITING)),
    "ram_available_bytes": lambda one: one.scheduler.host.ram_available_bytes,
}
COLUMNS: Sequence[str] = (
    *(f"{priority.label}_{name}" for priority in Priority for name in _PER_CLASS),
    *_PER_ENGINE,
)
"""The meaning of a row's values. Units last; `preemptions` is a total since the start."""


@dataclass(frozen=True, slots=True)
class Row:
    """One engine at one instant. What is not known then is `None`."""

    at: float
    """Seconds since 1970."""
    values: tuple[Value, ...]


class Trends:
    """The latest rows of every engine. Give `note` a snapshot every `EVERY_S`."""

    def __init__(self, rows_max: int = int(KEPT_S / EVERY_S)) -> None:
        self._rows_max = rows_max
        self._rows: dict[str, deque[Row]] = {}
        self._before: dict[str, EngineSnapshot] = {}
        self._listeners: list[Callable[[str, Row], None]] = []

    def listen(self, listener: Callable[[str, Row], None]) -> None:
        """Call `listener` with the engine's name for each new row."""
        self._listeners.append(listener)

    def note(self, snapshot: FabricSnapshot, at: float) -> None:
        """Take one row of each engine; `at` is wall time."""
        for name, engine in snapshot.engines.items():
            row = Row(at, _values(engine, self._before.get(name)))
            self._before[name] = engine
            self._rows.setdefault(name, deque(maxlen=self._rows_max)).append(row)
            for listener in self._listeners:
                listener(name, row)

    def rows(self) -> Mapping[str, Sequence[Row]]:
        """All rows that are kept, by engine, oldest first."""
        return self._rows

    def latest(self, count: int) -> Mapping[str, Sequence[Row]]:
        """The last few rows of each engine, oldest first."""
        return {
            name: [rows[index] for index in range(max(0, len(rows) - count), len(rows))]
            for name, rows in self._rows.items()
        }


def _values(engine: EngineSnapshot, before: EngineSnapshot | None) -> tuple[Value, ...]:
    values: list[Value] = []
    for priority in Priority:
        values += _of_class(engine, before, priority)
    values += [read(engine) for read in _PER_ENGINE.values()]
    return tuple(_rounded(value) for value in values)


def _of_class(
    engine: EngineSnapshot, before: EngineSnapshot | None, priority: Priority
) -> list[Value]:
    view, meter = engine.scheduler.classes[priority], engine.meters[priority]
    prompt_rate = output_rate = None
    if before is not None and engine.scheduler.at > before.scheduler.at:
        then, seconds = (
            before.scheduler.classes[priority],
            engine.scheduler.at - before.scheduler.at,
        )
        prompt_rate = (view.prompt_tokens_total - then.prompt_tokens_total) / seconds
        output_rate = (view.output_tokens_total - then.output_tokens_total) / seconds
    return [
        prompt_rate,
        output_rate,
        view.waiting,
        view.running,
        view.oldest_wait_s,
        meter.ttft_p50_s,
        meter.ttft_p95_s,
        meter.itl_p50_s,
        meter.itl_p95_s,
        engine.scheduler.limits.requests(priority),
    ]


def _rounded(value: Value) -> Value:
    """To four digits: nobody sees more of them, and a row is read by every viewer."""
    if value is None:
        return None
    rounded = float(f"{value:.4g}")
    return int(rounded) if rounded.is_integer() else rounded
