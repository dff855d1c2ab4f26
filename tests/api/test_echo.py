"""The tier that served is in the answer, and nothing else of it has changed."""

from __future__ import annotations

import json

import pytest

from stoker.api.echo import tier_echo
from stoker.core.work import Priority

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"


@pytest.mark.parametrize(
    "body", [b'{"id":"a","x":1.50}', b'{ "service_tier" : null, "id":"a","x":1.50}']
)
def test_a_whole_answer_has_the_tier_once_and_keeps_the_rest(body):
    whole = tier_echo(CHAT, Priority.P0).whole(body)

    assert whole.count(b"service_tier") == 1
    assert json.loads(whole) == {"id": "a", "x": 1.5, "service_tier": "priority"}
    assert b"1.50" in whole


def test_a_whole_message_has_it_in_its_usage():
    whole = tier_echo(MESSAGES, Priority.P1).whole(
        b'{"content":[{"input":{"usage":{"service_tier":null}}}],"usage":{"output_tokens":1}}'
    )

    document = json.loads(whole)
    assert document["usage"] == {"output_tokens": 1, "service_tier": "standard"}
    assert document["content"] == [{"input": {"usage": {"service_tier": None}}}]


def test_every_chunk_of_a_chat_has_it_and_text_that_looks_like_one_is_left_alone():
    text = json.dumps('data: {"id"')
    frames = [
        b'data: {"id":1,"choices":[{"delta":{"content":%b}}]}' % text.encode(),
        b'data: {"id":2}',
        b"data: [DONE]",
        b"",
    ]

    echoed = tier_echo(CHAT, Priority.P2).frames(b"\n\n".join(frames)).split(b"\n\n")

    documents = [json.loads(frame[6:]) for frame in echoed[:2]]
    assert [document["service_tier"] for document in documents] == ["flex", "flex"]
    assert documents[0]["choices"][0]["delta"]["content"] == 'data: {"id"'
    assert echoed[2:] == frames[2:]


def test_a_chunk_that_has_a_tier_already_gets_the_true_one():
    echoed = tier_echo(CHAT, Priority.P1).frames(b'data: {"service_tier":"auto","id":1}\n\n')

    assert json.loads(echoed[6:]) == {"service_tier": "default", "id": 1}


def test_a_stream_of_a_response_has_it_where_the_response_is():
    plain = b'event: x\ndata: {"type":"response.output_text.delta","delta":"a"}\n\n'
    created = b'event: y\ndata: {"type":"response.created","response":{"id":"r"}}\n\n'

    echoed = tier_echo(RESPONSES, Priority.P0).frames(plain + created)

    assert echoed.startswith(plain + b"event: y\n")
    document = json.loads(echoed[len(plain) + len(b"event: y\ndata: ") :])
    assert document["response"] == {"id": "r", "service_tier": "priority"}


def test_an_answer_that_is_no_object_is_left_alone():
    assert tier_echo(CHAT, Priority.P0).whole(b"[1]") == b"[1]"
    assert tier_echo("/v1/embeddings", Priority.P0) is None
