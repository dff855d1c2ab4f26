"""What the people, the agents and the backlog ask, and when."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.errors import ConfigError
from stoker.demo import script
from stoker.demo.documents import (
    CHARACTERS_MAX,
    Document,
    folder_documents,
    library_documents,
)


@given(st.floats(min_value=1, max_value=3600))
def test_visits_are_in_order_within_the_time_and_of_both_kinds(seconds):
    visits = script.visits(seconds)

    starts = [visit.at_s for visit in visits]
    assert starts == sorted(starts)
    assert starts[0] > 0
    assert starts[-1] < seconds
    assert {visit.is_leased for visit in visits} == {True, False}


def test_a_minute_has_two_bursts_under_a_lease_and_a_lone_question_between():
    visits = script.visits(60.0)

    assert [visit.is_leased for visit in visits] == [True, False, True]
    assert sum(visit.questions for visit in visits) == 9


def test_no_question_repeats_within_a_demo():
    texts = [body["messages"][0]["content"] for body in islice(script.questions(), 500)]

    assert len(set(texts)) == 500
    assert max(map(len, texts)) < 120


def test_an_agents_second_turn_continues_its_first():
    document = Document("csv", "word " * 400)

    plan = script.plan(document)
    act = script.act(plan, "I will read it.", document)

    assert act["messages"][0] == plan["messages"][0]
    assert [turn["role"] for turn in act["messages"]] == ["user", "assistant", "user"]
    assert len(act["messages"][2]["content"]) > len(plan["messages"][0]["content"])


def test_every_document_comes_once_before_another_question_about_it():
    documents = [Document("a", "x"), Document("b", "y")]

    found = [
        (name, body["messages"][0]["content"])
        for name, body in islice(script.summaries(documents), 6)
    ]

    assert [name for name, _ in found] == ["a", "b", "a", "b", "a", "b"]
    assert len({text for _, text in found}) == 6


@pytest.mark.slow
def test_the_library_has_sixty_documents_of_real_text():
    documents = library_documents()

    assert len({document.name for document in documents}) == 60
    assert all(300 < len(document.text) <= CHARACTERS_MAX for document in documents)
    [csv] = [document.text for document in documents if document.name == "csv"]
    assert "comma" in csv.lower()


def test_a_folder_gives_its_text_files_in_order(tmp_path):
    (tmp_path / "b.md").write_text("beta")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "long.txt").write_text("é" * 10_000)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\x00\xff")
    (tmp_path / "zeros").write_bytes(b"\0" * 10)
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("hidden")

    documents = folder_documents(tmp_path)

    assert [document.name for document in documents] == ["long.txt", "b.md"]
    assert documents[0].text == "é" * CHARACTERS_MAX


@pytest.mark.parametrize("name", ["", "missing"])
def test_a_folder_without_text_is_an_error_that_names_it(tmp_path, name):
    with pytest.raises(ConfigError, match="--documents"):
        folder_documents(tmp_path / name)
