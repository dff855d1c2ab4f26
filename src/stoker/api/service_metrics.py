"""The metrics of the process itself, and of the engine's limits: what a graph is drawn against."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version

from stoker.api.metric_family import BoxFamily, Family, Sample, known
from stoker.fabric import EngineSnapshot, FabricSnapshot


@cache
def _build() -> tuple[str, str]:
    return version("stoker"), platform.python_version()


def _prompt_tokens(snapshot: EngineSnapshot) -> Iterator[Sample]:
    for priority, view in snapshot.scheduler.classes.items():
        yield (priority.label,), view.prompt_tokens_total


def _output_tokens(snapshot: EngineSnapshot) -> Iterator[Sample]:
    for priority, view in snapshot.scheduler.classes.items():
        yield (priority.label,), view.output_tokens_total


def _lease_ends(snapshot: FabricSnapshot) -> Iterator[Sample]:
    """A lease is every engine's: the default one knows it too."""
    yield (), max(snapshot.scheduler.leases.values(), default=0.0)


SERVICE_FAMILIES = (
    BoxFamily(
        "stoker_build_info",
        "gauge",
        "Always 1; the labels say which version runs.",
        ("version", "python"),
        lambda snapshot: [(_build(), 1.0)],
    ),
    BoxFamily(
        "stoker_uptime_seconds",
        "gauge",
        "How long this process has served.",
        (),
        lambda snapshot: known(snapshot.uptime_s),
    ),
    BoxFamily(
        "stoker_event_loop_lag_seconds",
        "gauge",
        "Longest delay of the event loop in the last 15 s; everything waits for that long.",
        (),
        lambda snapshot: known(snapshot.loop_lag_s),
    ),
    BoxFamily(
        "stoker_draining",
        "gauge",
        "1 while the service is shutting down and takes nobody new.",
        (),
        lambda snapshot: known(float(snapshot.scheduler.is_draining)),
    ),
    BoxFamily(
        "stoker_p0_lease_seconds",
        "gauge",
        "How long the longest active P0 lease will last; 0 without one.",
        (),
        _lease_ends,
    ),
    BoxFamily(
        "stoker_jobs_held",
        "gauge",
        "Jobs that are claimed from the store: they run, or wait here.",
        (),
        lambda snapshot: known(snapshot.jobs_held),
    ),
    Family(
        "stoker_prompt_tokens_total",
        "counter",
        "Prompt tokens read; what a session or a resumed job had read before counts once.",
        ("priority",),
        _prompt_tokens,
    ),
    Family(
        "stoker_output_tokens_total",
        "counter",
        "Output tokens, as they come.",
        ("priority",),
        _output_tokens,
    ),
    Family(
        "stoker_capacity_requests",
        "gauge",
        "Requests that the engine can run at once.",
        (),
        lambda snapshot: known(snapshot.scheduler.capacity.requests),
    ),
    Family(
        "stoker_capacity_tokens",
        "gauge",
        "Tokens that fit the engine's KV cache.",
        (),
        lambda snapshot: known(snapshot.scheduler.capacity.kv_tokens),
    ),
    Family(
        "stoker_engine_requests_running",
        "gauge",
        "Requests that run, as the engine says.",
        (),
        lambda snapshot: known(snapshot.scheduler.engine.running),
    ),
    Family(
        "stoker_engine_preemptions_total",
        "counter",
        "Requests that the engine itself threw out of its KV cache, as it says.",
        (),
        lambda snapshot: known(snapshot.scheduler.engine.preemptions_total),
    ),
    Family(
        "stoker_engine_restarts_total",
        "counter",
        "How often an engine of ours was started anew.",
        (),
        lambda snapshot: known(snapshot.engine.restarts),
    ),
    Family(
        "stoker_engine_probe_seconds",
        "gauge",
        "How long the engine's last small completion took.",
        (),
        lambda snapshot: known(snapshot.engine.probe_s),
    ),
)
