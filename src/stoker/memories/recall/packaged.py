"""Model files that came inside somebody else's wheel. The wheel's own code is never imported."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from stoker.core.errors import ConfigError


def packaged_file(package: str, name: str, install: str) -> Path:
    """Where a wheel put a file. Raises `ConfigError` that says how to get the wheel."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or []:
        if (file := Path(folder) / name).is_file():
            return file
    raise ConfigError(f"the embedding model in {package!r} is not installed: {install}")
