"""What routers in front of several engines read of each: its queue, what runs, its KV cache.

They can be pointed at the names of `MODEL_SERVER_FAMILIES`; those that know vLLM's names alone get
these too, if `server.vllm_metrics` is set. What waits in the job store is no queue: it comes when
there is room.
"""

from __future__ import annotations

from collections.abc import Iterator

from stoker.api.metric_family import BoxFamily, Family, Sample, known
from stoker.fabric import EngineSnapshot, FabricSnapshot


def _queued(snapshot: EngineSnapshot) -> int:
    waiting = sum(view.waiting for view in snapshot.scheduler.classes.values())
    return waiting + (snapshot.scheduler.engine.waiting or 0)


def _running(snapshot: EngineSnapshot) -> int:
    running = sum(view.running for view in snapshot.scheduler.classes.values())
    # By our own count, those that wait inside the engine run: they are told as queued.
    return max(0, running - (snapshot.scheduler.engine.waiting or 0))


def _kv_cache_usage(snapshot: EngineSnapshot) -> float | None:
    """The engine's own; where it has none, by the tokens that we count in it."""
    scheduler = snapshot.scheduler
    if scheduler.engine.kv_cache_usage is not None:
        return scheduler.engine.kv_cache_usage
    room = scheduler.capacity.kv_tokens
    return min(1.0, scheduler.held_tokens * scheduler.kv_per_token / room) if room else None


def _fullest(snapshot: FabricSnapshot) -> float | None:
    shares = [_kv_cache_usage(one) for one in snapshot.engines.values()]
    return max((share for share in shares if share is not None), default=None)


MODEL_SERVER_FAMILIES = (
    BoxFamily(
        "stoker_model_server_requests_queued",
        "gauge",
        "For routers: requests that wait, here or in an engine, of all classes and engines.",
        (),
        lambda snapshot: known(sum(_queued(one) for one in snapshot.engines.values())),
    ),
    BoxFamily(
        "stoker_model_server_requests_running",
        "gauge",
        "For routers: requests that run, of all classes and engines.",
        (),
        lambda snapshot: known(sum(_running(one) for one in snapshot.engines.values())),
    ),
    BoxFamily(
        "stoker_model_server_kv_cache_usage_ratio",
        "gauge",
        "For routers: share of the KV cache in use, of the fullest engine.",
        (),
        lambda snapshot: known(_fullest(snapshot)),
    ),
)


def _named(snapshot: EngineSnapshot, value: float | None) -> Iterator[Sample]:
    """vLLM's first label is the model's name; ours, the engine's, comes before it anyway."""
    if value is not None:
        yield (snapshot.models[0] if snapshot.models else "",), float(value)


VLLM_FAMILIES = (
    Family(
        "vllm:num_requests_waiting",
        "gauge",
        "`stoker_model_server_requests_queued` of one engine.",
        ("model_name",),
        lambda snapshot: _named(snapshot, _queued(snapshot)),
    ),
    Family(
        "vllm:num_requests_running",
        "gauge",
        "`stoker_model_server_requests_running` of one engine.",
        ("model_name",),
        lambda snapshot: _named(snapshot, _running(snapshot)),
    ),
    Family(
        "vllm:kv_cache_usage_perc",
        "gauge",
        "`stoker_model_server_kv_cache_usage_ratio` of one engine.",
        ("model_name",),
        lambda snapshot: _named(snapshot, _kv_cache_usage(snapshot)),
    ),
)
