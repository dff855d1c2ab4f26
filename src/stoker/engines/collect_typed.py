"""Assembles streams of typed events into one answer: OpenAI's Responses, Anthropic's messages.

Pure. None of them can be continued from its text: what they say lies in items and blocks.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec
from msgspec import Raw

from stoker.core.errors import EngineInterrupted
from stoker.core.work import Usage
from stoker.engines.sse import data_of

Json: TypeAlias = dict[str, Any]
# `Any` is what JSON of unknown shape is; it does not leave this module.


class ResponseAssembler:
    """A Response's stream ends with the whole of it: nothing has to be put together."""

    text = None

    def __init__(self) -> None:
        self._response: bytes | None = None

    def add(self, frame: bytes) -> None:
        """Take note of a frame."""
        data = data_of(frame)
        if not data.startswith(b"{") or b'"response"' not in data:
            return
        event = msgspec.json.decode(data, type=_ResponseEvent)
        if event.type in _RESPONSE_ENDS:
            self._response = bytes(event.response)

    def whole(self, _usage: Usage | None) -> bytes:
        """The Response, byte for byte."""
        return _present(self._response)


class MessageAssembler:
    """A message's stream: a beginning, its blocks piece by piece, and how it stopped."""

    text = None

    def __init__(self) -> None:
        self._message: Json | None = None
        self._blocks: dict[int, Json] = {}
        self._inputs: dict[int, str] = {}

    def add(self, frame: bytes) -> None:
        """Merge one frame. Pings change nothing."""
        data = data_of(frame)
        if not data.startswith(b"{"):
            return
        event: Json = msgspec.json.decode(data)
        match event.get("type"):
            case "message_start":
                self._message = event["message"]
            case "content_block_start":
                self._blocks[event["index"]] = event["content_block"]
            case "content_block_delta":
                self._grow(event["index"], event["delta"])
            case "message_delta" if self._message is not None:
                self._message |= event.get("delta") or {}
                usage = {**(self._message.get("usage") or {}), **(event.get("usage") or {})}
                self._message["usage"] = usage

    def whole(self, _usage: Usage | None) -> bytes:
        """The message, with all its blocks."""
        for index, text in self._inputs.items():
            self._blocks[index]["input"] = Raw(text.encode() or b"{}")
        blocks = [self._blocks[index] for index in sorted(self._blocks)]
        message = None
        if self._message is not None:
            message = msgspec.json.encode({**self._message, "content": blocks})
        return _present(message)

    def _grow(self, index: int, delta: Json) -> None:
        block = self._blocks.setdefault(index, {"type": "text", "text": ""})
        match delta.get("type"):
            case "input_json_delta":
                self._inputs[index] = self._inputs.get(index, "") + delta["partial_json"]
            case "citations_delta":
                block["citations"] = [*(block.get("citations") or []), delta["citation"]]
            case _:
                for name, piece in delta.items():
                    if name != "type":
                        block[name] = (block.get(name) or "") + piece


class _ResponseEvent(msgspec.Struct):
    type: str = ""
    response: Raw = Raw(b"null")


_RESPONSE_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})


def _present(answer: bytes | None) -> bytes:
    if answer is None:
        raise EngineInterrupted("the stream ended without an answer in it")
    return answer
