"""Prometheus metrics: gauges and counters read from one snapshot, histograms observed at the edge.

The table `FAMILIES` is the documentation too: docs/reference/metrics.md is made from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stoker.api.histograms import Histograms
from stoker.api.host_metrics import HOST_FAMILIES
from stoker.api.memories_metrics import (
    MEMORIES_FAMILIES,
    SEARCH_BUCKETS,
    SEARCH_HELP,
    SEARCH_SECONDS,
)
from stoker.api.metric_family import BoxFamily, Family, MemoriesFamily, Sample, known
from stoker.api.model_server_metrics import MODEL_SERVER_FAMILIES, VLLM_FAMILIES
from stoker.api.optimizer_metrics import OPTIMIZER_FAMILIES
from stoker.api.service_metrics import SERVICE_FAMILIES
from stoker.api.tenant_metrics import TENANT_FAMILIES
from stoker.core.errors import NotFound
from stoker.core.work import Priority
from stoker.fabric import EngineSnapshot, Fabric, FabricSnapshot
from stoker.memories.service import Memories


class Metrics:
    """The metrics of one fabric."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._registry = CollectorRegistry()
        is_vllm = fabric.config.server.vllm_metrics
        self._collector = _SnapshotCollector([*FAMILIES, *(VLLM_FAMILIES if is_vllm else ())])
        self._registry.register(self._collector)
        ProcessCollector(registry=self._registry)
        fabric.listen(Histograms(self._registry, fabric.engine_names).note)
        with suppress(NotFound):  # there is no memory server here
            self._watch(fabric.memories)

    def _watch(self, memories: Memories) -> None:
        self._registry.register(_MemoriesCollector(memories))
        taken = Histogram(
            SEARCH_SECONDS, SEARCH_HELP, registry=self._registry, buckets=SEARCH_BUCKETS
        )
        memories.meters.on_search(taken.observe)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        self._collector.snapshot = self._fabric.snapshot()
        return generate_latest(self._registry)


class _SnapshotCollector(Collector):
    def __init__(self, families: Sequence[Family | BoxFamily]) -> None:
        self._families = families
        self.snapshot: FabricSnapshot | None = None

    def collect(self) -> Iterator[Metric]:
        """The families as of the snapshot; registration asks before there is one."""
        for family in self._families:
            yield _metric(family, () if self.snapshot is None else family.samples(self.snapshot))


class _MemoriesCollector(Collector):
    def __init__(self, memories: Memories) -> None:
        self._memories = memories

    def collect(self) -> Iterator[Metric]:
        for family in MEMORIES_FAMILIES:
            yield _metric(family, family.samples(self._memories))


def _metric(family: Family | BoxFamily | MemoriesFamily, samples: Iterable[Sample]) -> Metric:
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.all_labels)
    for labels, value in samples:
        metric.add_metric(labels, value)
    return metric


# ---------------------------------------------------------------------------- the readings


def _waiting(snapshot: EngineSnapshot) -> Iterator[Sample]:
    for priority, view in snapshot.scheduler.classes.items():
        yield (priority.label,), view.waiting


def _running(snapshot: EngineSnapshot) -> Iterator[Sample]:
    for priority, view in snapshot.scheduler.classes.items():
        yield (priority.label,), view.running


def _places(snapshot: EngineSnapshot) -> Iterator[Sample]:
    for priority, view in snapshot.scheduler.classes.items():
        yield (priority.label, "running"), view.places.running
        yield (priority.label, "parked"), view.places.parked


def _session_ttl(snapshot: EngineSnapshot) -> Iterator[Sample]:
    for priority, view in snapshot.scheduler.classes.items():
        if priority is not Priority.P0:
            yield (priority.label,), view.places.ttl_s


def _oldest_wait(snapshot: EngineSnapshot) -> Iterator[Sample]:
    for priority, view in snapshot.scheduler.classes.items():
        yield (priority.label,), view.oldest_wait_s or 0.0


def _blocked(snapshot: EngineSnapshot) -> Iterator[Sample]:
    for priority, view in snapshot.scheduler.classes.items():
        if view.blocked_by is not None:
            yield (priority.label, view.blocked_by.reason.value), 1.0


def _limit_requests(snapshot: EngineSnapshot) -> Iterator[Sample]:
    limits, capacity = snapshot.scheduler.limits, snapshot.scheduler.capacity
    learned = (limits.requests_p0, limits.requests_p1, limits.requests_p2)
    for priority, limit in zip(Priority, learned, strict=True):
        yield (priority.label,), capacity.requests if limit is None else limit


def _limit_tokens(snapshot: EngineSnapshot) -> Iterator[Sample]:
    learned = snapshot.scheduler.limits.tokens
    return known(snapshot.scheduler.capacity.kv_tokens if learned is None else learned)


def _admissions(snapshot: EngineSnapshot) -> Iterator[Sample]:
    for (priority, reason), count in snapshot.scheduler.admissions.items():
        yield (priority.label, reason.value), count


def _outcomes(snapshot: EngineSnapshot) -> Iterator[Sample]:
    for (priority, outcome), count in snapshot.scheduler.outcomes.items():
        yield (priority.label, outcome), count


def _jobs(snapshot: EngineSnapshot) -> Iterator[Sample]:
    for state, count in snapshot.jobs.items():
        yield (state.value,), count


def _steps(snapshot: EngineSnapshot) -> Iterator[Sample]:
    for batch, step_s in snapshot.scheduler.service.steps_s.items():
        yield (str(batch),), step_s


_BY_PRIORITY = ("priority",)

FAMILIES = (
    Family(
        "stoker_requests_waiting",
        "gauge",
        "Requests that wait for admission.",
        _BY_PRIORITY,
        _waiting,
    ),
    Family(
        "stoker_requests_running",
        "gauge",
        "Requests in the engine.",
        _BY_PRIORITY,
        _running,
    ),
    Family(
        "stoker_places",
        "gauge",
        "Places taken: `running` requests and sessions, and sessions `parked` between two calls.",
        ("priority", "state"),
        _places,
    ),
    Family(
        "stoker_session_ttl_seconds",
        "gauge",
        "How long a session keeps its place between two calls, as learned from tool times.",
        _BY_PRIORITY,
        _session_ttl,
    ),
    Family(
        "stoker_parked_tokens",
        "gauge",
        "Room in the KV cache that is kept for sessions between two calls.",
        (),
        lambda snapshot: known(snapshot.scheduler.parked_tokens),
    ),
    Family(
        "stoker_cached_share_ratio",
        "gauge",
        "Share of prompt tokens that the engine found in its prefix cache, over 10 s or more.",
        (),
        lambda snapshot: known(snapshot.scheduler.cached_share),
    ),
    Family(
        "stoker_kv_per_token_ratio",
        "gauge",
        "KV tokens that a token in flight really takes; below 1 where prefixes are common.",
        (),
        lambda snapshot: known(snapshot.scheduler.kv_per_token),
    ),
    Family(
        "stoker_oldest_wait_seconds",
        "gauge",
        "How long the oldest waiting request has waited.",
        _BY_PRIORITY,
        _oldest_wait,
    ),
    Family(
        "stoker_blocked",
        "gauge",
        "1 while the head of a class waits, by the reason why.",
        ("priority", "reason"),
        _blocked,
    ),
    Family(
        "stoker_limit_requests",
        "gauge",
        "Most places of a class: the learned ceiling, or the engine's slots.",
        _BY_PRIORITY,
        _limit_requests,
    ),
    Family(
        "stoker_limit_tokens",
        "gauge",
        "Most tokens in flight: the learned ceiling, or the engine's KV cache.",
        (),
        _limit_tokens,
    ),
    Family(
        "stoker_admission_total",
        "counter",
        "Decisions on requests, by reason; `admitted`, or why one was refused or first waited.",
        ("priority", "reason"),
        _admissions,
    ),
    Family(
        "stoker_requests_total",
        "counter",
        "Requests that have left, by outcome.",
        ("priority", "outcome"),
        _outcomes,
    ),
    Family(
        "stoker_jobs",
        "gauge",
        "Jobs in the store.",
        ("state",),
        _jobs,
    ),
    BoxFamily(
        "stoker_batches",
        "gauge",
        "OpenAI batches by status.",
        ("status",),
        lambda snapshot: (((status.value,), n) for status, n in snapshot.batches.items()),
    ),
    Family(
        "stoker_preemptions_total",
        "counter",
        "Running requests whose slot was taken back.",
        (),
        lambda snapshot: known(snapshot.scheduler.preemptions),
    ),
    Family(
        "stoker_actual_tokens_in_flight",
        "gauge",
        "Tokens that running requests hold now: prompts and output so far.",
        (),
        lambda snapshot: known(snapshot.scheduler.held_tokens),
    ),
    Family(
        "stoker_predicted_tokens_in_flight",
        "gauge",
        "Tokens that the same requests are predicted to hold at their ends.",
        (),
        lambda snapshot: known(snapshot.scheduler.predicted_final_tokens),
    ),
    Family(
        "stoker_kv_peak_forecast_tokens",
        "gauge",
        "Forecast peak of the KV cache over the lives of the running requests.",
        (),
        lambda snapshot: known(snapshot.scheduler.kv_peak_forecast_tokens),
    ),
    Family(
        "stoker_forecast_coverage_ratio",
        "gauge",
        "Share of the latest forecasts of the KV peak that were not passed.",
        (),
        lambda snapshot: known(snapshot.scheduler.forecast_coverage),
    ),
    Family(
        "stoker_engine_up",
        "gauge",
        "1 while the engine finishes its small completion.",
        (),
        lambda snapshot: known(float(snapshot.engine.is_ready)),
    ),
    Family(
        "stoker_engine_telemetry_age_seconds",
        "gauge",
        "Age of the engine's gauges.",
        (),
        lambda snapshot: known(snapshot.scheduler.telemetry_age_s),
    ),
    Family(
        "stoker_engine_kv_cache_usage_ratio",
        "gauge",
        "Share of the engine's KV cache in use, as the engine says.",
        (),
        lambda snapshot: known(snapshot.scheduler.engine.kv_cache_usage),
    ),
    Family(
        "stoker_engine_requests_waiting",
        "gauge",
        "Requests in the engine's own queue; lasting values above 0 mean that we overrun it.",
        (),
        lambda snapshot: known(snapshot.scheduler.engine.waiting),
    ),
    Family(
        "stoker_decode_step_seconds",
        "gauge",
        "Learned time of one decode step at a batch size; absent where it is not known.",
        ("batch",),
        _steps,
    ),
    Family(
        "stoker_prefill_seconds_per_token",
        "gauge",
        "Learned time to read one prompt token that is not in the prefix cache.",
        (),
        lambda snapshot: known(snapshot.scheduler.service.prefill_s_per_token),
    ),
    Family(
        "stoker_p0_lease_active",
        "gauge",
        "P0 leases that are active.",
        (),
        lambda snapshot: known(len(snapshot.scheduler.leases)),
    ),
    Family(
        "stoker_p2_beside_p0",
        "gauge",
        "Background requests that may be in the engine while interactive work holds it.",
        (),
        lambda snapshot: known(snapshot.scheduler.p2_beside_p0),
    ),
    Family(
        "stoker_p0_linger_seconds",
        "gauge",
        "How long interactive work holds the box after its last request has left.",
        (),
        lambda snapshot: known(snapshot.scheduler.p0_linger_s),
    ),
    Family(
        "stoker_resumed_cached_ratio",
        "gauge",
        "Of the prompts of continued jobs, the share that the engine had in its prefix cache.",
        (),
        lambda snapshot: known(snapshot.scheduler.resumed_cached_share),
    ),
    Family(
        "stoker_p0_held",
        "gauge",
        "1 while interactive work holds the box: a lease, traffic, or its linger.",
        (),
        lambda snapshot: known(float(snapshot.scheduler.is_p0_held)),
    ),
    *HOST_FAMILIES,
    *OPTIMIZER_FAMILIES,
    *SERVICE_FAMILIES,
    *TENANT_FAMILIES,
    *MODEL_SERVER_FAMILIES,
)
