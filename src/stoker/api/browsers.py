"""Whether a browser asks on behalf of a foreign page: what it could reach is not for that page.

Any page may send a simple POST to loopback, and one whose own name has come to mean 127.0.0.1 (DNS
rebinding) may read the answers too. Only where no API keys are needed: a page does not have one.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from stoker.api.asgi import Scope
from stoker.core.errors import NotAllowed

_OWN_SUFFIXES = (".localhost", ".local", ".lan", ".internal", ".home.arpa")
"""Names that nobody can register, so that no stranger can point one at this machine."""


_remembered = lru_cache(maxsize=256)
"""Every call of a client has the same headers, and reading an address takes 10 µs."""


def check_browser(scope: Scope, allowed: Collection[str]) -> None:
    """Raise `NotAllowed` where a page of another host asks, or this server has a public name.

    `allowed` are further names of this server. Clients that are no browsers send no `Origin`.
    """
    host = origin = None
    for name, value in scope["headers"]:
        if name == b"host":
            host = _name(b"//" + value)
        elif name == b"origin":
            origin = _name(value)
    if host is not None and not (_is_own(host) or host in allowed):
        raise NotAllowed(
            f"Host: {host[:200]} is no name of this machine's own network, and there are no API "
            "keys; put it into server.allowed_hosts if it is this server's"
        )
    if origin is not None and origin != host and not _is_loopback(origin) and origin not in allowed:
        raise NotAllowed(
            f"Origin: a page of {origin[:200] or 'nobody'} may not use this server; put its host "
            "into server.allowed_hosts if it may"
        )


@_remembered
def _name(address: bytes) -> str:
    """The host of an address; empty where there is none (`Origin: null`)."""
    try:
        return urlsplit(address.decode("latin-1")).hostname or ""
    except ValueError:
        return ""


@_remembered
def _is_own(host: str) -> bool:
    return "." not in host or host.endswith(_OWN_SUFFIXES) or _is_address(host)


@_remembered
def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    return _is_address(host) and ip_address(host).is_loopback


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
