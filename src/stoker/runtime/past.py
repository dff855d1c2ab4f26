"""The story of a request that nobody remembers any more, from the event log in the data folder.

The newest so many bytes are looked through, for lines that name it; only those are parsed. Times
become seconds since 1970 by the nearest line that says what the clock was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from stoker.core.story import Entry
from stoker.runtime.event_file import CLOCK_READ, older_file
from stoker.runtime.recorder import LoggedEvent

SCAN_MAX_BYTES = 256 * 2**20
ENTRIES_MAX = 500
_CHUNK_BYTES = 2**20
_LINE_MAX_BYTES = 2**20

_ORDER = {"arrived": 0, "waits": 1, "dispatched": 2, "first_token": 3}
"""Of one instant: what follows from an event is written before it."""
_Told = Callable[[Mapping[str, Any], float], Iterator[Entry]]
_Decoder = msgspec.json.Decoder(LoggedEvent)


def past_entries(path: Path, id: str, *, scan_max_bytes: int = SCAN_MAX_BYTES) -> list[Entry]:
    """Everything that is said about a request, oldest first; of very much, the newest.

    `at` is seconds since 1970. What was written before any clock was read is left out.
    """
    needles = (f'"{id}"'.encode(), f'"{CLOCK_READ}"'.encode())
    found: deque[Entry] = deque(maxlen=ENTRIES_MAX)
    offset_s: float | None = None
    for line in _lines_with(path, needles, scan_max_bytes):
        try:
            event = _Decoder.decode(line)
        except ValueError:
            continue  # cut short, or not ours
        if event.kind == CLOCK_READ:
            wall = event.fields.get("wall")
            offset_s = wall - event.at if isinstance(wall, float | int) else offset_s
            continue
        if offset_s is not None:
            found.extend(_entries(event, id, offset_s))
    return sorted(found, key=lambda entry: (entry.at, _ORDER.get(entry.what, len(_ORDER))))


def _entries(event: LoggedEvent, id: str, offset_s: float) -> Iterator[Entry]:
    """What one line says of it, in the words of a story."""
    fields: Mapping[str, Any] = event.fields
    request = fields.get("request")
    if fields.get("id") != id and not (isinstance(request, dict) and request.get("id") == id):
        return
    for entry in _told(event.kind, fields, event.at):
        yield entry._replace(at=entry.at + offset_s)


def _told(kind: str, fields: Mapping[str, Any], at: float) -> Iterator[Entry]:
    told = _TOLD.get(kind)
    if told is not None:
        yield from told(fields, at)


def _dispatched(fields: Mapping[str, Any], at: float) -> Iterator[Entry]:
    for wait in fields.get("waits", ()):
        yield Entry(wait["at"], "waits", _without(wait, "at"))
    yield Entry(at, "dispatched", _without(fields, "id", "cause", "waits"))


def _left(fields: Mapping[str, Any], at: float) -> Iterator[Entry]:
    if isinstance(fields.get("first_token_at"), float):
        yield Entry(fields["first_token_at"], "first_token", {})
    yield Entry(at, str(fields.get("outcome")), _without(fields.get("usage") or {}))


def _one(what: str, said: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> _Told:
    return lambda fields, at: iter((Entry(at, what, said(fields)),))


def _arrival(request: Mapping[str, Any]) -> dict[str, object]:
    priority = request.get("priority")
    named = ("prompt_bytes", "max_tokens", "session", "tenant", "family", "resumed_tokens")
    said = {name: request[name] for name in named if request.get(name)}
    return {"priority": f"p{priority}", **said}


def _without(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {
        name: value for name, value in fields.items() if name not in names and value is not None
    }


_TOLD: Mapping[str, _Told] = {
    "Arrived": _one("arrived", lambda fields: _arrival(fields["request"])),
    "Dispatch": _dispatched,
    "Preempt": _one("gives_way", lambda fields: _without(fields, "id")),
    "Abort": _one("aborted", lambda fields: {"cause": fields.get("note")}),
    "Reject": _one(
        "rejected", lambda fields: _without(fields.get("explanation") or {}, "is_retryable")
    ),
    "KeyRefused": _one("rejected", lambda fields: _without(fields, "id", "engine", "left_out")),
    "Left": _left,
}


def _lines_with(path: Path, needles: tuple[bytes, ...], most: int) -> Iterator[bytes]:
    """The lines of both files that have one of these, oldest first, among the newest bytes."""
    newer = _size(path)
    for one, budget in ((older_file(path), most - newer), (path, most)):
        if budget > 0 and one.exists():
            yield from _lines_of(one, needles, budget)


def _lines_of(path: Path, needles: tuple[bytes, ...], budget: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(max(0, _size(path) - budget))
        rest = b""
        while chunk := file.read(_CHUNK_BYTES):
            whole, end, rest = (rest + chunk).rpartition(b"\n")
            if not end and len(rest) > _LINE_MAX_BYTES:
                rest = b""  # no line of ours is so long
            if any(needle in whole for needle in needles):
                yield from (
                    line for line in whole.split(b"\n") if any(needle in line for needle in needles)
                )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
