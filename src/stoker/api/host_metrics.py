"""The metrics of the host's RAM: what is left, where it goes, what the memory guard makes of it."""

from __future__ import annotations

from collections.abc import Iterator

from stoker.api.metric_family import BoxFamily, Sample, known
from stoker.core.host_guard import Level
from stoker.fabric import FabricSnapshot


def _levels(snapshot: FabricSnapshot) -> Iterator[Sample]:
    for level in Level:
        yield (level.value,), float(level is snapshot.scheduler.guard.level)


def _floors(snapshot: FabricSnapshot) -> Iterator[Sample]:
    floors = snapshot.scheduler.guard.floors
    yield ("hold",), floors.hold
    yield ("shed",), floors.shed
    yield ("hard",), floors.hard


def _psi(snapshot: FabricSnapshot) -> Iterator[Sample]:
    percent = snapshot.scheduler.host.psi_full_percent
    return known(None if percent is None else percent / 100)


HOST_FAMILIES = (
    BoxFamily(
        "stoker_host_guard",
        "gauge",
        "1 for the level that the memory guard is at, 0 for the others.",
        ("level",),
        _levels,
    ),
    BoxFamily(
        "stoker_host_ram_available_bytes",
        "gauge",
        "RAM of the host that is available (`MemAvailable`).",
        (),
        lambda snapshot: known(snapshot.scheduler.host.ram_available_bytes),
    ),
    BoxFamily(
        "stoker_host_ram_total_bytes",
        "gauge",
        "RAM of the host.",
        (),
        lambda snapshot: known(snapshot.scheduler.host.ram_total_bytes),
    ),
    BoxFamily(
        "stoker_host_ram_floor_bytes",
        "gauge",
        "Available RAM below which the guard holds (`hold`), takes jobs back (`shed`: about to "
        "be there; `hard`: at once).",
        ("level",),
        _floors,
    ),
    BoxFamily(
        "stoker_host_ram_slope_bytes_per_second",
        "gauge",
        "How fast the available RAM changes, over the last 10 s; negative while it falls.",
        (),
        lambda snapshot: known(snapshot.scheduler.guard.slope_bytes_per_s),
    ),
    BoxFamily(
        "stoker_host_ram_forecast_bytes",
        "gauge",
        "Available RAM in 10 s, at that slope.",
        (),
        lambda snapshot: known(snapshot.scheduler.guard.forecast_bytes),
    ),
    BoxFamily(
        "stoker_host_swap_used_bytes",
        "gauge",
        "Swap of the host that is in use.",
        (),
        lambda snapshot: known(snapshot.scheduler.host.swap_used_bytes),
    ),
    BoxFamily(
        "stoker_host_stalled_ratio",
        "gauge",
        "Share of the last 10 s in which everything waited for RAM (PSI, full avg10).",
        (),
        _psi,
    ),
    BoxFamily(
        "stoker_engine_rss_bytes",
        "gauge",
        "Resident RAM of the engine's processes, where they run on this host; without CUDA's.",
        (),
        lambda snapshot: known(snapshot.scheduler.host.engine_rss_bytes),
    ),
)
