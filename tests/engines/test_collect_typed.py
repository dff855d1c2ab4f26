"""Typed events become the one answer that the engine would have given."""

import json

import pytest

from stoker.core.errors import EngineInterrupted
from stoker.engines.collect_typed import MessageAssembler, ResponseAssembler


def frame(kind, **fields) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def test_a_response_is_the_one_in_the_last_event():
    assembler = ResponseAssembler()
    assembler.add(frame("response.created", response={"id": "r", "status": "in_progress"}))
    assembler.add(frame("response.output_text.delta", delta='the "response" is'))
    assembler.add(frame("response.incomplete", response={"id": "r", "status": "incomplete"}))
    assembler.add(b": ping\n\n")

    assert json.loads(assembler.whole(None)) == {"id": "r", "status": "incomplete"}


def test_a_message_has_its_text_its_thoughts_and_its_tool_calls():
    assembler = MessageAssembler()
    message = {"id": "m", "content": [], "stop_reason": None, "usage": {"input_tokens": 9}}
    blocks = [
        ({"type": "thinking", "thinking": "", "signature": ""}, "thinking_delta", "thinking"),
        ({"type": "text", "text": ""}, "text_delta", "text"),
        (
            {"type": "tool_use", "id": "t", "name": "look", "input": {}},
            "input_json_delta",
            "partial_json",
        ),
    ]
    pieces = {"thinking": ("h", "m"), "text": ("a", "b"), "partial_json": ('{"q": ', "1.50}")}
    assembler.add(frame("message_start", message=message))
    for index, (block, kind, name) in enumerate(blocks):
        assembler.add(frame("content_block_start", index=index, content_block=block))
        for piece in pieces[name]:
            delta = {"type": kind, name: piece}
            assembler.add(frame("content_block_delta", index=index, delta=delta))
        assembler.add(frame("content_block_stop", index=index))
    signature = {"type": "signature_delta", "signature": "s"}
    assembler.add(frame("content_block_delta", index=0, delta=signature))
    assembler.add(frame("ping"))
    stopped = {"stop_reason": "tool_use", "stop_sequence": None}
    assembler.add(frame("message_delta", delta=stopped, usage={"output_tokens": 5}))
    assembler.add(frame("message_stop"))

    whole = assembler.whole(None)

    assert b"1.50" in whole
    assert json.loads(whole) == {
        "id": "m",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "ab"},
            {"type": "tool_use", "id": "t", "name": "look", "input": {"q": 1.5}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 5},
    }


def test_a_tool_call_without_arguments_has_an_empty_object():
    assembler = MessageAssembler()
    assembler.add(frame("message_start", message={"id": "m"}))
    block = {"type": "tool_use", "id": "t", "name": "now", "input": {}}
    assembler.add(frame("content_block_start", index=0, content_block=block))
    delta = {"type": "input_json_delta", "partial_json": ""}
    assembler.add(frame("content_block_delta", index=0, delta=delta))

    assert json.loads(assembler.whole(None))["content"][0]["input"] == {}


@pytest.mark.parametrize("assembler", [ResponseAssembler(), MessageAssembler()])
def test_a_stream_without_an_answer_is_one_that_broke_off(assembler):
    assembler.add(b": ping\n\n")

    with pytest.raises(EngineInterrupted):
        assembler.whole(None)
