"""An engine in this process, its timing scripted on the loop's clock: for tests in virtual time.

It has slots, a KV cache, a prefill that is read one prompt at a time and a decode that slows down
with the batch. It can be told to refuse, drop, hang and die. It starts no task: a sequence advances
in the coroutine of the caller who reads it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stoker.core.errors import EngineError, EngineInterrupted, EngineUnreachable
from stoker.core.events import EngineSample
from stoker.core.limits import Capacity
from stoker.core.work import Priority, RequestId, Usage
from stoker.ports import Checkpoint, EngineCall, EngineTraits
from stoker.testing import fake_openai
from stoker.testing.fake_openai import FakeRequest


@dataclass(frozen=True, slots=True)
class FakeTiming:
    """How fast it is. The defaults are those of a small model on a small box."""

    prefill_s_per_token: float = 0.001
    decode_s: float = 0.02
    """One step with one sequence in the batch."""
    decode_s_per_sequence: float = 0.001
    """What every further sequence adds to the step."""
    abort_s: float = 0.0
    """How long a slot stays taken after the caller hung up."""


class FakeEngine:
    """A scripted `ports.Engine`. `calls` has every call it was sent, `aborts` counts hang-ups."""

    def __init__(
        self,
        *,
        slots: int = 4,
        kv_tokens: int | None = None,
        context_tokens: int = 8192,
        natural_tokens: int = 16,
        timing: FakeTiming | None = None,
        traits: EngineTraits | None = None,
        can_resume: bool = True,
        stall_timeout_s: float = 60.0,
    ) -> None:
        self.timing = timing or FakeTiming()
        self.traits = traits or EngineTraits(
            name="fake",
            has_telemetry=True,
            abort_grace_s=self.timing.abort_s,
            honours_priority=False,
        )
        self.natural_tokens = natural_tokens
        """Length of an answer that no `max_tokens` cuts."""
        self.can_resume = can_resume
        self.script: Callable[[EngineCall], str] | None = None
        """What the whole answer to a background call says; its timing stays as it is."""
        self.model = fake_openai.MODEL
        """The one model on its list."""
        self.stall_timeout_s = stall_timeout_s
        self.calls: list[EngineCall] = []
        self.aborts = 0
        self.probes = 0
        self.is_down = False
        self._capacity = Capacity(
            requests=slots, kv_tokens=kv_tokens, context_tokens=context_tokens
        )
        self._waiting: list[_Sequence] = []
        self._running: list[_Sequence] = []
        self._prefill_free_at = 0.0
        self._refusals: deque[EngineError] = deque()
        self._drops: deque[int] = deque()
        self._hang: asyncio.Future[None] | None = None
        self._prompt_tokens_total = 0
        self._output_tokens_total = 0

    # The knobs.

    def refuse(self, error: EngineError, *, times: int = 1) -> None:
        """Answer the next `times` calls with `error`."""
        self._refusals.extend([error] * times)

    def refuse_status(self, status: int, message: str = "scripted", *, times: int = 1) -> None:
        """Answer the next `times` calls with an HTTP error status."""
        self.refuse(fake_openai.refusal(status, message), times=times)

    def drop(self, *, after_tokens: int) -> None:
        """Break the next call's answer off after that many tokens."""
        self._drops.append(after_tokens)

    def hang(self) -> None:
        """Say nothing more, to anyone, until `recover()`."""
        if self._hang is None:
            self._hang = asyncio.get_running_loop().create_future()

    def die(self) -> None:
        """Break every connection and refuse new ones until `recover()`."""
        self.is_down = True
        for sequence in [*self._running, *self._waiting]:
            sequence.break_off("the engine died")

    def recover(self) -> None:
        """Undo `hang()` and `die()`."""
        self.is_down = False
        if self._hang is not None:
            self._hang.set_result(None)
            self._hang = None

    # The port.

    async def start(self) -> None:
        """Nothing to open."""

    async def stop(self) -> None:
        """Nothing to close."""

    async def capacity(self) -> Capacity:
        await self._answer_or_fail()
        return self._capacity

    async def sample(self) -> EngineSample:
        await self._answer_or_fail()
        return EngineSample(
            running=len(self._running),
            waiting=len(self._waiting),
            kv_cache_usage=self._kv_cache_usage(),
            preemptions_total=0.0,
            prompt_tokens_total=float(self._prompt_tokens_total),
            output_tokens_total=float(self._output_tokens_total),
        )

    async def probe(self, timeout_s: float) -> float:
        self.probes += 1
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        try:
            async with asyncio.timeout(timeout_s):
                async with self._open(_PROBE) as answer:
                    async for _ in answer.chunks():
                        pass
        except TimeoutError as error:
            raise EngineUnreachable(f"no completion within {timeout_s:g} s") from error
        return loop.time() - began_at

    async def count_prompt_tokens(self, endpoint: str, body: bytes) -> int | None:
        await self._answer_or_fail()
        return self._parse(endpoint, body).prompt_tokens

    async def models(self) -> tuple[int, bytes]:
        await self._answer_or_fail()
        return 200, fake_openai.models(self._capacity.context_tokens, self.model)

    @asynccontextmanager
    async def send(self, call: EngineCall) -> AsyncGenerator[FakeAnswer]:
        self.calls.append(call)
        async with self._open(call) as answer:
            yield answer

    # Inside.

    @asynccontextmanager
    async def _open(self, call: EngineCall) -> AsyncGenerator[FakeAnswer]:
        await self._answer_or_fail()
        if self._refusals:
            raise self._refusals.popleft()
        request = self._parse(call.endpoint, call.body)
        sequence = _Sequence(request, call)
        sequence.drop_after = self._drops.popleft() if self._drops else None
        self._waiting.append(sequence)
        self._grant()
        try:
            yield FakeAnswer(self, sequence, can_resume=self.can_resume)
        finally:
            self._leave(sequence)

    def _parse(self, endpoint: str, body: bytes) -> FakeRequest:
        context_tokens = self._capacity.context_tokens
        assert context_tokens is not None
        return fake_openai.parse(
            endpoint, body, natural_tokens=self.natural_tokens, context_tokens=context_tokens
        )

    async def _answer_or_fail(self) -> None:
        if self._hang is not None:
            await asyncio.wait({self._hang}, timeout=self.stall_timeout_s)
            if self._hang is not None:
                raise EngineUnreachable(f"no answer within {self.stall_timeout_s:g} s")
        if self.is_down:
            raise EngineUnreachable("connection refused")

    def _grant(self) -> None:
        """Give free slots out, in order of arrival (or of priority, where that is honoured)."""
        if self.traits.honours_priority:
            self._waiting.sort(key=lambda sequence: sequence.call.priority)
        while self._waiting and len(self._running) < self._capacity.requests:
            if not self._has_room(self._waiting[0]):
                break
            sequence = self._waiting.pop(0)
            self._running.append(sequence)
            self._prompt_tokens_total += sequence.prefill_tokens
            sequence.granted.set_result(None)

    def _has_room(self, newcomer: _Sequence) -> bool:
        if self._capacity.kv_tokens is None:
            return True
        reserved = sum(sequence.peak_tokens for sequence in self._running)
        return not self._running or reserved + newcomer.peak_tokens <= self._capacity.kv_tokens

    def _kv_cache_usage(self) -> float | None:
        if self._capacity.kv_tokens is None:
            return None
        used = sum(sequence.prefill_tokens + sequence.produced for sequence in self._running)
        return min(1.0, used / self._capacity.kv_tokens)

    def _leave(self, sequence: _Sequence) -> None:
        if sequence in self._waiting:
            self.aborts += 1
            self._waiting.remove(sequence)
        elif sequence.is_finished or sequence.broken.done():
            self._free(sequence)
        else:
            self.aborts += 1
            loop = asyncio.get_running_loop()
            loop.call_later(self.timing.abort_s, self._free, sequence)

    def _free(self, sequence: _Sequence) -> None:
        self._running.remove(sequence)
        self._grant()

    async def prefill(self, sequence: _Sequence) -> None:
        """Wait for a slot, then for the prompt to be read behind the prompts before it."""
        await self._until(sequence, sequence.granted)
        now = asyncio.get_running_loop().time()
        prefill_s = sequence.prefill_tokens * self.timing.prefill_s_per_token
        self._prefill_free_at = max(self._prefill_free_at, now) + prefill_s
        await self._advance(sequence, self._prefill_free_at - now)

    async def decode(self, sequence: _Sequence) -> None:
        """Take the time of one output token, in the batch as it is now."""
        if sequence.drop_after == sequence.produced:
            raise EngineInterrupted(f"the answer broke off after {sequence.produced} tokens")
        others = len(self._running) - 1
        await self._advance(
            sequence, self.timing.decode_s + others * self.timing.decode_s_per_sequence
        )
        sequence.produced += 1
        self._output_tokens_total += 1

    async def _advance(self, sequence: _Sequence, delay_s: float) -> None:
        await asyncio.wait({sequence.broken}, timeout=delay_s)
        if self._hang is not None:
            await self._until(sequence, self._hang, timeout_s=self.stall_timeout_s)
        sequence.raise_if_broken()

    async def _until(
        self, sequence: _Sequence, future: asyncio.Future[None], *, timeout_s: float | None = None
    ) -> None:
        await asyncio.wait(
            {sequence.broken, future}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        sequence.raise_if_broken()
        if not future.done():
            raise EngineInterrupted(f"the answer stalled for {timeout_s:g} s")


class FakeAnswer:
    """One scripted answer: `ports.EngineAnswer`."""

    status = 200

    def __init__(self, engine: FakeEngine, sequence: _Sequence, *, can_resume: bool) -> None:
        self._engine = engine
        self._sequence = sequence
        self._can_resume = can_resume
        self._body: bytes | None = None
        self.usage: Usage | None = None
        self.is_stream = sequence.request.is_stream and not sequence.call.is_collected

    @property
    def content_type(self) -> str:
        return "text/event-stream" if self.is_stream else "application/json"

    @property
    def output_tokens(self) -> int:
        return self._sequence.produced

    async def chunks(self) -> AsyncIterator[bytes]:
        sequence, request = self._sequence, self._sequence.request
        has_frames = self.is_stream or sequence.call.is_collected
        await self._engine.prefill(sequence)
        for position in range(sequence.target):
            await self._engine.decode(sequence)
            if has_frames:
                for frame in fake_openai.frames_for(request, sequence.kept + position):
                    yield frame
        sequence.is_finished = True
        self.usage = self._count()
        script = self._engine.script if sequence.call.is_collected else None
        content = self._text() if script is None else script(sequence.call)
        self._body = fake_openai.whole(request, content, self.usage)
        if has_frames:
            wanted = self.usage if request.is_usage_wanted else None
            for frame in fake_openai.closing_frames(request, self._body, usage=wanted):
                yield frame
        else:
            yield self._body

    def body(self) -> bytes:
        assert self._body is not None, "body() is for an answer whose chunks have ended"
        return self._body

    def checkpoint(self) -> Checkpoint | None:
        sequence = self._sequence
        if not (self._can_resume and sequence.call.is_collected and sequence.request.is_resumable):
            return None
        return Checkpoint(
            text=self._text(),
            output_tokens=sequence.kept + sequence.produced,
            prompt_tokens=self._count().prompt_tokens,
        )

    def _text(self) -> str:
        sequence = self._sequence
        kept = sequence.call.checkpoint.text if sequence.call.checkpoint else ""
        first = sequence.request.first_token + sequence.kept
        return kept + fake_openai.text(first, sequence.produced)

    def _count(self) -> Usage:
        sequence = self._sequence
        return fake_openai.usage_of(sequence.request, sequence.kept + sequence.produced)


class _Sequence:
    def __init__(self, request: FakeRequest, call: EngineCall) -> None:
        loop = asyncio.get_running_loop()
        self.request = request
        self.call = call
        self.granted: asyncio.Future[None] = loop.create_future()
        self.broken: asyncio.Future[None] = loop.create_future()
        self._cause = ""
        self.kept = call.checkpoint.output_tokens if call.checkpoint else 0
        is_embedding = request.endpoint == fake_openai.EMBEDDINGS
        self.target = 0 if is_embedding else max(0, request.output_tokens - self.kept)
        self.prefill_tokens = request.prompt_tokens + self.kept
        self.produced = 0
        self.drop_after: int | None = None
        self.is_finished = False

    @property
    def peak_tokens(self) -> int:
        return self.prefill_tokens + self.target

    def break_off(self, cause: str) -> None:
        if not self.broken.done():
            self._cause = cause
            self.broken.set_result(None)

    def raise_if_broken(self) -> None:
        if self.broken.done():
            raise EngineInterrupted(self._cause)


_PROBE = EngineCall(
    request_id=RequestId("probe"),
    endpoint=fake_openai.COMPLETIONS,
    body=b'{"prompt":"ping","max_tokens":1}',
    priority=Priority.P0,
)
