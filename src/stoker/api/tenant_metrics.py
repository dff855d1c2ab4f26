"""The metrics of tenants, so many of them by name, and of the limits of their keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stoker.api.metric_family import BoxFamily, Family, Sample
from stoker.core.tenants import TenantView
from stoker.fabric import EngineSnapshot, FabricSnapshot

_Read = Callable[[EngineSnapshot], Iterator[Sample]]


def _each(value: Callable[[TenantView], float]) -> _Read:
    def read(snapshot: EngineSnapshot) -> Iterator[Sample]:
        for (priority, tenant), view in snapshot.scheduler.tenants.items():
            yield (priority.label, tenant), value(view)

    return read


def _refusals(snapshot: FabricSnapshot) -> Iterator[Sample]:
    for limit, count in snapshot.key_refusals.items():
        yield (limit,), count


_LABELS = ("priority", "tenant")
_WHO = "The first 32 tenants have names, the others are `(others)` together."

TENANT_FAMILIES = (
    Family(
        "stoker_tenant_requests_waiting",
        "gauge",
        f"Requests of a tenant that wait. {_WHO}",
        _LABELS,
        _each(lambda view: view.waiting),
    ),
    Family(
        "stoker_tenant_requests_running",
        "gauge",
        f"Requests of a tenant in the engine. {_WHO}",
        _LABELS,
        _each(lambda view: view.running),
    ),
    Family(
        "stoker_tenant_requests_total",
        "counter",
        f"Requests of a tenant that have run and left. {_WHO}",
        _LABELS,
        _each(lambda view: view.served),
    ),
    Family(
        "stoker_tenant_token_iterations_total",
        "counter",
        f"What those took: tokens in the KV cache, times the engine's steps. {_WHO}",
        _LABELS,
        _each(lambda view: view.token_iterations),
    ),
    BoxFamily(
        "stoker_key_refusals_total",
        "counter",
        "Requests and jobs refused for a limit of their API key, by limit.",
        ("limit",),
        _refusals,
    ),
)
