"""What llama.cpp leaves out of the events of its streams, put in (pure).

OpenAI's clients put a Response together by `output_index` and `content_index`; it sends neither,
nor `sequence_number`. Anthropic's begin at `message_start`; it is missing where the first token is
a part of a character.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from stoker.engines.sse import data_of


class Mending(Protocol):
    """Takes the frames of one stream in order."""

    def mended(self, frame: bytes) -> list[bytes]:
        """The frame with what it lacks, byte for byte otherwise, behind those that lack."""


class MessageEvents:
    """Anthropic's messages: the beginning, if there was none."""

    def __init__(self, id: str) -> None:
        self._id = id
        self._has_begun = False

    def mended(self, frame: bytes) -> list[bytes]:
        """The frame, behind a beginning where it should have been one."""
        if self._has_begun or not data_of(frame).startswith(b"{"):
            return [frame]
        self._has_begun = True
        if b'"message_start"' in frame:
            return [frame]
        message: dict[str, object] = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": "",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        event = msgspec.json.encode({"type": "message_start", "message": message})
        return [b"event: message_start\ndata: " + event + b"\n\n", frame]


class ResponseEvents:
    """OpenAI's Responses: the numbers of their events."""

    def __init__(self) -> None:
        self._sequence = 0
        self._items: dict[str, int] = {}
        self._parts: dict[str, int] = {}

    def mended(self, frame: bytes) -> list[bytes]:
        """The frame with the numbers that it lacks; the rest of it byte for byte."""
        data = data_of(frame)
        if not data.startswith(b'{"') or b'"sequence_number"' in data:
            return [frame]
        event = msgspec.json.decode(data, type=_Event)
        numbers = b"".join(b'"%b":%d,' % pair for pair in self._numbers(event).items())
        self._sequence += 1
        return [frame.replace(data, b"{" + numbers + data[1:], 1)]

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
