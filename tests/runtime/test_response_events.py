"""What is kept of a Response's events, and what somebody who reads them late gets."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.work import JobId
from stoker.runtime import response_events
from stoker.runtime.response_events import EventStream, ResponseEvents

ID = JobId("job_1")
DELTA = b'{"type":"response.output_text.delta","delta":"x"}'


@given(st.lists(st.sampled_from(["delta", "begin", "end"]), max_size=60), st.integers(-1, 80))
def test_numbers_have_no_gaps_and_whoever_goes_on_misses_nothing_of_this_life(happens, after):
    stream = EventStream(first=0)
    told, life_began = stream.after(-1), 0
    for what in happens:
        if what == "end":
            stream.end()
        elif what == "begin" or stream.is_ended:
            life_began = len(told) if stream.is_ended else life_began
            stream.begin()
        else:
            stream.tell(DELTA)
        told += stream.after(told[-1].number)

    assert [event.number for event in told] == list(range(len(told)))
    assert stream.after(after) == told[max(after + 1, life_began) :]


def test_events_about_the_whole_response_are_left_to_its_reader():
    stream = EventStream(first=5)
    stream.tell_frames(
        b'event: response.created\ndata: {"type":"response.created","response":{}}\n\n'
        b": ping\n\n"
        b'data: {"type":"response.output_item.added","item":{"type":"response.created"}}\n\n'
        b"data: " + DELTA + b"\n\ndata: [DONE]\n\n"
        b'data: {"type":"response.completed","response":{}}\n\n'
    )

    assert [event.number for event in stream.after(-1)] == [5, 6, 7, 8]
    assert [event.what for event in stream.after(7)] == [DELTA]


def test_a_long_one_loses_its_beginning_and_says_how_far(monkeypatch):
    monkeypatch.setattr(response_events, "STREAM_MAX_BYTES", 5_000)
    stream = EventStream(first=0)
    stream.begin()
    for _ in range(50):
        stream.tell(DELTA)

    assert stream.size_bytes <= 5_000
    assert stream.after(-1)[0].number == stream.lost + 1 > 0


def test_a_stream_that_is_used_stays_and_the_oldest_others_go(monkeypatch):
    monkeypatch.setattr(response_events, "KEPT_MAX", 2)
    events = ResponseEvents()
    with events.using(ID, age_s=0.0) as used:
        for index in range(5):
            with events.using(JobId(f"job_other_{index}"), age_s=0.0) as other:
                other.begin()
        with events.using(ID, age_s=9.0) as again:
            assert again is used
        with events.using(JobId("job_other_0"), age_s=2.0) as anew:
            assert anew.after(-1)[0].number == 2000, "it was forgotten, and begins above it"


@pytest.mark.virtual_time
async def test_what_happens_between_looking_and_waiting_is_not_missed():
    stream = EventStream(first=0)
    changes = stream.changes
    stream.tell(DELTA)

    async with asyncio.timeout(1.0):
        await stream.changed(changes, timeout_s=100.0)
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    await stream.changed(stream.changes, timeout_s=3.0)
    assert loop.time() - began_at == pytest.approx(3.0)
