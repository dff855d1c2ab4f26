"""Frames become the one answer that the engine would have given."""

import json

from hypothesis import given
from hypothesis import strategies as st

from stoker.core.work import Usage
from stoker.engines.bodies import CHAT, COMPLETIONS
from stoker.engines.collect import Assembler, spent
from stoker.ports import Checkpoint

KEPT = Checkpoint(text="One, two", output_tokens=4, prompt_tokens=9)


def frame(*choices, **top) -> bytes:
    chunk = {"id": "c1", "object": "chat.completion.chunk", "choices": list(choices), **top}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def delta(index=0, finish_reason=None, **fields):
    return {"index": index, "delta": fields, "finish_reason": finish_reason}


def assembled(*frames, endpoint=CHAT, kept=None, usage=None, echoed=False) -> dict:
    assembler = Assembler(endpoint, kept=kept, is_prefill_echoed=echoed)
    for one in frames:
        assembler.add(one)
    return json.loads(assembler.whole(usage))


@given(st.lists(st.text(max_size=4), max_size=6))
def test_the_text_is_that_of_the_pieces(pieces):
    frames = [frame(delta(role="assistant", content=""))]
    frames += [frame(delta(content=piece)) for piece in pieces]

    answer = assembled(*frames, frame(delta(finish_reason="stop")), b"data: [DONE]\n\n", b": x\n\n")

    assert answer["object"] == "chat.completion"
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "".join(pieces)},
            "finish_reason": "stop",
        }
    ]


def test_extra_fields_of_the_engine_are_kept():
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "x": 1}

    answer = assembled(
        frame(delta(content="a")),
        frame(usage=usage, timings={"ms": 2}, system_fingerprint="f"),
        usage=Usage(3, 1),
    )

    assert answer["usage"] == usage
    assert (answer["timings"], answer["system_fingerprint"]) == ({"ms": 2}, "f")


def test_several_choices_stay_apart_and_in_order():
    answer = assembled(
        frame(delta(1, content="b")),
        frame(delta(0, content="a")),
        frame(delta(1, content="B", finish_reason="stop")),
    )

    assert [choice["message"]["content"] for choice in answer["choices"]] == ["a", "bB"]


def test_tool_calls_are_put_together_by_index():
    def call(index, **function):
        return {"index": index, "function": function}

    first = {**call(0, name="find", arguments=""), "id": "t0", "type": "function"}
    answer = assembled(
        frame(delta(role="assistant", content=None, tool_calls=[first])),
        frame(delta(tool_calls=[call(0, arguments='{"q":')])),
        frame(delta(tool_calls=[{**call(1, name="get", arguments="{}"), "id": "t1"}])),
        frame(delta(tool_calls=[call(0, arguments="1}")], finish_reason="tool_calls")),
    )

    message = answer["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "t0", "type": "function", "function": {"name": "find", "arguments": '{"q":1}'}},
        {"id": "t1", "function": {"name": "get", "arguments": "{}"}},
    ]


def test_reasoning_is_kept_beside_the_content():
    answer = assembled(
        frame(delta(reasoning_content="hm")),
        frame(delta(reasoning_content="m")),
        frame(delta(content="yes")),
    )

    assert answer["choices"][0]["message"] == {"reasoning_content": "hmm", "content": "yes"}


def test_log_probabilities_are_joined_in_both_spellings():
    chat = assembled(
        frame({**delta(content="a"), "logprobs": {"content": [1]}}),
        frame({**delta(content="b"), "logprobs": {"content": [2]}}),
        frame({**delta(finish_reason="stop"), "logprobs": None}),
    )
    legacy = assembled(
        frame({"index": 0, "text": "a", "logprobs": {"tokens": ["a"], "text_offset": [0]}}),
        frame({"index": 0, "text": "b", "logprobs": {"tokens": ["b"], "text_offset": [1]}}),
        endpoint=COMPLETIONS,
    )

    assert chat["choices"][0]["logprobs"] == {"content": [1, 2]}
    assert legacy["choices"][0]["logprobs"] == {"tokens": ["a", "b"], "text_offset": [0, 1]}
    assert legacy["choices"][0]["text"] == "ab"
    assert legacy["object"] == "text_completion"


def test_a_continued_answer_has_what_was_kept_and_counts_as_one_call():
    answer = assembled(
        frame(delta(role="assistant", content="")),
        frame(delta(content=", three")),
        kept=KEPT,
        usage=Usage(prompt_tokens=13, output_tokens=2, cached_tokens=12),
    )

    assert answer["choices"][0]["message"]["content"] == "One, two, three"
    assert answer["usage"] == {
        "prompt_tokens": 9,
        "completion_tokens": 6,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 9},
    }


def test_an_echoed_prefill_is_stripped_and_a_model_that_repeats_itself_is_not():
    echoed = assembled(frame(delta(content="One, two, three")), kept=KEPT, echoed=True)
    repeated = assembled(
        frame(delta(content="One")), frame(delta(content=", two")), kept=KEPT, echoed=True
    )

    assert echoed["choices"][0]["message"]["content"] == "One, two, three"
    assert repeated["choices"][0]["message"]["content"] == "One, twoOne, two"


def test_the_text_so_far_is_known_only_while_it_is_one_plain_text():
    plain = Assembler(CHAT, kept=None, is_prefill_echoed=False)
    assert plain.text == ""
    plain.add(frame(delta(role="assistant", content="a")))
    assert plain.text == "a"
    plain.add(frame(delta(tool_calls=[{"index": 0}])))
    assert plain.text is None

    for other in (delta(1, content="b"), delta(reasoning_content="hm")):
        assembler = Assembler(CHAT, kept=None, is_prefill_echoed=False)
        assembler.add(frame(delta(content="a")))
        assembler.add(frame(other))
        assert assembler.text is None


def test_a_spent_call_is_answered_with_what_was_kept():
    answer = json.loads(spent(CHAT, b'{"model":"m","messages":[]}', KEPT, "r1"))

    assert answer["choices"][0]["message"]["content"] == "One, two"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 4
    assert answer["model"] == "m"
