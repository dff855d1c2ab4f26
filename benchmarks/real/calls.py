"""One streamed call, timed by its caller: when it was sent, and when each piece of answer came."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import msgspec

from .loads import Prompt, joined
from .stats import Window

COMPLETIONS = "/v1/completions"
CALL_LIMIT_S = 300.0


@dataclass(frozen=True, slots=True)
class Ask:
    prompt: Prompt
    output_tokens: int
    more: Mapping[str, object] = field(default_factory=dict)
    """Other fields of the body, such as `priority`."""

    def body(self, model: str, *, is_streamed: bool) -> dict[str, object]:
        """Its answer has exactly `output_tokens`: no end of text stops it."""
        fields: dict[str, object] = {
            "model": model,
            "prompt": self.prompt,
            "max_tokens": self.output_tokens,
            "ignore_eos": True,
            "temperature": 1.0,
        }
        if is_streamed:
            fields |= {"stream": True, "stream_options": {"include_usage": True}}
            if isinstance(self.prompt, list):
                # Text that is cut into tokens again is not the same tokens.
                fields["return_token_ids"] = True
        return fields | dict(self.more)


@dataclass(slots=True)
class Answered:
    """What one call has shown so far."""

    sent_at: float
    token_at: list[float] = field(default_factory=list)
    """One moment for each piece; nearly always a token."""
    ended_at: float | None = None
    """When it was whole; `None` while it runs, when it failed, and when it was hung up."""
    prompt_tokens: int = 0
    output_tokens: int = 0
    text: str = ""
    ids: list[int] = field(default_factory=list)
    error: str | None = None

    @property
    def ttft_s(self) -> float | None:
        return self.token_at[0] - self.sent_at if self.token_at else None

    @property
    def e2e_s(self) -> float | None:
        return None if self.ended_at is None else self.ended_at - self.sent_at

    @property
    def tpot_s(self) -> float | None:
        if self.ended_at is None or self.output_tokens < 2:
            return None
        return (self.token_at[-1] - self.token_at[0]) / (self.output_tokens - 1)

    def continued(self, prompt: Prompt) -> Prompt:
        """The prompt with this answer after it."""
        return joined(prompt, self.ids if isinstance(prompt, list) else self.text)


@asynccontextmanager
async def opened_session() -> AsyncIterator[aiohttp.ClientSession]:
    """A connection for each call: llama.cpp closes the ones that it is done with."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=CALL_LIMIT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield session


async def stream(
    session: aiohttp.ClientSession, url: str, body: Mapping[str, object], answered: Answered
) -> Answered:
    """Send it, and write down what comes. Failures are in `error`; only hanging up raises."""
    try:
        async with session.post(url, json=body) as response:
            if response.status != 200:
                answered.error = f"{response.status}: {(await response.text())[:200]}"
                return answered
            async for line in response.content:
                note_line(line, time.perf_counter(), answered)
    except (aiohttp.ClientError, TimeoutError) as error:
        answered.error = f"{type(error).__name__}: {error}"
        return answered
    if answered.error is None:
        answered.ended_at = time.perf_counter()
    return answered


class _Choice(msgspec.Struct):
    text: str = ""
    finish_reason: str | None = None
    token_ids: list[int] | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Frame(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: msgspec.Raw = msgspec.Raw()


def note_line(line: bytes, at: float, answered: Answered) -> None:
    """One line of an event stream, which came at `at`."""
    if not line.startswith(b"data: {"):
        return
    frame = msgspec.json.decode(line[6:], type=_Frame)
    if frame.error:
        answered.error = bytes(frame.error)[:200].decode(errors="replace")
    if frame.usage is not None:
        answered.prompt_tokens = frame.usage.prompt_tokens
        answered.output_tokens = frame.usage.completion_tokens
    for choice in frame.choices:
        # A token may be half a character, and show no text yet. The last frame may hold no token.
        if choice.text or choice.token_ids or choice.finish_reason is None:
            answered.token_at.append(at)
            answered.text += choice.text
            answered.ids += choice.token_ids or ()


@dataclass(frozen=True, slots=True)
class Latencies:
    """What callers felt inside a window."""

    ttft_s: list[float]
    itl_s: list[float]
    tpot_s: list[float]
    e2e_s: list[float]
    finished: int
    finished_tokens: int
    tokens: int
    """Pieces that came, of finished answers or not."""
    errors: int

    @classmethod
    def of(cls, calls: Sequence[Answered], window: Window) -> Latencies:
        """An event counts where it happened: a first token, a gap's end, an answer's end."""
        ended = [call for call in calls if call.ended_at is not None and call.ended_at in window]
        began = [call for call in calls if call.token_at and call.token_at[0] in window]
        gaps = [
            (later, later - earlier)
            for call in calls
            for earlier, later in zip(call.token_at, call.token_at[1:], strict=False)
        ]
        return cls(
            ttft_s=[call.token_at[0] - call.sent_at for call in began],
            itl_s=[gap for at, gap in gaps if at in window],
            tpot_s=[tpot for call in ended if (tpot := call.tpot_s) is not None],
            e2e_s=[e2e for call in ended if (e2e := call.e2e_s) is not None],
            finished=len(ended),
            finished_tokens=sum(call.output_tokens for call in ended),
            tokens=sum(at in window for call in calls for at in call.token_at),
            errors=sum(call.error is not None for call in calls),
        )
