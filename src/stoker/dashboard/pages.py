"""The files of the page, read once: ours from this package, the charts' from the wheel with them.

Nothing outside this host is ever asked for anything, and the browser is told so.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path, PurePath

import structlog

CHARTS_WHEEL = "youplot"
CHARTS = {
    "uplot.iife.min.js": "2d27e8ad3d228164525ce213f9dc716f39b4e3aee0cc773fb3491c96cf4921a2",
    "uplot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}
"""SHA-256 of the same files in uPlot's own release, 1.6.31: nothing else is passed to a browser."""
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "object-src 'none'"
)

log = structlog.get_logger("stoker.dashboard")


@dataclass(frozen=True, slots=True)
class Page:
    """One file, ready to be sent."""

    body: bytes
    zipped: bytes
    tag: str

    media_type: str

    @property
    def headers(self) -> dict[str, str]:
        return {
            # Asked for again each time, and answered with 304: an update is seen at once.
            "cache-control": "no-cache",
            "etag": self.tag,
            "content-security-policy": _POLICY,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "vary": "accept-encoding",
        }


def load_pages() -> Mapping[str, Page]:
    """All files by their names. Without the charts' wheel, the page has its numbers and tables."""
    found = {name: _page(name, body) for name, body in _own_files()}
    found |= {name: _page(name, body) for name, body in _chart_files()}
    return found


def _own_files() -> Iterator[tuple[str, bytes]]:
    for entry in files(__package__).joinpath("static").iterdir():
        if PurePath(entry.name).suffix in _TYPES:
            yield entry.name, entry.read_bytes()


def _chart_files() -> Iterator[tuple[str, bytes]]:
    # The wheel's Python is never imported.
    try:
        vendored = Path(str(distribution(CHARTS_WHEEL).locate_file("youplot/vendor")))
    except PackageNotFoundError:
        log.warning("no_charts", cause=f"the package {CHARTS_WHEEL} is not installed")
        return
    for name, digest in CHARTS.items():
        body = (vendored / name).read_bytes()
        if hashlib.sha256(body).hexdigest() != digest:
            log.warning("no_charts", cause=f"{name} is not the file of uPlot's release")
            return
        yield name, body


def _page(name: str, body: bytes) -> Page:
    tag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
    zipped = gzip.compress(body, 9, mtime=0)
    return Page(body, zipped, tag, _TYPES[PurePath(name).suffix])
