"""Texts that are almost the same are found; those that differ in what matters are not."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.memories.near_duplicates import bands, is_near_duplicate

TEXT = (
    "The board met on Tuesday and agreed to open the new bridge before the summer, since the old "
    "one cannot carry the buses any longer and the ferry is out of service until further word. The "
    "mayor thanked the engineers and asked them to publish the plans for everybody to read."
)


def find(one: str, other: str) -> bool:
    return bool(set(bands(one)) & set(bands(other))) and is_near_duplicate(one, other)


def test_case_marks_and_one_word_make_no_other_text() -> None:
    assert find(TEXT, TEXT.upper().replace(",", ";"))
    assert find(TEXT, TEXT.replace("Tuesday", "Wednesday"))


@pytest.mark.parametrize(
    "other",
    [
        TEXT.replace("is out of service", "is not out of service"),
        TEXT + " It costs 3 million.",
        TEXT[: len(TEXT) // 2],
        "Quite another text that has nothing to do with the first one, as anybody can see at once.",
    ],
)
def test_another_number_polarity_or_half_of_it_is_another_text(other: str) -> None:
    assert not is_near_duplicate(TEXT, other)


def test_short_texts_are_the_same_or_they_are_not() -> None:
    assert is_near_duplicate("I like green tea.", "i like green tea")
    assert not is_near_duplicate("I like green tea.", "I like black tea.")
    assert bands("I like green tea.") == ()


def test_nearly_all_near_duplicates_meet_in_a_band_and_few_others_do() -> None:
    draw = random.Random(1)
    words = [f"word{number:03d}x".replace("0", "o") for number in range(500)]
    found = met = strangers = 0
    for _ in range(200):
        one = draw.choices(words, k=80)
        other = list(one)
        other[draw.randrange(80)] = "changed"
        # Numbers would make them different texts, so the words must have none.
        one_text, other_text = (
            " ".join(part).translate(str.maketrans("123456789", "abcdefghi"))
            for part in (one, other)
        )
        found += is_near_duplicate(one_text, other_text)
        met += find(one_text, other_text)
        strangers += bool(set(bands(one_text)) & set(bands(" ".join(draw.choices(words, k=80)))))

    assert found == 200
    assert met >= 196
    assert strangers == 0


@given(st.text(max_size=200), st.text(max_size=200))
def test_likeness_has_no_direction(one: str, other: str) -> None:
    assert is_near_duplicate(one, one)
    assert is_near_duplicate(one, other) == is_near_duplicate(other, one)
