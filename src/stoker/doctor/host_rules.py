"""The rules about the machine."""

from __future__ import annotations

from collections.abc import Iterator

from stoker.doctor.facts import Facts, HostFacts
from stoker.doctor.finding import ADVICE, PROBLEM, WARNING, Rule, Said, size

GIB = 2**30
SWAP_USED_BYTES = 256 * 2**20
FILES_WANTED = 4096
DISK_PROBLEM_BYTES, DISK_WARNING_BYTES = GIB, 5 * GIB


def floor_of(facts: Facts) -> float:
    """The guard's first floor on this host: on a small one, 1/16 of its RAM."""
    total = facts.host.ram_total_bytes
    wanted = facts.config.ram_floor_bytes
    return wanted if total is None else min(wanted, total / 16)


def _ram(facts: Facts) -> Iterator[Said]:
    available, floor = facts.host.ram_available_bytes, floor_of(facts)
    if available is None or available >= 1.5 * floor:
        return
    is_below = available < floor
    measured = f"{size(available)} available, the guard's floor is {size(floor)}"
    advice = (
        "end what else takes RAM, or start the engine with a smaller share of it; below the floor"
        " only P0 is served freely"
    )
    yield Said(PROBLEM if is_below else WARNING, measured, advice)


def _swap_used(facts: Facts) -> Iterator[Said]:
    used = facts.host.swap_used_bytes
    if used is not None and used > SWAP_USED_BYTES:
        advice = "find what was pushed out (`smem -s swap`), then `swapoff -a && swapon -a`"
        yield Said(WARNING, f"{size(used)} of swap in use", advice)


def _swap_on(facts: Facts) -> Iterator[Said]:
    total, unified = facts.host.swap_total_bytes, facts.host.unified_name
    if total and unified is not None:
        advice = (
            "`swapoff -a`, or vm.swappiness = 1: here the KV cache and the host share one pool, and"
            " a host that swaps freezes before anything is killed"
        )
        yield Said(WARNING, f"{size(total)} of swap on {unified}", advice)


def _page_cache(facts: Facts) -> Iterator[Said]:
    host = facts.host
    total, free, cached = host.ram_total_bytes, host.ram_free_bytes, host.page_cache_bytes
    if host.unified_name is None or total is None or free is None or cached is None:
        return
    if free < total / 10 and cached > total / 4:
        measured = f"{size(free)} free, {size(cached)} of page cache"
        advice = (
            "before an engine starts: `sync; echo 1 > /proc/sys/vm/drop_caches`. CUDA counts the"
            " page cache as used, so a start may fail although there is room"
        )
        yield Said(WARNING, measured, advice)


def _psi_ram(facts: Facts) -> Iterator[Said]:
    full, some = facts.host.psi_ram_full_percent, facts.host.psi_ram_some_percent
    if full is not None and full > 5.0:
        advice = (
            "the host is thrashing: free RAM now; the guard takes background work back meanwhile"
        )
        yield Said(PROBLEM, f"everything waits for RAM {full:g} % of the time", advice)
    elif some is not None and some > 10.0:
        advice = "something waits for RAM often: look who reclaims (`cat /proc/pressure/memory`)"
        yield Said(WARNING, f"something waits for RAM {some:g} % of the time", advice)


def _psi_cpu(facts: Facts) -> Iterator[Said]:
    some = facts.host.psi_cpu_some_percent
    if some is not None and some > 50.0:
        advice = (
            "Stoker needs half a core and the engine's own process at least one: give other work"
            " less (`nice`, `CPUWeight=`)"
        )
        yield Said(WARNING, f"something waits for a CPU {some:g} % of the time", advice)


def _container(facts: Facts) -> Iterator[Said]:
    limit, total = facts.host.container_limit_bytes, facts.host.ram_total_bytes
    if limit is not None and total is not None and limit < total:
        measured = f"this container may use {size(limit)} of {size(total)}"
        advice = (
            "the guard reads the host's MemAvailable and does not see this limit: give Stoker's"
            " container some GiB of its own, apart from the engine's"
        )
        yield Said(ADVICE if limit > total / 2 else WARNING, measured, advice)


def _files(facts: Facts) -> Iterator[Said]:
    soft, hard = facts.host.files_soft, facts.host.files_hard
    if soft is None or soft >= FILES_WANTED:
        return
    shown = "unlimited" if hard is None else str(hard)
    measured = f"{soft} files may be open here (hard limit {shown})"
    advice = (
        f"each request takes two, so about {max(0, soft - 100) // 2} at once: `ulimit -n 65536`, or"
        " LimitNOFILE=65536 in the unit"
    )
    yield Said(WARNING, measured, advice)


def _disk(facts: Facts) -> Iterator[Said]:
    free = facts.host.data_free_bytes
    if free is None or free >= DISK_WARNING_BYTES:
        return
    is_grave = free < DISK_PROBLEM_BYTES
    advice = (
        "jobs, their results and the event log lie there, and without room no job is accepted: move"
        " `data`, or lower jobs.retention_s and log.events_max_bytes"
    )
    measured = f"{size(free)} free on the disk of the data folder"
    yield Said(PROBLEM if is_grave else WARNING, measured, advice)


def _clock(facts: Facts) -> Iterator[Said]:
    if facts.host.is_clock_synchronised is False:
        advice = "run a time service (`timedatectl set-ntp true`): jobs' deadlines are wall time"
        yield Said(WARNING, "the kernel says that its clock is not synchronised", advice)


def is_unified(host: HostFacts) -> bool:
    """Whether GPU and CPU share one pool."""
    return host.unified_name is not None


HOST_RULES = (
    Rule("ram_low", "The host has little RAM left.", "docs/concepts/memory-guard.md", _ram),
    Rule("swap_used", "The host has swapped something out.", "docs/adr/0011", _swap_used),
    Rule(
        "swap_on",
        "Swap is on where RAM is unified.",
        "vllm#46307: hosts that had to be power-cycled",
        _swap_on,
    ),
    Rule(
        "page_cache_pressure",
        "The page cache stands where CUDA wants to be.",
        "vllm#48140, #35356",
        _page_cache,
    ),
    Rule(
        "ram_pressure", "Processes wait for RAM.", "kernel PSI, full avg10 and some avg60", _psi_ram
    ),
    Rule("cpu_pressure", "Processes wait for a CPU.", "kernel PSI, some avg60", _psi_cpu),
    Rule(
        "container_limit",
        "A container's limit is below the host's RAM.",
        "cgroup memory.max",
        _container,
    ),
    Rule("files_limit", "Few files may be open.", "getrlimit(RLIMIT_NOFILE)", _files),
    Rule(
        "disk_low",
        "The disk of the data folder is nearly full.",
        "statvfs of the data folder",
        _disk,
    ),
    Rule("clock_unsynchronised", "The clock is not synchronised.", "adjtimex", _clock),
)
