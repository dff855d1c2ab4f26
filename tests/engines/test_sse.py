"""Frames are found however the bytes are cut, and read without parsing each of them."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.work import Usage
from stoker.engines.sse import FrameSplitter, StreamMeter, data_of, usage_of_json

TEXTS = st.text(alphabet='ab"\\{}:, \n\r', max_size=12)


def frame(content: str, newline: str = "\n") -> bytes:
    chunk = msgspec.json.encode({"choices": [{"index": 0, "delta": {"content": content}}]})
    return b"data: " + chunk + newline.encode() * 2


FRAMES = st.one_of(
    st.builds(frame, TEXTS, st.sampled_from(["\n", "\r\n"])),
    st.sampled_from([b": ping\n\n", b"event: x\r\ndata: {}\r\n\r\n", b"data: [DONE]\n\n", b"\n\n"]),
)


def split(pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    splitter = FrameSplitter()
    frames = [whole for piece in pieces for whole in splitter.feed(piece)]
    return frames, splitter.rest()


@given(st.lists(FRAMES, max_size=8), st.binary(max_size=4), st.data())
def test_any_cut_of_the_bytes_gives_the_same_frames(frames, tail, data):
    stream = b"".join(frames) + tail
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    cut, rest = split(pieces)

    assert (cut, rest) == split([stream])
    assert b"".join(cut) + rest == stream


@given(st.lists(st.builds(frame, TEXTS, st.sampled_from(["\n", "\r\n"])), max_size=8))
def test_whole_frames_come_out_as_they_went_in(frames):
    assert split([b"".join(frames)]) == (frames, b"")


def test_a_long_stream_in_single_bytes_is_split_like_any_other():
    stream = frame("hello") * 50

    assert split([bytes([byte]) for byte in stream]) == ([frame("hello")] * 50, b"")


@given(TEXTS)
def test_a_frame_counts_as_a_token_exactly_if_it_has_content(content):
    meter = StreamMeter()

    meter.see(frame(content))

    assert meter.output_tokens == (1 if content else 0)


@pytest.mark.parametrize(
    "text",
    ['"usage":{"prompt_tokens":9}', '"content":"x"', 'data: {"error":"x"}', "data: [DONE]"],
)
def test_what_a_model_says_is_never_taken_for_the_protocol(text):
    meter = StreamMeter()

    meter.see(frame(text))

    assert (meter.output_tokens, meter.usage, meter.error, meter.is_done) == (1, None, None, False)


@pytest.mark.parametrize(
    "chunk",
    [
        b'{"choices":[{"delta":{"reasoning_content":"hm"}}]}',
        b'{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}}]}',
        b'{"choices":[{"text":" a"}]}',
        b'{"type":"response.output_text.delta","delta":"Hello"}',
        b'{"type":"content_block_delta","delta":{"type":"text_delta","text":"Hello"}}',
    ],
)
def test_every_kind_of_output_counts(chunk):
    meter = StreamMeter()

    meter.see(b"data: " + chunk + b"\n\n")

    assert meter.output_tokens == 1


def test_a_frame_with_nothing_but_usage_is_recognised_and_one_with_a_choice_is_not():
    meter = StreamMeter()
    usage = b'"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}'

    assert meter.see(b'data: {"choices":[],' + usage + b"}\n\n")
    assert not meter.see(b'data: {"choices":[{"text":""}],' + usage + b"}\n\n")
    assert meter.usage == Usage(prompt_tokens=5, output_tokens=7)
    assert meter.output_tokens == 7


def test_usage_is_read_in_every_spelling():
    responses = StreamMeter()
    responses.see(
        b'event: response.completed\ndata: {"response":{"usage":{"input_tokens":31,'
        b'"output_tokens":2,"input_tokens_details":{"cached_tokens":30}}}}\n\n'
    )
    anthropic = StreamMeter(is_typed=True)
    anthropic.see(b'data: {"message":{"usage":{"input_tokens":9,"output_tokens":1}}}\n\n')
    anthropic.see(b'data: {"type":"message_delta","usage":{"output_tokens":20}}\n\n')

    assert responses.usage == Usage(31, 2, 30)
    assert usage_of_json(
        b'{"usage":{"input_tokens":7,"cache_read_input_tokens":24,"output_tokens":6}}'
    ) == Usage(31, 6, 24)
    assert anthropic.usage == Usage(9, 20)
    assert usage_of_json(
        b'{"usage":{"prompt_tokens":3,"completion_tokens":4,'
        b'"prompt_tokens_details":{"cached_tokens":1}}}'
    ) == Usage(3, 4, 1)
    assert usage_of_json(b'{"usage":null}') is None
    assert usage_of_json(b"not json") is None


def test_only_the_pieces_of_a_typed_stream_are_tokens_and_its_last_event_ends_it():
    meter = StreamMeter(is_typed=True)
    for data in (
        b'{"type":"response.created","response":{"status":"in_progress"}}',
        b'{"type":"response.output_text.delta","delta":"a"}',
        b'{"type":"response.output_text.delta","delta":"\\"type\\":\\"message_stop\\""}',
        b'{"type":"response.output_text.done","text":"ab"}',
    ):
        meter.see(b"data: " + data + b"\n\n")
    assert (meter.output_tokens, meter.is_done) == (2, False)

    meter.see(b'data: {"type":"response.completed","response":{"output":[]}}\n\n')

    assert (meter.output_tokens, meter.is_done) == (2, True)


def test_an_error_in_the_stream_is_seen():
    for error in (
        b'data: {"error":{"message":"out of memory","code":500}}\n\n',
        b'event: error\ndata: {"message":"x"}\n\n',
        b'error: {"code":500}\n\n',
    ):
        meter = StreamMeter()
        meter.see(error)
        assert meter.error is not None


def test_the_payload_is_that_of_the_data_lines():
    assert data_of(b"event: x\ndata: {\ndata:}\n\n") == b"{\n}"
    assert data_of(b": ping\n\n") == b""


@given(
    st.lists(
        st.sampled_from(
            [
                b'data: {"choices":[{"delta":{"content":"a"}}],"usage":null}\n\n',
                b'data: {"choices":[{"delta":{"content":"a","reasoning_content":"b"}}]}\n\n',
                b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n',
                b": ping\n\n",
            ]
        ),
        min_size=1,
    )
)
def test_plain_frames_at_one_look_count_as_one_by_one(frames):
    together, apart = StreamMeter(), StreamMeter()

    whole = b"".join(frames)
    assert together.see_plain(whole) == len(whole)
    for frame in frames:
        apart.see(frame)

    assert together.output_tokens == apart.output_tokens


@pytest.mark.parametrize(
    "frame",
    [
        b"data: [DONE]\n\n",
        b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n',
        b'data: {"error":{"message":"no"}}\n\n',
        b"event: error\ndata: {}\n\n",
    ],
)
def test_a_frame_that_needs_a_closer_look_is_not_plain(frame):
    plain = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
    meter = StreamMeter()

    assert meter.see_plain(plain + frame + plain) == len(plain)
    assert meter.output_tokens == 1
