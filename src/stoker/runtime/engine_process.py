"""The engine's processes, where they run on this host, and the RAM that is resident for them.

An engine that is ours names its child. Of another the process is found that listens on the
loopback port of its address. Where neither can be known, nothing is claimed.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

import psutil

from stoker.ports import Addressed, Engine, OwnsProcess

_TREE_EVERY = 10
"""Reads between two looks for new children; a read comes once a second."""
_FIND_EVERY = 30
"""Reads between two searches for who listens: they go through the open files of every process."""
_FORWARDERS = frozenset(
    {"docker-proxy", "rootlessport", "rootlesskit", "slirp4netns", "pasta", "conmon", "ssh", "sshd"}
    | {"socat", "kubectl", "nginx", "haproxy", "envoy", "caddy", "traefik"}
)
"""They listen for an engine that is elsewhere, or in another container."""


class EngineProcess:
    """Blocking, for a thread: reading `/proc` of many processes takes milliseconds."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._key: int | None = None
        self._root: psutil.Process | None = None
        self._tree: list[psutil.Process] = []
        self._reads = 0

    def rss_bytes(self) -> int | None:
        """Resident RAM of the process and its children; pages that they share count for each."""
        root = self._find()
        if root is None:
            return None
        try:
            if not self._tree or self._reads % _TREE_EVERY == 0:
                self._tree = [root, *root.children(recursive=True)]
            total = int(root.memory_info().rss)
        except (psutil.Error, OSError):
            self._root, self._tree = None, []
            return None
        return total + sum(_rss(child) for child in self._tree[1:])

    def may_be_here(self) -> bool:
        return _pid(self._engine) is not None or _loopback_port(self._engine) is not None

    def _find(self) -> psutil.Process | None:
        """The root process; looked for at once when the address changes, else now and then."""
        pid, port = _pid(self._engine), _loopback_port(self._engine)
        key = pid if pid is not None else port
        is_new = key != self._key
        self._key = key
        self._reads = 0 if is_new else self._reads + 1
        if not is_new and self._root is not None and self._root.is_running():
            return self._root
        if is_new or self._reads % _FIND_EVERY == 0:
            self._tree = []
            self._root = _process(pid) if pid is not None else _listener(port)
        return self._root


def is_here(url: str) -> bool:
    """Whether the address is on this host."""
    return _port_here(url) is not None


def listener_of(url: str) -> psutil.Process | None:
    """Who listens at an address on this host, if that can be seen."""
    port = _port_here(url)
    return None if port is None else _listener(port)


def _pid(engine: Engine) -> int | None:
    return engine.pid if isinstance(engine, OwnsProcess) else None


def _loopback_port(engine: Engine) -> int | None:
    return _port_here(engine.url) if isinstance(engine, Addressed) else None


def _port_here(url: str) -> int | None:
    """The port of an address on this host."""
    parts = urlsplit(url)
    host = parts.hostname
    if host is None or not (host == "localhost" or _is_loopback(host)):
        return None
    return parts.port or (443 if parts.scheme == "https" else 80)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _listener(port: int | None) -> psutil.Process | None:
    """Who listens there; of several that share the socket, the first born: their parent."""
    try:
        pids = {
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,)
        }
    except (psutil.Error, OSError):
        return None
    found = [process for pid in pids if pid and (process := _process(pid)) is not None]
    return min(found, key=lambda process: process.create_time(), default=None)


def _process(pid: int) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        return None if process.name() in _FORWARDERS else process
    except psutil.Error:
        return None


def _rss(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except (psutil.Error, OSError):
        return 0
