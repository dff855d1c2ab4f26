"""What a body becomes: size, bounds, family, class; and what is refused, by the field's name."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.errors import InvalidRequest
from stoker.core.work import Priority, RequestId
from stoker.runtime.classes import ClassChoice
from stoker.runtime.endpoints import ENDPOINTS
from stoker.runtime.intake import parse

CHAT = {"messages": [{"role": "user", "content": "hi"}]}


def read(body, **options):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    defaults = {"priority": Priority.P1, "request_id": RequestId("req_1"), "now": 100.0}
    return parse(raw, **{**defaults, **options})


@pytest.mark.parametrize(
    ("body", "endpoint"),
    [
        (CHAT, "/v1/chat/completions"),
        ({"prompt": "x"}, "/v1/completions"),
        ({"prompt": ["x", "y"]}, "/v1/completions"),
        ({"input": "x"}, "/v1/embeddings"),
        ({"input": ["x"], "dimensions": 8}, "/v1/embeddings"),
        ({"input": "x", "instructions": "be kind"}, "/v1/responses"),
        ({"input": "x", "max_output_tokens": 5}, "/v1/responses"),
        ({"input": "x", "store": False}, "/v1/responses"),
        ({"input": "x", "stoker": {"endpoint": "/v1/responses"}}, "/v1/responses"),
        ({"messages": None, "prompt": "x"}, "/v1/completions"),
    ],
)
def test_the_body_tells_the_endpoint(body, endpoint):
    assert read(body).endpoint == endpoint


def test_a_body_without_our_fields_is_passed_on_byte_for_byte():
    raw = b'{ "messages" : [{"role":"user","content":"\\u00e9"}],"priority": 3, "x":1e3}'

    assert read(raw).body is raw


def test_our_fields_are_taken_out_and_the_rest_stays_as_it_was():
    raw = b'{"prompt":"x", "temperature": 1.50,"stoker":{"tenant":"me"},"service_tier":"fast"}'

    inference = read(raw, choice=ClassChoice())

    assert inference.body == b'{"prompt":"x","temperature":1.50}'
    assert inference.request.priority is Priority.P0
    assert inference.request.tenant == "me"


def test_the_scheduler_sees_sizes_and_bounds():
    body = {**CHAT, "max_tokens": 7, "stream": True, "tools": [{"type": "function"}]}

    inference = read(body)

    sizes = len(json.dumps(CHAT["messages"])) + len(json.dumps(body["tools"]))
    assert inference.request.prompt_bytes == sizes
    assert inference.request.max_tokens == 7
    assert inference.is_stream


def test_max_completion_tokens_beats_max_tokens():
    body = {**CHAT, "max_tokens": 7, "max_completion_tokens": 9}

    assert read(body).request.max_tokens == 9


def test_a_deadline_counts_from_now():
    inference = read({**CHAT, "stoker": {"deadline_s": 5, "run_at": 1e9}})

    assert inference.request.deadline_at == 105.0
    assert inference.deadline_s == 5
    assert inference.run_at == 1e9


def test_requests_of_one_template_share_a_family():
    def chat(system, user, **extra):
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        return read({"messages": messages, **extra}).request.family

    assert chat("summarise", "a") == chat("summarise", "b" * 500, temperature=1)
    assert chat("summarise", "a") != chat("translate", "a")
    assert chat("summarise", "a") != chat("summarise", "a", model="other")
    assert chat("summarise", "a") != chat("summarise", "a", response_format={"type": "json"})
    assert read({**CHAT, "stoker": {"family": "mine"}}).request.family == "mine"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b'"text"', None),
        (b"NaN", None),
        (b'{"model": "\xff", "prompt": "x"}', None),
        (b'{"messages": [{"role": "\xff"}]}', None),
        (b'{"prompt": "\xff"}', None),
        (b"[" * 100_000, None),
        (b'{"a":' + b"[" * 100_000, None),
        ({}, None),
        ({"messages": {}}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"messages": [{"role": 1}]}, "messages[0].role"),
        ({"prompt": 1}, "prompt"),
        ({"input": {}}, "input"),
        ({**CHAT, "max_tokens": "5"}, "max_tokens"),
        ({**CHAT, "max_tokens": -1}, "max_tokens"),
        ({**CHAT, "stream": "yes"}, "stream"),
        ({**CHAT, "stream_options": 5}, "stream_options"),
        ({"prompt": "x", "stream": True, "stream_options": []}, "stream_options"),
        ({**CHAT, "stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
        ({**CHAT, "model": 3}, "model"),
        ({**CHAT, "service_tier": 3}, "service_tier"),
        ({**CHAT, "stoker": 3}, "stoker"),
        ({**CHAT, "stoker": {"deadlin_s": 3}}, "stoker.deadlin_s"),
        ({**CHAT, "stoker": {"deadline_s": 0}}, "stoker.deadline_s"),
        ({**CHAT, "stoker": {"tenant": ""}}, "stoker.tenant"),
        ({**CHAT, "stoker": {"endpoint": "/admin"}}, "stoker.endpoint"),
        ({**CHAT, "stoker": {"endpoint": "/v1/completions"}}, "prompt"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(body, param):
    with pytest.raises(InvalidRequest) as error:
        read(body)

    assert error.value.param == param


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 0},
        {"temperature": "hot"},
        {"tools": 5},
        {"response_format": "json"},
        {"stream_options": None},
        {"stream_options": {"include_usage": None, "x": 5}},
    ],
)
def test_what_is_not_read_reaches_the_engine_whatever_it_is(fields):
    raw = json.dumps({**CHAT, **fields}).encode()

    assert read(raw).body is raw


def test_stream_options_that_only_the_engine_knows_are_not_looked_at():
    raw = (
        b'{"input":"x","stream":true,"stream_options":{"include_obfuscation":0,"include_usage":1}}'
    )

    assert read(raw, endpoint="/v1/responses").body is raw


def test_the_route_decides_before_the_body_does():
    with pytest.raises(InvalidRequest) as error:
        read({"prompt": "x"}, endpoint="/v1/chat/completions")

    assert error.value.param == "messages"


def test_a_mapping_that_is_no_json_is_refused():
    with pytest.raises(InvalidRequest, match="cannot be written as JSON"):
        parse({"prompt": 1j}, priority=Priority.P1, request_id=RequestId("r"), now=0.0)


@pytest.mark.parametrize(
    ("body", "endpoint", "prompt_bytes", "max_tokens"),
    [
        ({**CHAT, "system": "kind", "max_tokens": 9}, "/v1/messages", 35 + 6, 9),
        ({**CHAT, "system": "kind"}, "/v1/messages/count_tokens", 0, 0),
        ({"content": "much text"}, "/tokenize", 0, 0),
        ({"query": "a", "documents": ["b"]}, "/v1/rerank", 34, 0),
        ({"input": "x"}, "/v1/embeddings", 3, 0),
    ],
)
def test_an_endpoint_costs_what_its_engine_reads_and_writes(
    body, endpoint, prompt_bytes, max_tokens
):
    request = read(body, endpoint=endpoint).request

    assert (request.prompt_bytes, request.max_tokens) == (prompt_bytes, max_tokens)


def test_counting_the_tokens_of_a_chat_is_no_call_of_its_session():
    body = {**CHAT, "tools": [{"name": "look"}]}

    assert read(body, endpoint="/v1/messages").request.session
    assert not read(body, endpoint="/v1/messages/count_tokens").request.session


def test_another_system_prompt_of_anthropics_shape_is_another_family():
    one, other = (
        read({**CHAT, "system": text}, endpoint="/v1/messages").request for text in ("a", "b")
    )

    assert one.family != other.family


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)
known = st.sampled_from(
    ["messages", "prompt", "input", "stream", "max_tokens", "stoker", "model", "service_tier"]
)


@given(st.dictionaries(known | st.text(max_size=5), json_values))
def test_any_object_is_read_or_refused_and_nothing_is_lost(body):
    raw = json.dumps(body).encode()
    try:
        inference = read(raw, choice=ClassChoice())
    except InvalidRequest:
        return

    assert inference.endpoint in ENDPOINTS
    assert inference.request.prompt_bytes > 0
    kept = {name: value for name, value in body.items() if name not in {"stoker", "service_tier"}}
    sent = json.loads(inference.body)
    assert {name: value for name, value in sent.items() if name in kept} == kept


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(raw):
    with contextlib.suppress(InvalidRequest):
        assert read(raw).body == raw


SYSTEM = {"role": "system", "content": "you write code"}
QUESTION = {"role": "user", "content": "fix the bug"}
ANSWER = {"role": "assistant", "content": "which one?"}
TOOLS = [{"type": "function", "function": {"name": "grep"}}]


def session(*messages, **fields):
    return read({"messages": list(messages), **fields}).request.session


def test_a_session_is_named_by_the_caller_before_anything_else():
    named = {"stoker": {"session": "mine"}, "prompt_cache_key": "theirs"}

    assert session(SYSTEM, QUESTION, **named) == "mine"
    assert session(SYSTEM, QUESTION, prompt_cache_key="k") == session(ANSWER, prompt_cache_key="k")
    assert session(QUESTION, prompt_cache_key="k") != session(QUESTION, prompt_cache_key="l")
    assert read({"input": "x", "conversation": "c"}).request.session


def test_the_cache_key_reaches_the_engine():
    raw = b'{"messages":[{"role":"user","content":"x"}],"prompt_cache_key":"k"}'

    assert read(raw).body is raw


def test_turns_of_one_conversation_have_one_session_however_it_grew():
    second = session(SYSTEM, QUESTION, ANSWER, QUESTION)

    assert second
    assert session(SYSTEM, QUESTION, ANSWER, QUESTION, ANSWER, QUESTION) == second
    assert session(SYSTEM, {"role": "user", "content": "hi"}, ANSWER, QUESTION) != second
    assert session(QUESTION, ANSWER, QUESTION) not in {"", second}


def test_an_agent_has_its_session_from_its_first_call_on():
    first = session(SYSTEM, QUESTION, tools=TOOLS)

    assert first
    assert session(SYSTEM, QUESTION, ANSWER, QUESTION, tools=TOOLS) == first


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [SYSTEM, QUESTION]},
        {"messages": [QUESTION]},
        {"messages": [SYSTEM], "tools": TOOLS},
        {"messages": [SYSTEM, QUESTION, QUESTION, QUESTION]},
        {"messages": [SYSTEM, QUESTION, {"role": 5}, QUESTION]},
        {"messages": [QUESTION], "prompt_cache_key": None, "tools": None},
        {"prompt": "x"},
        {"input": "x"},
    ],
)
def test_a_call_on_its_own_has_no_session(body):
    assert read(body).request.session == ""
