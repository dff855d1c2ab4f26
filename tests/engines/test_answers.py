"""What a client of a stream gets, however its bytes were cut on the way."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.errors import EngineInterrupted
from stoker.engines.answers import Frames, StreamedAnswer
from stoker.engines.bodies import CHAT, Outbound

TEXT = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
CRLF = b'data: {"choices":[{"delta":{"content":"b"}}]}\r\n\r\n'
PING = b": ping\n\n"
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9}}\n\n'
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error":{"message":"no"}}\n\n'


class PiecesWire:
    """A `Wire` whose pieces are given."""

    status = 200
    content_type = "text/event-stream"

    def __init__(self, pieces):
        self._pieces = list(pieces)
        self.is_ended = False

    async def read(self):
        piece = self._pieces.pop(0) if self._pieces else b""
        self.is_ended = not piece
        return piece


def streamed(pieces):
    wire = PiecesWire(pieces)
    outbound = Outbound(
        b"{}", is_usage_asked=False, is_assembled=False, checkpoint=None, is_resumable=False
    )
    return StreamedAnswer(wire, outbound, Frames(wire, CHAT, mending=None))


def cut(whole, places):
    edges = [0, *sorted({place % (len(whole) + 1) for place in places}), len(whole)]
    return [whole[a:b] for a, b in pairwise(edges) if a < b]


@given(
    st.lists(st.sampled_from([TEXT, CRLF, PING]), max_size=9),
    st.lists(st.integers(0, 10_000), max_size=8),
)
def test_every_frame_goes_through_but_the_usage_that_nobody_asked_for(frames, places):
    answer = streamed(cut(b"".join([*frames, USAGE, DONE]), places))

    async def read():
        return [chunk async for chunk in answer.chunks()]

    chunks = asyncio.run(read())
    assert b"".join(chunks) == b"".join([*frames, DONE])
    assert answer.output_tokens == 9
    assert answer.usage is not None


async def test_what_came_together_goes_out_together():
    answer = streamed([TEXT + TEXT + USAGE + DONE])

    assert [chunk async for chunk in answer.chunks()] == [TEXT + TEXT + DONE]


async def test_text_that_came_with_an_error_is_seen_before_it():
    answer = streamed([TEXT + TEXT + ERROR])

    chunks = answer.chunks()

    assert await anext(chunks) == TEXT + TEXT
    with pytest.raises(EngineInterrupted, match="no"):
        await anext(chunks)
    assert answer.output_tokens == 2
