"""From one look at the fabric to the next: what has been counted, and what the gauges said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from stoker.core.reasons import Reason
from stoker.core.snapshot import Snapshot
from stoker.core.work import Priority
from stoker.history.series import BOX, Sample
from stoker.overview import EngineSnapshot, FabricSnapshot
from stoker.runtime.meter import Finished

_GAP_S = 60.0
"""After a longer pause (a laptop that slept) nobody knows what was in between."""

_REASONS = list(Reason)
_REFUSALS = frozenset(_REASONS[_REASONS.index(Reason.EXCEEDS_CAPACITY) :])
"""The other reasons only make wait."""

_GAUGES: Mapping[str, Callable[[Snapshot], float | None]] = {
    "held_tokens": lambda now: now.held_tokens,
    "predicted_final_tokens": lambda now: now.predicted_final_tokens,
    "kv_peak_forecast_tokens": lambda now: now.kv_peak_forecast_tokens,
    "kv_tokens": lambda now: now.capacity.kv_tokens,
    "kv_cache_usage": lambda now: now.engine.kv_cache_usage,
    "ceiling_tokens": lambda now: now.limits.tokens,
    "slots": lambda now: now.capacity.requests,
    "engine_waiting": lambda now: now.engine.waiting,
    "p2_beside_p0": lambda now: now.p2_beside_p0,
}
_HOST: Mapping[str, Callable[[Snapshot], float | None]] = {
    "ram_available_bytes": lambda now: now.host.ram_available_bytes,
    "ram_total_bytes": lambda now: now.host.ram_total_bytes,
    "ram_hold_bytes": lambda now: now.guard.floors.hold,
    "ram_shed_bytes": lambda now: now.guard.floors.shed,
    "swap_used_bytes": lambda now: now.host.swap_used_bytes,
    "engine_rss_bytes": lambda now: now.host.engine_rss_bytes,
    "leases": lambda now: len(now.leases),
}


class Sampling:
    """Adds each look, and each finished request, to the samples that are open."""

    def __init__(self) -> None:
        self._before: FabricSnapshot | None = None
        self._open: dict[str, Sample] = {}

    def take(self) -> dict[str, Sample]:
        """What has been added up since the last call, by engine and of the `BOX`."""
        taken, self._open = self._open, {}
        return {name: sample for name, sample in taken.items() if sample.covered_s}

    def finished(self, engine: str, one: Finished) -> None:
        """A request is over, and its caller has the answer."""
        sample, label = self._of(engine), one.priority.label
        sample.time(f"{label}.ttft_s", one.ttft_s)
        sample.time(f"{label}.itl_s", one.itl_s)
        sample.time(f"{label}.queued_s", one.queued_s)
        sample.time(f"{label}.e2e_s", one.e2e_s)

    def look(self, snapshot: FabricSnapshot) -> None:
        """What the fabric shows now, over the time since the last look."""
        before, self._before = self._before, snapshot
        if before is None:
            return
        seconds = snapshot.scheduler.at - before.scheduler.at
        if not 0 < seconds <= _GAP_S:
            return
        self._look_at_box(snapshot, before, seconds)
        for name, engine in snapshot.engines.items():
            if name in before.engines:
                _look_at_engine(self._of(name), engine, before.engines[name], seconds)

    def work(self, states: Mapping[str, int], seconds: float) -> None:
        """How much LLM work of the memory server is in each state."""
        for state, count in states.items():
            self._of(BOX).see(f"memories.{state}", count, seconds)

    def _of(self, name: str) -> Sample:
        return self._open.setdefault(name, Sample())

    def _look_at_box(
        self, snapshot: FabricSnapshot, before: FabricSnapshot, seconds: float
    ) -> None:
        sample, scheduler = self._of(BOX), snapshot.scheduler
        sample.covered_s += seconds
        for name, read in _HOST.items():
            sample.see(name, read(scheduler), seconds)
        sample.count("lease_s", seconds if scheduler.leases else 0)
        for state, count in snapshot.jobs.items():
            sample.see(f"jobs.{state.value}", count, seconds)
        for limit, count in snapshot.key_refusals.items():
            sample.count(f"key_refused.{limit}", count - before.key_refusals.get(limit, 0))


def _look_at_engine(
    sample: Sample, engine: EngineSnapshot, before: EngineSnapshot, seconds: float
) -> None:
    now, then = engine.scheduler, before.scheduler
    sample.covered_s += seconds
    for name, read in _GAUGES.items():
        sample.see(name, read(now), seconds)
    sample.count("preemptions", now.preemptions - then.preemptions)
    sample.count("engine_preemptions", _increase(now, then))
    sample.count("down_s", 0 if now.is_engine_up else seconds)
    sample.count("p0_held_s", seconds if now.is_p0_held else 0)
    for priority in Priority:
        _look_at_class(sample, now, then, priority, seconds)
    for name, amount in _counted(now, then):
        sample.count(name, amount)


def _look_at_class(
    sample: Sample, now: Snapshot, then: Snapshot, priority: Priority, seconds: float
) -> None:
    label, view, was = priority.label, now.classes[priority], then.classes[priority]
    sample.see(f"{label}.waiting", view.waiting, seconds)
    sample.see(f"{label}.running", view.running, seconds)
    sample.see(f"{label}.oldest_wait_s", view.oldest_wait_s, seconds)
    sample.see(f"{label}.ceiling", now.limits.requests(priority), seconds)
    sample.count(f"{label}.prompt_tokens", view.prompt_tokens_total - was.prompt_tokens_total)
    sample.count(f"{label}.output_tokens", view.output_tokens_total - was.output_tokens_total)
    if view.blocked_by is not None:
        sample.count(f"{label}.blocked_s.{view.blocked_by.reason.value}", seconds)


def _counted(now: Snapshot, then: Snapshot) -> Iterator[tuple[str, float]]:
    for (priority, reason), count in now.admissions.items():
        word = f"{'refused' if reason in _REFUSALS else 'met'}.{reason.value}"
        word = "dispatched" if reason is Reason.ADMITTED else word
        yield f"{priority.label}.{word}", count - then.admissions.get((priority, reason), 0)
    for (priority, outcome), count in now.outcomes.items():
        yield f"{priority.label}.{outcome}", count - then.outcomes.get((priority, outcome), 0)
    for place, view in now.tenants.items():
        was, (priority, tenant) = then.tenants.get(place), place
        served = view.served - (0 if was is None else was.served)
        if served:
            yield f"tenant.{priority.label}.{tenant}", served


def _increase(now: Snapshot, then: Snapshot) -> float:
    """The engine's own preemptions; its counter begins anew with its process."""
    last, first = now.engine.preemptions_total, then.engine.preemptions_total
    return max(0.0, last - first) if last is not None and first is not None else 0.0
