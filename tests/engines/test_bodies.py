"""The client's bytes go through; only the fields that the fabric owns are touched."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.errors import InvalidRequest
from stoker.core.work import Priority, RequestId
from stoker.engines.bodies import CHAT, COMPLETIONS, RESPONSES, Wire, prepare
from stoker.engines.llamacpp import LlamaCppDialect
from stoker.engines.openai import OpenAIDialect
from stoker.engines.sglang import SglangDialect
from stoker.engines.vllm import VllmDialect
from stoker.ports import Checkpoint, EngineCall

PLAIN = Wire()
VLLM = VllmDialect.wire
HELLO = {"messages": [{"role": "user", "content": "hello"}]}
KEPT = Checkpoint(text="One, two", output_tokens=4, prompt_tokens=9)


def call(body, *, endpoint=CHAT, priority=Priority.P1, **options) -> EngineCall:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return EngineCall(RequestId("r1"), endpoint, raw, priority, **options)


def sent(body, wire=PLAIN, *, model=None, **options) -> dict:
    return json.loads(prepare(call(body, **options), wire, model=model).body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
OWN = {"stoker", "priority", "service_tier", "stream", "stream_options", "model"}


@given(st.dictionaries(st.text(max_size=6).filter(lambda name: name not in OWN), JSON))
def test_a_body_without_our_fields_goes_out_byte_for_byte(fields):
    raw = json.dumps(fields, indent=1).encode()

    assert prepare(call(raw), PLAIN, model=None).body == raw


@given(st.dictionaries(st.text(max_size=6).filter(lambda name: name not in OWN), JSON))
def test_other_fields_keep_their_meaning_when_ours_are_taken_out(fields):
    assert sent({**fields, "stoker": {"a": 1}, "priority": 3, "service_tier": "flex"}) == fields


def test_nested_bytes_stay_as_they_came():
    raw = b'{"stoker":1, "x" : {"big": 1e400, "n": 12345678901234567890, "u":"\\u00e9"}}'

    assert b'{"big": 1e400, "n": 12345678901234567890, "u":"\\u00e9"}' in (
        prepare(call(raw), PLAIN, model=None).body
    )


def test_the_service_tier_reaches_openai_itself_only():
    body = {**HELLO, "service_tier": "flex"}

    assert sent(body) == HELLO
    assert sent(body, Wire(has_service_tier=True)) == body


@pytest.mark.parametrize("wire", [VLLM, SglangDialect().wire, LlamaCppDialect.wire, PLAIN])
def test_a_conversation_that_the_engine_would_ignore_is_refused_by_name(wire):
    asked = {"input": "x", "conversation": "conv_1"}

    with pytest.raises(InvalidRequest) as refused:
        sent(asked, wire, endpoint=RESPONSES)

    assert refused.value.param == "conversation"
    assert sent({**asked, "conversation": None}, wire, endpoint=RESPONSES)["input"] == "x"
    assert "conversation" in sent({**HELLO, "conversation": "x"}, wire)
    assert sent(asked, OpenAIDialect().wire, endpoint=RESPONSES) == asked


@pytest.mark.parametrize("priority", list(Priority))
def test_vllm_gets_lower_numbers_for_the_more_urgent(priority):
    body = sent({**HELLO, "priority": 99}, VLLM, priority=priority)

    assert body.get("priority", 0) == {Priority.P0: 0, Priority.P1: 5, Priority.P2: 10}[priority]


def test_sglang_gets_our_request_id_and_no_priority_before_it_is_known_to_honour_it():
    assert sent(HELLO, SglangDialect().wire) == {**HELLO, "rid": "r1"}


def test_usage_is_asked_of_every_stream_and_the_clients_own_wish_is_remembered():
    unasked = prepare(call({**HELLO, "stream": True}), PLAIN, model=None)
    asked_body = {**HELLO, "stream": True, "stream_options": {"include_usage": True}}
    asked = prepare(call(asked_body), PLAIN, model=None)
    other = sent({**HELLO, "stream": True, "stream_options": {"x": 1}})

    assert json.loads(unasked.body)["stream_options"] == {"include_usage": True}
    assert not unasked.is_usage_asked
    assert asked.is_usage_asked
    assert json.loads(asked.body) == asked_body
    assert other["stream_options"] == {"x": 1, "include_usage": True}


def test_the_response_api_is_not_given_options_that_it_does_not_know():
    body = {"input": "hi", "stream": True}

    assert sent(body, endpoint="/v1/responses") == body


def test_a_collected_call_streams_inside_whatever_the_body_says():
    for stream in ({}, {"stream": False}, {"stream": True}):
        body = sent({**HELLO, **stream}, is_collected=True)
        assert body["stream"] is True
        assert body["stream_options"] == {"include_usage": True}


def test_a_collected_call_that_cannot_be_assembled_is_not_streamed():
    body = {"input": "hi", "stream": True, "stream_options": {}}

    assert sent(body, endpoint="/v1/embeddings", is_collected=True) == {"input": "hi"}


def test_a_collected_response_is_streamed_inside_and_no_background_of_the_engines_own():
    body = {"input": "hi", "background": True, "store": True}

    collected = sent(body, endpoint="/v1/responses", is_collected=True)

    assert collected == {"input": "hi", "store": True, "stream": True}
    assert sent(body, endpoint="/v1/responses") == body


def test_a_plain_call_is_streamed_where_only_that_can_be_aborted():
    outbound = prepare(call(HELLO), Wire(does_plain_call_outlive_client=True), model=None)

    assert json.loads(outbound.body)["stream"] is True
    assert outbound.is_assembled


def test_the_model_is_filled_in_only_where_the_client_named_none():
    assert sent(HELLO, model="m")["model"] == "m"
    assert sent({**HELLO, "model": "theirs"}, model="m")["model"] == "theirs"


def test_a_chat_is_continued_from_its_last_message_with_what_is_left_of_its_bound():
    body = sent({**HELLO, "max_tokens": 10}, VLLM, is_collected=True, checkpoint=KEPT)

    assert body["messages"] == [*HELLO["messages"], {"role": "assistant", "content": "One, two"}]
    assert body["max_tokens"] == 6
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)


def test_a_completion_is_continued_by_a_longer_prompt():
    body = sent(
        {"prompt": "Count: ", "max_tokens": 5},
        VLLM,
        endpoint=COMPLETIONS,
        is_collected=True,
        checkpoint=KEPT,
    )

    assert (body["prompt"], body["max_tokens"]) == ("Count: One, two", 1)
    assert "continue_final_message" not in body


def test_nothing_is_asked_when_nothing_is_left_of_the_bound():
    body = {**HELLO, "max_completion_tokens": 4}

    outbound = prepare(call(body, is_collected=True, checkpoint=KEPT), VLLM, model=None)

    assert outbound.is_spent


def test_an_engine_that_cannot_continue_starts_again():
    outbound = prepare(call(HELLO, is_collected=True, checkpoint=KEPT), PLAIN, model=None)

    assert outbound.checkpoint is None
    assert not outbound.is_resumable
    assert json.loads(outbound.body)["messages"] == HELLO["messages"]


@pytest.mark.parametrize(
    "extra",
    [
        {"tools": [{"type": "function"}]},
        {"response_format": {"type": "json_object"}},
        {"guided_json": {}, "guided_regex": "a*"},
        {"grammar": "root ::= x"},
        {"logprobs": True},
        {"n": 2},
        {"messages": [{"role": "assistant", "content": "I was"}]},
        {"messages": []},
    ],
)
def test_what_is_more_than_one_plain_text_cannot_be_resumed(extra):
    assert not prepare(call({**HELLO, **extra}), VLLM, model=None).is_resumable


@pytest.mark.parametrize("extra", [{}, {"n": 1}, {"tools": []}, {"logprobs": False}, {"n": None}])
def test_one_plain_text_can_be_resumed(extra):
    assert prepare(call({**HELLO, **extra}), VLLM, model=None).is_resumable


def test_a_prompt_of_token_ids_cannot_be_resumed():
    body = {"prompt": [1, 2, 3]}

    assert not prepare(call(body, endpoint=COMPLETIONS), VLLM, model=None).is_resumable


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"a":', b"\xff", b'{"a":1} x', b"null"])
def test_what_is_no_json_object_is_refused(raw):
    with pytest.raises(InvalidRequest):
        prepare(call(raw), PLAIN, model=None)
