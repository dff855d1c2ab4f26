"""What a doctor knows of a box. Everything that could not be found out is `None`, never a guess."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The machine that this runs on."""

    ram_total_bytes: int | None = None
    ram_available_bytes: int | None = None
    ram_free_bytes: int | None = None
    """Without the page cache: what a CUDA allocator sees."""
    page_cache_bytes: int | None = None
    unified_name: str | None = None
    """What the hardware is, where GPU and CPU share one pool."""
    swap_total_bytes: int | None = None
    swap_used_bytes: int | None = None
    psi_ram_full_percent: float | None = None
    psi_ram_some_percent: float | None = None
    psi_cpu_some_percent: float | None = None
    container_limit_bytes: int | None = None
    files_soft: int | None = None
    files_hard: int | None = None
    data_free_bytes: int | None = None
    data_total_bytes: int | None = None
    is_clock_synchronised: bool | None = None


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """One engine: what it says, what its command line says, and how it answers."""

    name: str
    url: str | None = None
    kind: str | None = None
    version: str | None = None
    is_here: bool | None = None
    """Whether its process was seen on this host."""
    cause: str | None = None
    """Why it does not answer at all."""
    probe_s: float | None = None
    probe_problem: str | None = None
    has_metrics: bool | None = None
    has_slots_page: bool | None = None
    waiting: int | None = None
    running: int | None = None
    kv_cache_usage: float | None = None
    preemptions: float | None = None
    requests_finished: float | None = None
    requests: int | None = None
    """What it really runs at once, where it or its command line says so."""
    requests_believed: int | None = None
    """What Stoker goes by."""
    is_requests_set: bool = False
    """Whether that was set by a person."""
    kv_tokens: int | None = None
    is_kv_set: bool = False
    """Whether that was set by a person."""
    is_kv_shared: bool | None = None
    """Whether llama.cpp's slots share one cache; no page of it says so."""
    context_tokens: int | None = None
    gpu_share: float | None = None
    """`--gpu-memory-utilization`, `--mem-fraction-static`."""
    has_priority: bool | None = None
    has_prefix_cache: bool | None = None
    has_chunked_prefill: bool | None = None
    long_prefill_tokens: int | None = None
    keep_alive_s: float | None = None


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """A running Stoker, and how it is configured on this machine."""

    url: str
    is_required: bool = False
    """Whether somebody named it: then it has to be there."""
    cause: str | None = None
    """Why it does not answer, or does not tell."""
    engines_down: tuple[tuple[str, str], ...] = ()
    """Name and cause of each engine that is not ready."""
    stalest_s: float | None = None
    """The oldest gauges of an engine."""
    loop_lag_s: float | None = None
    discarded_jobs: int | None = None
    guard_level: str | None = None


@dataclass(frozen=True, slots=True)
class ConfigFacts:
    """What the configuration of this machine would make `stoker serve` do."""

    host: str = "127.0.0.1"
    is_loopback: bool = True
    has_keys: bool = False
    keys: str = "auto"
    key_file_mode: int | None = None
    ram_floor_bytes: int = 8 * 2**30


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything together."""

    host: HostFacts = HostFacts()
    engines: tuple[EngineFacts, ...] = ()
    service: ServiceFacts | None = None
    config: ConfigFacts = ConfigFacts()
