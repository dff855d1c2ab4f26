"""Writes the tier that served a request into its answer.

Only the objects on the way to the tier are taken apart; in a chat's stream none is: there the field
is spliced into the bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec
from msgspec import Raw

from stoker.core.work import Priority
from stoker.runtime.endpoints import ENDPOINTS, MESSAGES, RESPONSES


@dataclass(frozen=True, slots=True)
class TierEcho:
    """How one kind of answer says its tier."""

    tier: bytes
    """As JSON."""
    whole_path: tuple[str, ...] = ()
    """The names that lead to the object with the tier in it, in a whole answer."""
    frame_path: tuple[str, ...] = ()
    """The same in the frames of a stream; empty is every frame."""

    def whole(self, body: bytes) -> bytes:
        """A whole JSON answer, with the tier in it."""
        return _with_tier(body, self.whole_path, self.tier)

    def frames(self, chunk: bytes) -> bytes:
        """Whole frames of a stream, with the tier in those that carry one."""
        if not self.frame_path and b'"service_tier"' not in chunk:
            return _DATA.sub(b'data: {"service_tier":%b,' % self.tier, chunk)
        if self.frame_path and f'"{self.frame_path[0]}"'.encode() not in chunk:
            return chunk
        return b"\n".join(self._line(line) for line in chunk.split(b"\n"))

    def _line(self, line: bytes) -> bytes:
        if not line.startswith(b"data: {"):
            return line
        return b"data: " + _with_tier(line[len(b"data: ") :], self.frame_path, self.tier)


def tier_echo(endpoint: str, priority: Priority) -> TierEcho | None:
    """How answers of an endpoint say which class served them; `None` where they never do."""
    if not ENDPOINTS[endpoint].is_generating:
        return None
    if endpoint == MESSAGES:
        return TierEcho(_ANTHROPIC[priority], ("usage",), ("message", "usage"))
    return TierEcho(_OPENAI[priority], (), ("response",) if endpoint == RESPONSES else ())


_OPENAI = {Priority.P0: b'"priority"', Priority.P1: b'"default"', Priority.P2: b'"flex"'}
_ANTHROPIC = {Priority.P0: b'"priority"', Priority.P1: b'"standard"', Priority.P2: b'"batch"'}
# A line break inside a JSON string is escaped: no model's text can begin a line.
_DATA = re.compile(rb'^data: \{(?=")', re.MULTILINE)
_OBJECT = msgspec.json.Decoder(dict[str, Raw])


def _with_tier(document: bytes | Raw, path: tuple[str, ...], tier: bytes) -> bytes:
    try:
        fields = _OBJECT.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return bytes(document)
    if not path:
        fields["service_tier"] = Raw(tier)
    elif path[0] in fields:
        fields[path[0]] = Raw(_with_tier(fields[path[0]], path[1:], tier))
    return msgspec.json.encode(fields)
