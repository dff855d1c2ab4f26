"""Numbers for the events of a Response's stream, where an engine leaves them out (pure).

OpenAI's clients put a stream together by `output_index` and `content_index`; llama.cpp sends
neither, nor `sequence_number`.
"""

from __future__ import annotations

import msgspec

from stoker.engines.sse import data_of


class ResponseEvents:
    """Takes the frames of one stream in order."""

    def __init__(self) -> None:
        self._sequence = 0
        self._items: dict[str, int] = {}
        self._parts: dict[str, int] = {}

    def numbered(self, frame: bytes) -> bytes:
        """The frame with the numbers that it lacks; the rest of it byte for byte."""
        data = data_of(frame)
        if not data.startswith(b'{"') or b'"sequence_number"' in data:
            return frame
        event = msgspec.json.decode(data, type=_Event)
        numbers = b"".join(b'"%b":%d,' % pair for pair in self._numbers(event).items())
        self._sequence += 1
        return frame.replace(data, b"{" + numbers + data[1:], 1)

    def _numbers(self, event: _Event) -> dict[bytes, int]:
        numbers = {b"sequence_number": self._sequence}
        id = event.item_id or (event.item or _Item()).id
        if not id:
            return numbers
        numbers[b"output_index"] = self._items.setdefault(id, len(self._items))
        if event.type == "response.content_part.added":
            self._parts[id] = self._parts.get(id, -1) + 1
        if any(word in event.type for word in _OF_A_PART):
            numbers[b"content_index"] = self._parts.get(id, 0)
        return numbers


_OF_A_PART = ("content_part", "output_text", "refusal", "reasoning_text")


class _Item(msgspec.Struct):
    id: str = ""


class _Event(msgspec.Struct):
    type: str = ""
    item_id: str | None = None
    item: _Item | None = None
