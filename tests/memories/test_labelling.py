"""A very small model labels sentences; what is copied stands in the text, word for word."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.memories import extract, labelling
from stoker.memories.answers import NextStep, Outcome, parse_labels
from stoker.memories.extract import SMALL, Line
from stoker.memories.guards import judge
from stoker.memories.lexical import normalise, sentences
from stoker.memories.tiles import Support, TileKind

LINES = (
    Line("a", "Hi Tom! How are you? I adopted a cat called Miso. It is so sweet.", "Mira"),
    Line("b", "- Dr. Olsen repaired the crane in 2024. So it works. Port Ellen has 14 berths."),
)


def texts(lines: tuple[Line, ...]) -> list[str]:
    return [one.text for one in labelling.candidates(lines)]


def test_only_sentences_that_stand_alone_are_asked_about() -> None:
    assert texts(LINES) == [
        "I adopted a cat called Miso.",
        "Dr. Olsen repaired the crane in 2024.",
        "Port Ellen has 14 berths.",
    ]


@pytest.mark.parametrize(
    "sentence",
    [
        "Is the harbour open today?",
        "It has 14 berths for boats.",
        "But the harbour has 14 berths.",
        "Our harbour has 14 berths.",
        "I have a boat in the harbour.",
        "Write to the harbour if you need a berth.",
        "| berths | 14 | boats |.",
        "14 berths.",
        "Weeks begin on Monday in Port Ellen.",
        "The crane was repaired last week by Olsen.",
        "Berths of the harbour at Port Ellen",
        "See https://harbour.example for all berths.",
        "Berth " * 60 + ".",
    ],
)
def test_of_a_document_no_sentence_that_needs_another_one_or_is_none(sentence: str) -> None:
    assert texts((Line("a", sentence),)) == []


def test_what_a_speaker_or_a_date_makes_clear_may_name_a_time() -> None:
    assert texts((Line("a", "I repaired the crane last week.", "Mira"),))
    assert texts((Line("a", "The crane was repaired on 3 April 2023."),))


def test_the_model_sees_all_of_the_text_and_numbers_where_labels_are_wanted() -> None:
    body = extract.request(LINES, variant=SMALL)

    assert body["messages"][1]["content"].splitlines() == [
        "<text>",
        "Hi Tom! How are you?",
        "[1] I adopted a cat called Miso.",
        "It is so sweet.",
        "-",
        "[2] Dr. Olsen repaired the crane in 2024.",
        "So it works.",
        "[3] Port Ellen has 14 berths.",
        "</text>",
    ]
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["1", "2", "3"]


def test_the_longest_answer_fits() -> None:
    count = 40
    longest = json.dumps(dict.fromkeys(map(str, range(1, count + 1)), "preference"))

    # A token of SmolLM2 has three letters and more in such text; a quote and a comma share one.
    assert len(longest) / 3 < labelling.tokens_max(count)


def test_what_is_labelled_is_copied_and_the_speaker_gets_a_name() -> None:
    answer = '{"1": "event", "2": "none", "3": "fact"}'

    claims, parsed = extract.read(answer, LINES, SMALL, finish_reason="stop")
    found = judge(claims, LINES)

    assert parsed.outcome is Outcome.STORED
    assert [(each.statement, each.span_id) for each in found] == [
        ("Mira adopted a cat called Miso.", "a"),
        ("Port Ellen has 14 berths.", "b"),
    ]
    assert [each.guard.is_accepted for each in found] == [True, True]
    assert [each.claim.kind for each in found] == [TileKind.EVENT, TileKind.FACT]
    assert found[1].support is Support.VERBATIM


@pytest.mark.parametrize(
    ("answer", "outcome", "step"),
    [
        ('{"1": "event", "2": "none", "3": "fa', Outcome.SALVAGED, NextStep.SPLIT),
        ('{"1": "event", "2": "poem", "3": "fact"}', Outcome.SALVAGED, NextStep.SPLIT),
        ("I cannot do that.", Outcome.QUARANTINED, NextStep.SPLIT),
        ('{"c": []}', Outcome.QUARANTINED, NextStep.SPLIT),
        ('{"1": "none", "2": "none", "3": "none", "4": "fact"}', Outcome.STORED, NextStep.DONE),
    ],
)
def test_an_answer_with_labels_missing_keeps_those_that_are_there(
    answer: str, outcome: Outcome, step: NextStep
) -> None:
    parsed = parse_labels(answer, labelling.LABELS, count=3)

    assert (parsed.outcome, parsed.next_step(3000)) == (outcome, step)


def test_text_with_nothing_to_label_is_not_asked_about() -> None:
    assert not extract.is_worth_asking([Line("a", "How are you? It is.", "Mira")], SMALL)
    assert extract.is_worth_asking(LINES, SMALL)


@given(st.text(alphabet="Aab .!?\n1'", max_size=60))
def test_sentences_are_all_of_the_text_in_order(text: str) -> None:
    spans = sentences(text)

    assert all(start < end for start, end in spans)
    assert "".join("".join(text[a:b] for a, b in spans).split()) == "".join(text.split())


@given(
    st.lists(st.text(alphabet="Iam bck.!? \n-1", max_size=50), min_size=1, max_size=4),
    st.dictionaries(st.integers(0, 9).map(str), st.sampled_from([*labelling.LABELS, "poem"])),
)
def test_whatever_is_answered_nothing_is_claimed_that_its_line_does_not_say(
    parts: list[str], labels: dict[str, str]
) -> None:
    lines = [Line(str(number), text) for number, text in enumerate(parts)]

    claims, _ = extract.read(json.dumps(labels), lines, SMALL, finish_reason="stop")

    for each in claims:
        assert normalise(each.statement) in normalise(lines[each.line - 1].text)
