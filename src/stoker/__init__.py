"""Stoker: one box, one engine, three classes of work. The public names, and nothing else.

They are looked up when first used: a client does not load the server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stoker.client import Client, SyncClient
    from stoker.config import Config
    from stoker.core.errors import StokerError
    from stoker.fabric import Fabric

__all__ = ["Client", "Config", "Fabric", "StokerError", "SyncClient"]

_HOMES = {
    "Client": "stoker.client",
    "SyncClient": "stoker.client",
    "Config": "stoker.config",
    "StokerError": "stoker.core.errors",
    "Fabric": "stoker.fabric",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'stoker' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
