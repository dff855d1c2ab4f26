"""The host's own pressure, as Linux tells it. Only `MemAvailable` is true on unified memory:
NVML has no figures there, and `cudaMemGetInfo` counts the page cache as used.
"""

from __future__ import annotations

from pathlib import Path

import psutil

from stoker.core.events import HostSample

_PRESSURE = Path("/proc/pressure/memory")


def sample_host() -> HostSample:
    """Read it now. What the host does not tell is `None`."""
    ram = psutil.virtual_memory()
    return HostSample(
        ram_available_bytes=ram.available,
        ram_total_bytes=ram.total,
        psi_full_percent=_psi_full(),
    )


def _psi_full() -> float | None:
    """`full avg10` of the kernel's pressure stall information; absent in many containers."""
    try:
        text = _PRESSURE.read_text()
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("full "):
            fields = dict(field.split("=") for field in line.split()[1:])
            return float(fields["avg10"])
    return None
