"""Questions, taken apart."""

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.memories.recall.diversity import Candidate, diverse, within_budget
from stoker.memories.recall.query import Stemmer, match_expression, parse, rarest


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("When did Caroline go to the support group?", ("Caroline", "support", "group")),
        ("Caroline's group and the GROUP", ("Caroline", "group")),
        ("who am I", ("who", "am", "I")),
        ("Wo wohnt Jürgen?", ("Wo", "wohnt", "Jürgen")),
        ("  ?!  ", ()),
    ],
)
def test_stop_words_go_unless_there_is_nothing_else(text, words):
    assert parse(text).words == words


def test_quoted_phrases_stay_together():
    query = parse('who said "never again" in "Rome"')

    assert query.phrases == ("never again", "Rome")
    assert match_expression(("Rome",), query.phrases) == '"never again" OR "Rome" OR "Rome"'


@given(st.text(max_size=60))
def test_whatever_is_typed_the_text_index_understands(text):
    query = parse(text)
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE t USING fts5 (x)")

    match = match_expression(query.words, query.phrases)
    if match is not None and "\0" not in match:
        db.execute("SELECT * FROM t WHERE t MATCH ?", (match,)).fetchall()
    db.close()


def test_the_stems_are_those_of_the_text_index():
    stemmer = Stemmer()

    assert stemmer.stems(["Paintings", "painted", "Zürich", "—"]) == [
        "paint", "paint", "zurich", "—",
    ]  # fmt: skip
    stemmer.close()


def test_the_rarest_words_are_looked_up_and_common_ones_only_while_that_is_cheap():
    counts = {"heron": 3, "likes": 900_000, "ada": 9_000, "lake": 400, "nowhere": 0}

    assert rarest(list(counts), counts) == ("heron", "lake", "ada")
    assert rarest(["likes"], counts) == ("likes",)


def test_of_two_copies_the_second_makes_room():
    candidates = [
        Candidate("Ada likes herons", 1.0),
        Candidate("Ada likes herons", 0.99),
        Candidate("Bob rows on the lake", 0.9),
    ]

    assert diverse(candidates, 2, repetition=0.2) == [0, 2]
    assert diverse(candidates, 2, repetition=0.0) == [0, 1]


@given(st.lists(st.integers(0, 50)), st.integers(0, 100))
def test_a_budget_is_kept_but_for_a_first_hit_that_is_longer(sizes, budget):
    taken = within_budget(sizes, budget)

    assert taken == sorted(set(taken))
    assert taken[:1] == ([0] if sizes else [])
    assert sum(sizes[at] for at in taken) <= max(budget, sizes[0] if sizes else 0)
