"""The forms of an engine's answer: a stream, one JSON body, a stream assembled into one."""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

from stoker.core.errors import EngineInterrupted
from stoker.core.work import Usage
from stoker.engines.bodies import ASSEMBLED, CHAT, MESSAGES, RESPONSES, TYPED, Outbound
from stoker.engines.collect import Assembler, Assembling, usage_of_runs
from stoker.engines.collect_typed import MessageAssembler, ResponseAssembler
from stoker.engines.http1 import Answer, Broken, Stalled
from stoker.engines.mended_events import Mending
from stoker.engines.sse import FrameSplitter, StreamMeter, usage_of_json
from stoker.ports import Checkpoint

EVENT_STREAM = "text/event-stream"


class Wire:
    """Reads a response's body in pieces; a break or a stall is an `EngineInterrupted`."""

    def __init__(self, response: Answer, *, stall_timeout_s: float) -> None:
        self._response = response
        self._stall_timeout_s = stall_timeout_s
        self._has_begun = False
        self.is_ended = False
        """Whether the whole body has come, so that the connection can serve again."""

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def content_type(self) -> str:
        return self._response.headers.get("content-type", "application/octet-stream")

    async def read(self) -> bytes:
        """The next piece; empty at the end.

        Before the first piece there is no limit: the engine may have queued us, and whether it
        hangs is the probe's question.
        """
        limit_s = self._stall_timeout_s if self._has_begun else None
        try:
            piece = await self._response.read_piece(limit_s)
        except Stalled as error:
            raise EngineInterrupted(f"the answer stalled for {limit_s:g} s") from error
        except Broken as error:
            raise EngineInterrupted(f"the answer broke off: {error}") from error
        self._has_begun = True
        self.is_ended = not piece
        return piece

    def close(self) -> None:
        """Hang up, unless the whole body has been read."""
        self._response.close()


class StreamedAnswer:
    """Server-sent events, passed on in whole frames as they come."""

    is_stream = True

    def __init__(self, wire: Wire, outbound: Outbound, frames: Frames) -> None:
        self._wire = wire
        self._outbound = outbound
        self._frames = frames
        self.status = wire.status
        self.content_type = wire.content_type

    @property
    def output_tokens(self) -> int:
        return self._frames.meter.output_tokens

    @property
    def usage(self) -> Usage | None:
        return self._frames.meter.usage if self._wire.is_ended else None

    def chunks(self) -> StreamedAnswer:
        return self

    def __aiter__(self) -> StreamedAnswer:
        return self

    async def __anext__(self) -> bytes:
        # What came together goes out together: the writes are what a stream costs.
        wants_usage = self._outbound.is_usage_asked
        while True:
            plain = await self._frames.plain()
            if plain and not self._frames.may_follow:
                return plain
            frames = await self._frames.ready()
            chunk = [one for one, is_usage_only in frames if wants_usage or not is_usage_only]
            if plain or chunk:
                return b"".join([plain, *chunk])

    def body(self) -> bytes:
        raise AssertionError("a streamed answer has no body")

    def checkpoint(self) -> Checkpoint | None:
        return None


class PlainAnswer:
    """One JSON body, passed on in the pieces that it comes in."""

    is_stream = False

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._pieces: list[bytes] = []
        self.status = wire.status
        self.content_type = wire.content_type
        self.output_tokens = 0
        self.usage: Usage | None = None

    def chunks(self) -> PlainAnswer:
        return self

    def __aiter__(self) -> PlainAnswer:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._wire.read()
        if not piece:
            self.usage = usage_of_json(self.body())
            self.output_tokens = self.usage.output_tokens if self.usage else 0
            raise StopAsyncIteration
        self._pieces.append(piece)
        return piece

    def body(self) -> bytes:
        return b"".join(self._pieces)

    def checkpoint(self) -> Checkpoint | None:
        return None


class CollectedAnswer:
    """A stream inside, one whole JSON answer outside; can say where to continue."""

    is_stream = False
    content_type = "application/json"

    def __init__(
        self,
        wire: Wire,
        outbound: Outbound,
        frames: Frames,
        endpoint: str,
        *,
        is_prefill_echoed: bool,
    ) -> None:
        self._wire = wire
        self._outbound = outbound
        self._frames = frames
        self._endpoint = endpoint
        self._assembler = _assembler(endpoint, outbound, is_prefill_echoed=is_prefill_echoed)
        self.status = wire.status

    @property
    def output_tokens(self) -> int:
        return self._frames.meter.output_tokens

    @property
    def usage(self) -> Usage | None:
        usage = self._frames.meter.usage
        if usage is None or not self._wire.is_ended:
            return None
        return usage_of_runs(usage, self._outbound.checkpoint)

    def chunks(self) -> CollectedAnswer:
        return self

    def __aiter__(self) -> CollectedAnswer:
        return self

    async def __anext__(self) -> bytes:
        frames = [frame for frame, _ in await self._frames.ready()]
        for frame in frames:
            self._assembler.add(frame)
        return b"".join(frames)

    def body(self) -> bytes:
        assert self._wire.is_ended, "body() is for an answer whose chunks have ended"
        return self._assembler.whole(self._frames.meter.usage)

    def checkpoint(self) -> Checkpoint | None:
        text = self._assembler.text if self._outbound.is_resumable else None
        kept = self._outbound.checkpoint
        if text is None:
            return None
        whole = (kept.text if kept else "") + text
        if self._endpoint == CHAT:
            # Templates trim the end of a message; what they would drop is generated again.
            whole = whole.rstrip()
        if not whole:
            return None
        return Checkpoint(
            text=whole,
            output_tokens=(kept.output_tokens if kept else 0) + self.output_tokens,
            prompt_tokens=self._prompt_tokens(),
        )

    def _prompt_tokens(self) -> int | None:
        if self._outbound.checkpoint is not None:
            return self._outbound.checkpoint.prompt_tokens
        usage = self._frames.meter.usage
        return None if usage is None else usage.prompt_tokens


class GatheredAnswer:
    """A stream inside, given to the client in one piece: for engines that abort nothing else."""

    is_stream = False
    content_type = "application/json"

    def __init__(self, collected: CollectedAnswer) -> None:
        self._collected = collected
        self._is_given = False
        self.status = collected.status

    @property
    def output_tokens(self) -> int:
        return self._collected.output_tokens

    @property
    def usage(self) -> Usage | None:
        return self._collected.usage

    def chunks(self) -> GatheredAnswer:
        return self

    def __aiter__(self) -> GatheredAnswer:
        return self

    async def __anext__(self) -> bytes:
        if self._is_given:
            raise StopAsyncIteration
        async for _ in self._collected:
            pass
        self._is_given = True
        return self.body()

    def body(self) -> bytes:
        return self._collected.body()

    def checkpoint(self) -> Checkpoint | None:
        return None


class SpentAnswer:
    """The answer of a resumed call that had all its tokens already: the engine was not asked."""

    is_stream = False
    status = 200
    content_type = "application/json"
    output_tokens = 0

    def __init__(self, body: bytes, kept: Checkpoint) -> None:
        self._body = body
        self._kept = kept
        self.usage = usage_of_runs(None, kept)

    def chunks(self) -> SpentAnswer:
        return self

    def __aiter__(self) -> SpentAnswer:
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration

    def body(self) -> bytes:
        return self._body

    def checkpoint(self) -> Checkpoint | None:
        return self._kept


HttpAnswer: TypeAlias = (
    StreamedAnswer | PlainAnswer | CollectedAnswer | GatheredAnswer | SpentAnswer
)


def _assembler(endpoint: str, outbound: Outbound, *, is_prefill_echoed: bool) -> Assembling:
    if endpoint == RESPONSES:
        return ResponseAssembler()
    if endpoint == MESSAGES:
        return MessageAssembler()
    return Assembler(endpoint, kept=outbound.checkpoint, is_prefill_echoed=is_prefill_echoed)


class Frames:
    """Frames of a response, metered, and mended where its engine needs that."""

    def __init__(self, wire: Wire, endpoint: str, *, mending: Mending | None) -> None:
        self._wire = wire
        self._mending = mending
        self._splitter = FrameSplitter()
        self._ready: deque[bytes] = deque()
        self._needs_done = endpoint in ASSEMBLED
        self.meter = StreamMeter(is_typed=endpoint in TYPED)

    async def plain(self) -> bytes:
        """What has come, as far as it needs no closer look; `ready` has the rest."""
        if self._ready or self._wire.is_ended or self._mending or not self._splitter.is_empty:
            return b""
        piece = await self._wire.read()
        end = self.meter.see_plain(piece)
        if not piece or end < len(piece):
            self._take(piece[end:])
        return piece[:end]

    @property
    def may_follow(self) -> bool:
        """Whether frames are ready that can go with those before them. An error cannot: they are
        to be seen before it.
        """
        return bool(self._ready) and not any(b"error" in frame for frame in self._ready)

    async def ready(self) -> list[tuple[bytes, bool]]:
        """The frames that have come, at least one, each with whether it brings nothing but usage.

        Ends as an iterator does.
        """
        while not self._ready:
            if self._wire.is_ended:
                raise StopAsyncIteration
            self._take(await self._wire.read())
        frames: list[tuple[bytes, bool]] = []
        while self._ready:
            frame = self._ready[0]
            is_usage_only = self.meter.see(frame)
            if self.meter.error is not None:
                if frames:  # what came before the error comes first
                    break
                raise EngineInterrupted(f"the engine broke the answer off: {self.meter.error}")
            mended = [frame] if self._mending is None else self._mending.mended(frame)
            frames += [(one, is_usage_only) for one in mended]
            self._ready.popleft()
        return frames

    def _take(self, piece: bytes) -> None:
        if piece:
            self._ready.extend(self._splitter.feed(piece))
            return
        if rest := self._splitter.rest():
            self._ready.append(rest)
        elif self._needs_done and not self.meter.is_done:
            raise EngineInterrupted("the answer ended before its last event")
