"""What every `Engine` must do, as tests to inherit.

    class TestMyEngine(EngineSuite):
        @pytest.fixture
        async def engine(self):
            engine = MyEngine(...)
            await engine.start()
            yield engine
            await engine.stop()

Each test asks for few tokens, and none assumes what a model says. The engine must be idle and able
to run at least two sequences.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, NoReturn

import msgspec

from stoker.core.errors import EngineRefused
from stoker.core.work import Priority, RequestId, Usage
from stoker.ports import Engine, EngineAnswer, EngineCall
from stoker.testing.typed_suite import TypedAnswers

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
LONG_TOKENS = 400
"""Long enough to be stopped in the middle by a machine that is slow to notice."""
_QUESTION = "Write a long story about the sea."
_BEGINNING = "One, two, three, four, five, six,"
"""A text that any model goes on with."""


def chat(text: str = _QUESTION, **fields: object) -> EngineCall:
    """A chat call of `text`, with `fields` in its body."""
    body = {"messages": [{"role": "user", "content": text}], "temperature": 0, **fields}
    return EngineCall(RequestId("suite"), CHAT, msgspec.json.encode(body), Priority.P1)


def completion(text: str = _BEGINNING, **fields: object) -> EngineCall:
    """A completion call of `text`, with `fields` in its body."""
    body = {"prompt": text, "temperature": 0, **fields}
    return EngineCall(RequestId("suite"), COMPLETIONS, msgspec.json.encode(body), Priority.P1)


async def read(engine: Engine, call: EngineCall) -> tuple[list[bytes], EngineAnswer]:
    """Run a call to its end; its chunks, and the answer with what it knows then."""
    async with engine.send(call) as answer:
        chunks = [chunk async for chunk in answer.chunks()]
    return chunks, answer


async def read_json(engine: Engine, call: EngineCall) -> dict[str, Any]:
    """The whole JSON answer of a call that is not streamed."""
    chunks, answer = await read(engine, call)
    document = answer.body() if call.is_collected else b"".join(chunks)
    decoded: dict[str, Any] = msgspec.json.decode(document)
    return decoded


class Answers:
    """Plain answers: whole, streamed and refused."""

    async def test_a_chat_answer_comes_whole_with_its_usage(self, engine: Engine) -> None:
        chunks, answer = await read(engine, chat(max_tokens=4))

        document = msgspec.json.decode(b"".join(chunks))
        assert isinstance(document["choices"][0]["message"]["content"], str)
        assert (answer.status, answer.is_stream) == (200, False)
        _check_usage(answer, document["usage"], most=4)

    async def test_a_completion_comes_whole_with_its_usage(self, engine: Engine) -> None:
        chunks, answer = await read(engine, completion(max_tokens=4))

        document = msgspec.json.decode(b"".join(chunks))
        assert isinstance(document["choices"][0]["text"], str)
        _check_usage(answer, document["usage"], most=4)

    async def test_a_stream_comes_in_whole_frames_and_its_usage_is_known(
        self, engine: Engine
    ) -> None:
        chunks, answer = await read(engine, chat(max_tokens=4, stream=True))

        assert answer.is_stream
        assert answer.content_type.startswith("text/event-stream")
        assert all(chunk.endswith((b"\n\n", b"\r\n\r\n")) for chunk in chunks)
        assert chunks[-1].strip().endswith(b"data: [DONE]")
        assert answer.usage is not None
        assert 1 <= answer.usage.output_tokens <= 4

    async def test_a_client_that_asked_for_no_usage_sees_no_usage_frame(
        self, engine: Engine
    ) -> None:
        asked, _ = await read(
            engine, chat(max_tokens=2, stream=True, stream_options={"include_usage": True})
        )
        unasked, _ = await read(engine, chat(max_tokens=2, stream=True))

        assert _usage_frames(asked) == 1
        assert _usage_frames(unasked) == 0

    async def test_tokens_are_counted_while_they_come(self, engine: Engine) -> None:
        seen = []

        async with engine.send(completion(max_tokens=6, stream=True)) as answer:
            async for _ in answer.chunks():
                seen.append(answer.output_tokens)  # noqa: PERF401 - the count is read as it grows
            assert answer.usage is not None
            assert seen == sorted(seen)
            assert seen[-1] == answer.usage.output_tokens

    async def test_unknown_fields_are_no_reason_to_fail(self, engine: Engine) -> None:
        extra: dict[str, Any] = {
            "x_unknown": {"nested": [1, 2.5e3]},
            "stoker": {"class": "p0"},
            "priority": 7,
        }

        document = await read_json(engine, chat(max_tokens=2, service_tier="flex", **extra))

        assert document["choices"]

    async def test_a_refusal_has_the_engines_own_status_and_body(self, engine: Engine) -> None:
        body = b'{"messages": 5, "max_tokens": 1}'
        call = EngineCall(RequestId("suite"), CHAT, body, Priority.P1)

        refused = await _refusal_of(engine, call)

        assert 400 <= refused.status < 600
        assert refused.body


class Aborts:
    """Hanging up frees the engine's slot, and its own gauge says so."""

    async def test_leaving_a_stream_early_frees_its_slot(self, engine: Engine) -> None:
        _skip_without_gauges(engine)
        async with engine.send(
            completion(max_tokens=LONG_TOKENS, stream=True, ignore_eos=True)
        ) as answer:
            async for _ in answer.chunks():
                break
            await _until_running(engine, 1)

        await _until_running(engine, 0)

    async def test_cancelling_a_call_that_waits_for_its_answer_frees_its_slot(
        self, engine: Engine
    ) -> None:
        _skip_without_gauges(engine)
        async with asyncio.TaskGroup() as group:
            call = completion(max_tokens=LONG_TOKENS, ignore_eos=True)
            reader = group.create_task(read(engine, call))
            await _until_running(engine, 1)
            reader.cancel()

        await _until_running(engine, 0)

    async def test_an_aborted_call_harms_no_other(self, engine: Engine) -> None:
        async with asyncio.TaskGroup() as group:
            other = group.create_task(read_json(engine, chat(max_tokens=16)))
            async with engine.send(
                completion(max_tokens=LONG_TOKENS, stream=True, ignore_eos=True)
            ) as answer:
                async for _ in answer.chunks():
                    break

        assert other.result()["choices"]


class Collected:
    """Background calls: streamed inside, one whole answer outside, resumable where possible."""

    async def test_a_collected_answer_has_the_shape_of_a_plain_one(self, engine: Engine) -> None:
        for call in (chat(max_tokens=4), completion(max_tokens=4)):
            plain = await read_json(engine, call)
            collected = await read_json(engine, replace(call, is_collected=True))

            assert _core_shape(collected) == _core_shape(plain)

    async def test_a_collected_call_shows_progress_and_knows_its_usage(
        self, engine: Engine
    ) -> None:
        chunks, answer = await read(
            engine, replace(chat(max_tokens=4, stream=True), is_collected=True)
        )

        assert len(chunks) > 1
        assert not answer.is_stream
        _check_usage(answer, msgspec.json.decode(answer.body())["usage"], most=4)

    async def test_a_stopped_call_continues_to_one_answer(self, engine: Engine) -> None:
        for call in (chat(max_tokens=12), completion(max_tokens=12)):
            call = replace(call, is_collected=True)  # noqa: PLW2901
            async with engine.send(call) as first:
                async for _ in first.chunks():
                    if first.output_tokens >= 5:
                        break
                checkpoint = first.checkpoint()
            if checkpoint is None:
                _skip("this engine cannot continue an answer")

            document = await read_json(engine, replace(call, checkpoint=checkpoint))

            assert _text(document).startswith(checkpoint.text)
            assert checkpoint.text not in _text(document)[len(checkpoint.text) :]
            tokens = document["usage"]["completion_tokens"]
            assert checkpoint.output_tokens < tokens <= 12

    async def test_a_call_that_had_all_its_tokens_is_answered_without_asking(
        self, engine: Engine
    ) -> None:
        call = replace(chat(max_tokens=3), is_collected=True)
        async with engine.send(call) as first:
            async for _ in first.chunks():
                pass
            checkpoint = first.checkpoint()
        if checkpoint is None or checkpoint.output_tokens < 3:
            _skip("it cannot continue an answer, or ended before its bound")

        document = await read_json(engine, replace(call, checkpoint=checkpoint))

        assert document["choices"][0]["finish_reason"] == "length"
        assert _text(document) == checkpoint.text

    async def test_structured_answers_cannot_be_continued(self, engine: Engine) -> None:
        call = replace(chat(max_tokens=8, logprobs=True), is_collected=True)

        async with engine.send(call) as answer:
            async for _ in answer.chunks():
                if answer.output_tokens >= 2:
                    break
            assert answer.checkpoint() is None


class Facts:
    """What it says about itself."""

    async def test_its_gauges_are_absent_or_sane(self, engine: Engine) -> None:
        _skip_without_gauges(engine)
        await _until_running(engine, 0)

        sample = await engine.sample()

        assert sample.running == 0
        assert sample.waiting in {None, 0}
        assert sample.kv_cache_usage is None or 0 <= sample.kv_cache_usage <= 1

    async def test_its_counters_count_what_was_generated(self, engine: Engine) -> None:
        _skip_without_gauges(engine)
        before = (await engine.sample()).output_tokens_total
        _, answer = await read(engine, completion(max_tokens=4))
        async with asyncio.timeout(10):
            while before is not None and answer.usage is not None:
                after = (await engine.sample()).output_tokens_total
                assert after is not None
                if after - before >= answer.usage.output_tokens:
                    break
                await asyncio.sleep(0.1)

    async def test_its_capacity_is_positive(self, engine: Engine) -> None:
        capacity = await engine.capacity()

        assert capacity.requests >= 2
        assert capacity.prefill_tokens_per_step > 0
        assert capacity.kv_tokens is None or capacity.kv_tokens > 0
        assert capacity.context_tokens is None or capacity.context_tokens > 0

    async def test_a_probe_measures_a_completion(self, engine: Engine) -> None:
        assert 0 < await engine.probe(30) < 30

    async def test_counted_prompt_tokens_are_those_of_the_usage(self, engine: Engine) -> None:
        for call in (chat(max_tokens=1), completion(max_tokens=1)):
            counted = await engine.count_prompt_tokens(call.endpoint, call.body)
            if counted is None:
                _skip("this engine has no tokenizer endpoint")

            _, answer = await read(engine, call)

            assert answer.usage is not None
            assert counted == answer.usage.prompt_tokens

    async def test_its_models_are_listed(self, engine: Engine) -> None:
        status, body = await engine.models()

        assert status == 200
        assert msgspec.json.decode(body)["data"][0]["id"]


class EngineSuite(Answers, Aborts, Collected, Facts, TypedAnswers):
    """Inherit it and give it a fixture `engine`: a started, idle engine."""


async def _refusal_of(engine: Engine, call: EngineCall) -> EngineRefused:
    try:
        async with engine.send(call):
            raise AssertionError("the engine answered what it should have refused")
    except EngineRefused as refused:
        return refused


async def _until_running(engine: Engine, count: int) -> None:
    """Wait until the engine's own gauge says `count`."""
    async with asyncio.timeout(engine.traits.abort_grace_s + 10):
        while (await engine.sample()).running != count:  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.05)


def _skip_without_gauges(engine: Engine) -> None:
    if not engine.traits.has_telemetry:
        _skip("this engine has no gauges")


def _skip(reason: str) -> NoReturn:
    import pytest  # noqa: PLC0415 - who runs this has it, who imports the package need not

    pytest.skip(reason)


def _check_usage(answer: EngineAnswer, told: dict[str, int], *, most: int) -> None:
    assert isinstance(answer.usage, Usage)
    assert answer.usage.prompt_tokens == told["prompt_tokens"] > 0
    assert answer.usage.output_tokens == told["completion_tokens"]
    assert 1 <= answer.usage.output_tokens <= most
    assert answer.output_tokens == answer.usage.output_tokens


def _usage_frames(chunks: list[bytes]) -> int:
    """How many frames bring nothing but usage; a chunk may have several frames."""
    lines = [line.removeprefix(b"data: ") for line in b"".join(chunks).splitlines()]
    documents = [msgspec.json.decode(line) for line in lines if line.startswith(b"{")]
    return sum(document["choices"] == [] for document in documents)


def _text(document: dict[str, Any]) -> str:
    choice = document["choices"][0]
    text: str = choice["message"]["content"] if "message" in choice else choice["text"]
    return text


def _core_shape(document: dict[str, Any]) -> dict[str, object]:
    """What an OpenAI client relies on; engines add fields of their own to it."""
    choice = document["choices"][0]
    return {
        "top": {key for key in ("id", "object", "created", "model") if document.get(key)},
        "object": document["object"],
        "choices": len(document["choices"]),
        "choice": {key for key in ("index", "message", "text", "finish_reason") if key in choice},
        "message": {key for key in ("role", "content") if key in choice.get("message", {})},
        "finish_reason": choice["finish_reason"],
        "usage": {key for key in document["usage"] if key.endswith("_tokens")},
    }
