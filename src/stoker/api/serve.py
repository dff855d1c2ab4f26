"""Listening: a fabric behind uvicorn, and a shutdown that drains first.

uvicorn is used for its protocol only. Its signal handling and main loop stay out of it: the order
is drain the fabric, then close the sockets, and nobody else may decide otherwise.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import ipaddress
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
import uvicorn

from stoker.access.key_file import KeyFile
from stoker.api.app import App, Pages
from stoker.api.connection import Connection
from stoker.core.errors import CannotListen, ConfigError
from stoker.fabric import Fabric

BACKLOG = 2048
_YOUNG_MAX = 20_000
"""Objects before a collection of the young; with Python's own 700 most of those that it looks at
belong to requests under way, and die by themselves."""
_FULL_COLLECTION_EVERY = 1000
"""Collections of the middle generation before one of everything; Python's own number is 10."""
_SWITCH_S = 0.0005
"""For how long another thread may keep the loop from running; Python's own 5 ms can be felt."""
_FLUSH_S = 2
"""What is left after the drain: slow readers, long polls, event streams."""

log = structlog.get_logger("stoker.serve")


@asynccontextmanager
async def listening(
    fabric: Fabric,
    *,
    host: str | None = None,
    port: int | None = None,
    sock: socket.socket | None = None,
    keys: KeyFile | None = None,
    pages: Pages | None = None,
) -> AsyncGenerator[str]:
    """Serve `fabric` while the block runs; yields the base URL. Raises `CannotListen`.

    With `keys`, to those who have one, as `server.keys` says.

    On `sock` if one is given (it is closed here), else where the configuration or `host` and
    `port` say.
    """
    settings = fabric.config.server
    if sock is None:
        sock = bind(host or settings.host, settings.port if port is None else port)
    app = App(fabric, keys, pages)
    server = _uvicorn(app if fabric.tracing is None else fabric.tracing.app(app))
    try:
        await server.startup(sockets=[sock])
        yield _url(sock)
    finally:
        app.closing.set()
        if server.started:
            await _shut_down(server, sock)
        sock.close()


async def serve(
    fabric: Fabric,
    *,
    announce: Callable[[str], None],
    sock: socket.socket | None = None,
    keys: KeyFile | None = None,
    pages: Pages | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain. `announce` is told the URL once it answers.

    A second signal ends the process at once; jobs are safe in the store either way.
    """
    stop = asyncio.Event()
    async with listening(fabric, sock=sock, keys=keys, pages=pages) as url:
        stop_listening_to_signals = _stop_on_signals(stop)
        _keep_answering()
        announce(url)
        await stop.wait()
        stop_listening_to_signals()
        log.info("draining", timeout_s=fabric.config.server.drain_timeout_s)
        await fabric.drain()
    log.info("stopped")


def _keep_answering() -> None:
    """Keep other threads, and the garbage collector, from holding up the loop.

    What lives long here (modules, event log, stories) is bounded and has no cycles, and requests
    leave none behind: full collections, once a second under load, took long and found nothing.
    """
    gc.collect()
    gc.freeze()
    _, middle, _ = gc.get_threshold()
    gc.set_threshold(_YOUNG_MAX, middle, _FULL_COLLECTION_EVERY)
    sys.setswitchinterval(_SWITCH_S)


def require_loopback(host: str) -> None:
    """Refuse an address that others can reach. Raises `ConfigError`."""
    if host == "localhost":
        return
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ConfigError(
            f"server.host: {host} can be reached from other machines, and there are no API keys: "
            "anybody there could use the engine and read results; create one with "
            '`stoker keys create NAME`, set server.keys = "required", or accept it with '
            "--insecure-bind"
        )


def bind(host: str, port: int) -> socket.socket:
    """A socket on that address. Raises `CannotListen` with what to do about it."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise CannotListen(f"{host} is no address of this machine: {error.strerror}") from error
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise CannotListen(_why_not(error, host, port)) from error
    return sock


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; choose another with --port, or 0 for any free one"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than this process has; choose one from 1024 up"
    return f"cannot listen on {host} port {port}: {error.strerror}"


def _url(sock: socket.socket) -> str:
    host, port, *_ = sock.getsockname()
    return f"http://[{host}]:{port}" if sock.family is socket.AF_INET6 else f"http://{host}:{port}"


def _uvicorn(app: Callable[..., Awaitable[None]]) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # who asks is never our question, and it is one wrapper more
        server_header=False,
        date_header=False,  # it would need uvicorn's main loop to stay true
        backlog=BACKLOG,
        timeout_graceful_shutdown=_FLUSH_S,
        timeout_keep_alive=75,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    return server


async def _shut_down(server: uvicorn.Server, sock: socket.socket) -> None:
    await server.shutdown(sockets=[sock])
    # uvicorn cancels what is left and goes; we stay until each has given its slot back.
    left = set(server.server_state.tasks)
    if left:
        await asyncio.wait(left, timeout=_FLUSH_S)


def _stop_on_signals(stop: asyncio.Event) -> Callable[[], None]:
    loop = asyncio.get_running_loop()
    handled = (signal.SIGTERM, signal.SIGINT)
    for number in handled:
        loop.add_signal_handler(number, stop.set)

    def restore() -> None:
        for number in handled:
            loop.remove_signal_handler(number)

    return restore
