"""Debian's Chromium, started so that it asks nobody but the page's own host."""

from __future__ import annotations

import shutil
from pathlib import Path

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
)


def chromium() -> Path | None:
    """Where it is, if it is installed."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    return Path(found) if found else None
