"""Events get the numbers by which clients put them together, and keep every other byte."""

import json

from stoker.engines.mended_events import MessageEvents, ResponseEvents


def frame(data: str) -> bytes:
    return f"event: x\ndata: {data}\n\n".encode()


def numbers(frame: bytes) -> tuple[int | None, ...]:
    event = json.loads(frame.split(b"data: ")[1])
    return tuple(event.get(name) for name in ("sequence_number", "output_index", "content_index"))


def test_items_and_their_parts_are_numbered_in_the_order_in_which_they_come():
    events = ResponseEvents()
    given = [
        '{"type":"response.created","response":{"id":"r"}}',
        '{"type":"response.output_item.added","item":{"id":"a"}}',
        '{"type":"response.reasoning_text.delta","item_id":"a","delta":"hm"}',
        '{"type":"response.output_item.added","item":{"id":"b"}}',
        '{"type":"response.content_part.added","item_id":"b"}',
        '{"type":"response.output_text.delta","item_id":"b","delta":"x"}',
        '{"type":"response.content_part.added","item_id":"b"}',
        '{"type":"response.output_text.delta","item_id":"b","delta":"y"}',
        '{"type":"response.function_call_arguments.delta","item_id":"c","delta":"{"}',
        '{"type":"response.completed","response":{"id":"r"}}',
    ]

    assert [numbers(*events.mended(frame(data))) for data in given] == [
        (0, None, None),
        (1, 0, None),
        (2, 0, 0),
        (3, 1, None),
        (4, 1, 0),
        (5, 1, 0),
        (6, 1, 1),
        (7, 1, 1),
        (8, 2, None),
        (9, None, None),
    ]


def test_the_rest_of_a_frame_stays_byte_for_byte():
    data = '{"type":"response.created","response":{"x": 1.50}}'

    [numbered] = ResponseEvents().mended(frame(data))

    assert numbered == frame('{"sequence_number":0,' + data[1:])


def test_a_message_without_a_beginning_gets_one_and_only_one():
    block = frame('{"type":"content_block_start","index":0}')
    begun = frame('{"type":"message_start","message":{}}')
    missing, whole = MessageEvents("req_1"), MessageEvents("req_2")

    assert missing.mended(b": ping\n\n") == [b": ping\n\n"]
    first, second = missing.mended(block)
    assert first.startswith(b"event: message_start\n")
    assert b'"id":"req_1"' in first
    assert second == block
    assert missing.mended(block) == [block]
    assert [whole.mended(one) for one in (begun, block)] == [[begun], [block]]


def test_what_has_its_numbers_or_is_no_event_is_left_alone():
    events = ResponseEvents()

    for untouched in (
        frame('{"type":"response.created","sequence_number":5}'),
        b": ping\n\n",
        b"data: [DONE]\n\n",
    ):
        assert events.mended(untouched) == [untouched]
