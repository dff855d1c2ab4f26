"""What an import commits: spans at their places, chunks by content, and which are new."""

from stoker.memories.planning import plan
from stoker.memories.sources import Block, Document
from stoker.memories.tiles import Role, SpanKind


def chat(*words: str) -> Document:
    turns = tuple(
        Block(text, SpanKind.TURN, role=Role.USER, author="Eve", said_at=86400.0 * n, session="s")
        for n, text in enumerate(words, start=1)
    )
    return Document("t:chat", "chat", "Chat", turns, "chat/1")


def test_a_second_import_has_nothing_new() -> None:
    first = plan(chat("I moved to Bonn.", "I sold the car."), scope="a")

    again = plan(
        chat("I moved to Bonn.", "I sold the car."),
        scope="a",
        known={chunk.id for chunk in first.chunks},
    )

    assert len(first.new_chunks) == len(first.chunks) == 2
    assert again.new_chunks == ()
    assert again.content_hash == first.content_hash


def test_the_same_words_of_another_scope_speaker_or_day_are_another_span() -> None:
    block = Block("I am tired.", SpanKind.TURN, role=Role.USER, author="Eve", said_at=1.0)
    other_speaker = Block("I am tired.", SpanKind.TURN, role=Role.USER, author="Ann", said_at=1.0)
    other_day = Block("I am tired.", SpanKind.TURN, role=Role.USER, author="Eve", said_at=2.0)
    document = Document("t:x", "chat", "", (block, block, other_speaker, other_day), "chat/1")

    here, there = plan(document, scope="a"), plan(document, scope="b")

    first, same, *others = [placed.span.id for placed in here.spans]
    assert same == first
    assert len({first, *others, *(placed.span.id for placed in there.spans)}) == 6


def test_a_span_stands_at_its_bytes() -> None:
    document = Document("t:x", "text", "", (Block("Größe."), Block("x" * 4000)), "text/1")

    planned = plan(document, scope="a")

    data = planned.document.text.encode()
    assert len(planned.spans) == 4
    for placed in planned.spans:
        assert data[placed.byte_a : placed.byte_b].decode() == placed.span.text


def test_context_has_the_day_the_place_and_what_was_said_before() -> None:
    _, second = plan(chat("I moved to Bonn.", "I sold the car."), scope="a").spans

    assert second.context == "[1970-01-03, Saturday 3 January] s I moved to Bonn."


def test_each_chunk_knows_the_one_before_it_which_is_no_part_of_it() -> None:
    first, second = plan(chat("I moved to Bonn.", "I sold the car."), scope="a").chunks
    (alone,) = plan(chat("I moved to Bonn."), scope="a").chunks

    assert (first.previous, second.previous) == (None, first.id)
    assert alone.id == first.id


def test_a_chunk_that_stands_twice_is_read_once() -> None:
    part = Block("The same.", SpanKind.TURN, session="a")
    between = Block("Between.", SpanKind.TURN, session="b")
    document = Document("t:x", "chat", "", (part, between, part), "chat/1")

    planned = plan(document, scope="a")

    assert [chunk.is_new for chunk in planned.chunks] == [True, True, False]
