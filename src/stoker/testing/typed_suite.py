"""What an engine must do with Responses and Anthropic's messages: part of `EngineSuite`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import msgspec

from stoker.core.work import Priority, RequestId
from stoker.ports import Engine, EngineAnswer, EngineCall

_TEXT = "Write a long story about the sea."
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"


async def typed_calls(engine: Engine, max_tokens: int, **fields: object) -> list[EngineCall]:
    """One call of each kind."""
    _, models = await engine.models()
    model = msgspec.json.decode(models)["data"][0]["id"]
    asked = {"role": "user", "content": _TEXT}
    response = {"input": _TEXT, "max_output_tokens": max_tokens}
    message = {"messages": [asked], "max_tokens": max_tokens}
    return [
        EngineCall(
            RequestId("suite"),
            endpoint,
            msgspec.json.encode({"model": model, "temperature": 0, **body, **fields}),
            Priority.P1,
        )
        for endpoint, body in ((RESPONSES, response), (MESSAGES, message))
    ]


class TypedAnswers:
    """Whole, streamed, collected and aborted, as every other call."""

    async def test_typed_answers_come_whole_with_their_usage(self, engine: Engine) -> None:
        for call in await typed_calls(engine, 4):
            document, answer = await _read(engine, call)

            assert _text(document)
            _check_usage(answer, document)

    async def test_typed_streams_come_in_whole_frames_and_their_usage_is_known(
        self, engine: Engine
    ) -> None:
        for call in await typed_calls(engine, 4, stream=True):
            async with engine.send(call) as answer:
                chunks = [chunk async for chunk in answer.chunks()]

            assert answer.is_stream
            assert all(chunk.endswith((b"\n\n", b"\r\n\r\n")) for chunk in chunks)
            ends = (b"message_stop", b"response.completed", b"response.incomplete")
            assert any(end in chunks[-1] for end in ends)
            assert answer.usage is not None
            assert answer.output_tokens == answer.usage.output_tokens == 4

    async def test_collected_typed_answers_are_what_a_plain_call_gives(
        self, engine: Engine
    ) -> None:
        for call in await typed_calls(engine, 4):
            plain, _ = await _read(engine, call)
            collected, answer = await _read(engine, replace(call, is_collected=True))

            assert not answer.is_stream
            assert _text(collected) == _text(plain)
            for name in ("object", "type", "role", "model", "status", "stop_reason"):
                assert collected.get(name) == plain.get(name)
            _check_usage(answer, collected)

    async def test_cancelling_a_typed_call_frees_its_slot(self, engine: Engine) -> None:
        if not engine.traits.has_telemetry:
            return
        for call in await typed_calls(engine, 400, ignore_eos=True):
            async with asyncio.TaskGroup() as group:
                reader = group.create_task(_read(engine, call))
                await _until_running(engine, 1)
                reader.cancel()

            await _until_running(engine, 0)


async def _read(engine: Engine, call: EngineCall) -> tuple[dict[str, Any], EngineAnswer]:
    async with engine.send(call) as answer:
        chunks = [chunk async for chunk in answer.chunks()]
        document = answer.body() if call.is_collected else b"".join(chunks)
    return msgspec.json.decode(document), answer


async def _until_running(engine: Engine, count: int) -> None:
    async with asyncio.timeout(engine.traits.abort_grace_s + 10):
        while (await engine.sample()).running != count:  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.02)


def _text(document: dict[str, Any]) -> str:
    items = document["content"] if "content" in document else document["output"][0]["content"]
    text: str = items[0]["text"]
    return text


def _check_usage(answer: EngineAnswer, document: dict[str, Any]) -> None:
    told = document["usage"]
    cached = told.get("cache_read_input_tokens") or 0
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == told["input_tokens"] + cached > 0
    assert answer.usage.output_tokens == told["output_tokens"] == 4
