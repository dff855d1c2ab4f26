"""Reads the facts about this machine. What it does not tell is `None`."""

from __future__ import annotations

import ctypes
import resource
import shutil
import subprocess
from pathlib import Path

import psutil

from stoker.doctor.facts import HostFacts

_MODEL_FILES = ("/proc/device-tree/model", "/sys/class/dmi/id/product_name")
_UNIFIED_MODELS = ("DGX Spark", "GB10", "Jetson", "Thor", "Ryzen AI Max")
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_CLOCK_ERROR = 5
"""`TIME_ERROR` of adjtimex: not synchronised."""
_QUERY = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]


def host_facts(data: Path) -> HostFacts:
    """Everything that can be known without root."""
    ram, swap = psutil.virtual_memory(), psutil.swap_memory()
    meminfo = _meminfo(_text("/proc/meminfo"))
    disk = _disk(data)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ram_pressure = _text("/proc/pressure/memory")
    return HostFacts(
        ram_total_bytes=ram.total,
        ram_available_bytes=ram.available,
        ram_free_bytes=meminfo.get("MemFree"),
        page_cache_bytes=_page_cache(meminfo),
        unified_name=unified_name(),
        swap_total_bytes=swap.total,
        swap_used_bytes=swap.used,
        psi_ram_full_percent=pressure(ram_pressure, "full", "avg10"),
        psi_ram_some_percent=pressure(ram_pressure, "some", "avg60"),
        psi_cpu_some_percent=pressure(_text("/proc/pressure/cpu"), "some", "avg60"),
        container_limit_bytes=_container_limit(),
        files_soft=None if soft == resource.RLIM_INFINITY else soft,
        files_hard=None if hard == resource.RLIM_INFINITY else hard,
        data_free_bytes=disk[0],
        data_total_bytes=disk[1],
        is_clock_synchronised=_is_clock_synchronised(),
    )


def pressure(text: str, line: str, window: str) -> float | None:
    """One figure of the kernel's pressure stall information; absent in many containers."""
    for found in text.splitlines():
        if found.startswith(line + " "):
            return float(dict(field.split("=") for field in found.split()[1:])[window])
    return None


def unified_name() -> str | None:
    """What this hardware is called, if its GPU shares the host's RAM."""
    for file in _MODEL_FILES:
        model = _text(file).strip("\0\n ")
        if any(name in model for name in _UNIFIED_MODELS):
            return model
    if "Ryzen AI Max" in _text("/proc/cpuinfo"):
        return "Strix Halo"
    return unified_gpu(_run(_QUERY))


def unified_gpu(listing: str) -> str | None:
    """The first GPU in nvidia-smi's list that has no memory of its own: there NVML says N/A."""
    for line in listing.splitlines():
        name, _, total = line.rpartition(",")
        if name and not any(character.isdigit() for character in total):
            return name.strip()
    return None


def _page_cache(meminfo: dict[str, int]) -> int | None:
    if "Cached" not in meminfo:
        return None
    return meminfo["Cached"] - meminfo.get("Shmem", 0) + meminfo.get("Buffers", 0)


def _meminfo(text: str) -> dict[str, int]:
    """In bytes."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if rest.strip().endswith("kB"):
            found[name] = int(rest.split()[0]) * 1024
    return found


def _container_limit() -> int | None:
    text = _text(_CGROUP_LIMIT).strip()
    return int(text) if text.isdigit() else None


def _disk(folder: Path) -> tuple[int | None, int | None]:
    """Free and total bytes where the folder is, or would be."""
    for place in (folder, *folder.absolute().parents):
        if place.exists():
            usage = shutil.disk_usage(place)
            return usage.free, usage.total
    return None, None


def _is_clock_synchronised() -> bool | None:
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _CLOCK_ERROR


def _run(command: list[str]) -> str:
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout if found.returncode == 0 else ""


def _text(path: Path | str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
