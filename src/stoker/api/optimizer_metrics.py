"""The metrics of the optimizer: how often it said what, and the slopes that it went by."""

from __future__ import annotations

from collections.abc import Iterator

from stoker.api.metric_family import Family, Sample, known
from stoker.fabric import EngineSnapshot


def _steps(snapshot: EngineSnapshot) -> Iterator[Sample]:
    for (priority, reason), count in snapshot.optimizer.steps.items():
        yield (priority.label, reason.value), count


def _slopes(snapshot: EngineSnapshot) -> Iterator[Sample]:
    step = snapshot.optimizer.step
    for priority, climb in {} if step is None else step.climbs.items():
        if climb.slope is not None:
            yield (priority.label,), climb.slope


def _finished(snapshot: EngineSnapshot) -> Iterator[Sample]:
    step = snapshot.optimizer.step
    for priority, climb in {} if step is None else step.climbs.items():
        if climb.finished_rate is not None:
            yield (priority.label,), climb.finished_rate


OPTIMIZER_FAMILIES = (
    Family(
        "stoker_optimizer_steps_total",
        "counter",
        "Steps of the optimizer, one every 3 s, by what it said of the class's ceiling.",
        ("priority", "reason"),
        _steps,
    ),
    Family(
        "stoker_optimizer_slope_ratio",
        "gauge",
        "Gain in throughput per gain in concurrency at the learned ceiling, both relative.",
        ("priority",),
        _slopes,
    ),
    Family(
        "stoker_optimizer_finished_tokens_per_second",
        "gauge",
        "Throughput of finished work, in the newest block of 45 s that can be judged.",
        ("priority",),
        _finished,
    ),
    Family(
        "stoker_optimizer_failures_total",
        "counter",
        "Steps that ended in an error of ours: the ceilings are lifted, and learned anew.",
        (),
        lambda snapshot: known(snapshot.optimizer.failures),
    ),
)
