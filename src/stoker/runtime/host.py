"""The host's own pressure, as Linux tells it. Only `MemAvailable` is true on unified memory:
NVML has no figures there, and `cudaMemGetInfo` counts the page cache as used.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil

from stoker.core.events import HostSample
from stoker.ports import Engine
from stoker.runtime.engine_process import EngineProcess

_PRESSURE = Path("/proc/pressure/memory")
_MEMINFO = Path("/proc/meminfo")


class Host:
    """`ports.HostReader` of this machine. What it does not tell is `None`."""

    def __init__(self, *engines: Engine) -> None:
        self._processes = [EngineProcess(engine) for engine in engines]

    async def read(self) -> HostSample:
        rss = None
        if any(process.may_be_here() for process in self._processes):
            rss = await asyncio.to_thread(self._rss_bytes)
        ram = psutil.virtual_memory()
        return HostSample(
            ram_available_bytes=ram.available,
            ram_total_bytes=ram.total,
            psi_full_percent=psi_full_percent(_text(_PRESSURE)),
            swap_used_bytes=swap_used_bytes(_text(_MEMINFO)),
            engine_rss_bytes=rss,
        )

    def _rss_bytes(self) -> int | None:
        """Of all our engines together; where one is not to be seen, of the others."""
        found = [process.rss_bytes() for process in self._processes if process.may_be_here()]
        known = [rss for rss in found if rss is not None]
        return sum(known) if known else None


def psi_full_percent(text: str) -> float | None:
    """`full avg10` of the kernel's pressure stall information; absent in many containers."""
    for line in text.splitlines():
        if line.startswith("full "):
            fields = dict(field.split("=") for field in line.split()[1:])
            return float(fields["avg10"])
    return None


def swap_used_bytes(text: str) -> int | None:
    """Swap in use, of `/proc/meminfo`."""
    kib = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name in ("SwapTotal", "SwapFree"):
            kib[name] = int(rest.split()[0])
    return (kib["SwapTotal"] - kib["SwapFree"]) * 1024 if len(kib) == 2 else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
