"""Server-sent events, incrementally and byte for byte (pure).

Frames go through as they came. What we want to know about them is found by a search in the bytes;
JSON is parsed only in the one frame that has the usage.
"""

from __future__ import annotations

import re

import msgspec

from stoker.core.work import Usage


class FrameSplitter:
    """Cuts a byte stream into whole frames, each with its closing blank line."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Add bytes, cut anywhere; return the frames that are now complete."""
        if not self._buffer and is_whole(data) and b"\r" not in data:
            return [frame + b"\n\n" for frame in data.split(b"\n\n")[:-1]]
        self._buffer += data
        frames = []
        start = 0
        # A boundary is at most four bytes long, so three of the searched ones may belong to it.
        search_from = max(0, self._searched - 3)
        while (match := _BOUNDARY.search(self._buffer, max(start, search_from))) is not None:
            frames.append(bytes(self._buffer[start : match.end()]))
            start = match.end()
        del self._buffer[:start]
        self._searched = len(self._buffer)
        return frames

    @property
    def is_empty(self) -> bool:
        """Whether no frame has begun that has not ended."""
        return not self._buffer

    def rest(self) -> bytes:
        """Bytes of a frame whose end has not come."""
        return bytes(self._buffer)


class StreamMeter:
    """Counts the output tokens of a stream, and finds its usage, its end and its errors."""

    def __init__(self, *, is_typed: bool = False) -> None:
        """`is_typed`: its last event is known by its type, and there may be no `[DONE]`."""
        self._is_typed = is_typed
        self._content = _DELTA if is_typed else _CONTENT
        self.output_tokens = 0
        """Frames with content: about one token each, until the usage says it exactly."""
        self.usage: Usage | None = None
        self.is_done = False
        self.error: str | None = None

    def see_plain(self, frames: bytes) -> int:
        """Take note, at one look, of the frames in front that bring text and nothing else; how many
        bytes they are. Where there may be more in a frame, it is not among them.
        """
        if self._is_typed:
            return 0
        more = _MORE.search(frames)
        end = frames.rfind(b"\n\n", 0, len(frames) if more is None else more.start()) + 2
        if end < 2:
            return 0
        self.output_tokens += len(_CONTENT_LINE.findall(frames, 0, end))
        return end

    def see(self, frame: bytes) -> bool:
        """Take note of a frame; true when it brings nothing but usage."""
        if self._content.search(frame) is not None:
            self.output_tokens += 1
        elif frame.startswith(_DONE):
            self.is_done = True
        elif _ERROR.search(frame) is not None:
            self.error = data_of(frame).decode(errors="replace")[:300]
        if self._is_typed and _LAST.search(frame) is not None:
            self.is_done = True
        if _USAGE.search(frame) is None:
            return False
        return self._see_usage(data_of(frame))

    def _see_usage(self, data: bytes) -> bool:
        try:
            chunk = msgspec.json.decode(data, type=_UsageChunk)
        except msgspec.DecodeError:
            return False
        found = chunk.usage or (chunk.response or chunk.message or _Holder()).usage
        if found is None:
            return False
        self.usage = found.to_usage(self.usage)
        self.output_tokens = max(self.output_tokens, self.usage.output_tokens)
        return chunk.choices is not None and len(chunk.choices) == 0


def is_whole(piece: bytes) -> bool:
    """Whether a piece that begins with a frame ends with one, as most do."""
    return piece.endswith(b"\n\n")


def data_of(frame: bytes) -> bytes:
    """The frame's payload: its `data` lines joined by newlines; empty for comments and pings."""
    lines = [line[5:].removeprefix(b" ") for line in frame.splitlines() if line[:5] == b"data:"]
    return b"\n".join(lines)


def usage_of_json(body: bytes) -> Usage | None:
    """The usage of an answer that is not streamed, in any of the known spellings."""
    try:
        found = msgspec.json.decode(body, type=_Holder).usage
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return None if found is None else found.to_usage(None)


_BOUNDARY = re.compile(rb"\r?\n\r?\n")
# Quotes inside JSON strings are escaped, so these patterns cannot match a model's text.
_CONTENT = re.compile(
    rb'"(?:content|text|reasoning|reasoning_content|arguments|delta|thinking|partial_json|refusal)"'
    rb'\s*:\s*"(?!")'
)
_CONTENT_LINE = re.compile(_CONTENT.pattern + rb"[^\n]*")
_MORE = re.compile(rb'"usage"\s*:\s*\{|\[DONE\]|error')
# Typed events repeat the text when a part of it is complete: only the pieces count.
_DELTA = re.compile(rb'"type"\s*:\s*"(?:content_block_delta|response\.[a-z_.]+\.delta)"')
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_ERROR = re.compile(rb'\A(?:event: ?error|error:|data: ?\{\s*"error"\s*:\s*[^n\s])')
_LAST = re.compile(
    rb'"type"\s*:\s*"(?:message_stop|response\.(?:completed|incomplete|failed|cancelled))"'
)
_DONE = b"data: [DONE]"


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _WireUsage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None

    def to_usage(self, before: Usage | None) -> Usage:
        # Anthropic's stream tells the input first and the output last: keep what was told.
        before = before or Usage(prompt_tokens=0, output_tokens=0)
        details = self.prompt_tokens_details or self.input_tokens_details or _Details()
        return Usage(
            prompt_tokens=_first(self.prompt_tokens, self._input(), before.prompt_tokens) or 0,
            output_tokens=_first(self.completion_tokens, self.output_tokens, before.output_tokens)
            or 0,
            cached_tokens=_first(
                details.cached_tokens, self.cache_read_input_tokens, before.cached_tokens
            ),
        )

    def _input(self) -> int | None:
        if self.input_tokens is None:
            return None
        # Anthropic counts as input only what had not been in the cache; OpenAI counts all of it.
        cached = (self.cache_read_input_tokens or 0) + (self.cache_creation_input_tokens or 0)
        return self.input_tokens + cached


class _Holder(msgspec.Struct):
    usage: _WireUsage | None = None


class _UsageChunk(msgspec.Struct):
    usage: _WireUsage | None = None
    choices: list[msgspec.Raw] | None = None
    response: _Holder | None = None
    message: _Holder | None = None


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
