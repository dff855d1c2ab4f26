"""Ids are hashes of what they name: equal things are one thing, different ones never meet."""

from hypothesis import given
from hypothesis import strategies as st

from stoker.memories.tiles import (
    Role,
    SpanKind,
    TileKind,
    canonical,
    source_id,
    span_id,
    stage_key,
    tile_id,
)

words = st.text(max_size=20)


def tile(statement: str, scope: str = "s") -> str:
    return tile_id(scope, statement, subject="Ada", kind=TileKind.FACT, valid_from=None)


def span(text: str, author: str = "Ada") -> str:
    return span_id("s", text, SpanKind.TURN, role=Role.USER, author=author, said_at=1.0)


def test_case_spaces_and_a_full_stop_make_no_other_tile():
    assert tile("Ada lives in  Paris.") == tile("ada lives in Paris")


def test_a_number_makes_another_tile():
    assert tile("Ada has 2 cats") != tile("Ada has 3 cats")


def test_the_same_words_in_another_scope_are_another_tile():
    assert tile("Ada lives in Paris", "a") != tile("Ada lives in Paris", "b")


def test_the_same_words_of_another_speaker_are_another_span():
    assert span("I agree.", "Ada") != span("I agree.", "Bo")


def test_a_span_keeps_its_marks_but_not_its_line_breaks():
    assert span("Really?  Yes") == span("Really? Yes")
    assert span("Really? Yes") != span("Really. Yes")


@given(words, words, words, words)
def test_no_two_ways_of_cutting_the_same_letters_give_one_id(a, b, c, d):
    assert (source_id(a, b) == source_id(c, d)) == ((a, b) == (c, d))


@given(st.lists(words), st.randoms())
def test_the_order_of_inputs_does_not_make_other_work(inputs, random):
    shuffled = random.sample(inputs, len(inputs))

    key = stage_key("extract", 1, "prompt", "model", inputs=inputs)

    assert stage_key("extract", 1, "prompt", "model", inputs=shuffled) == key
    assert stage_key("extract", 2, "prompt", "model", inputs=inputs) != key


@given(words)
def test_the_canonical_form_is_its_own_canonical_form(text):
    assert canonical(canonical(text)) == canonical(text)
