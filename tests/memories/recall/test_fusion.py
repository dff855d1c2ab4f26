"""Ranked lists to one: what holds whatever the lists are."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from stoker.memories.recall.fusion import (
    SPANS_TEXT,
    SPANS_VECTORS,
    TILES_TEXT,
    TILES_VECTORS,
    Lists,
    Weights,
    fuse,
)

ROWS = st.lists(st.integers(1, 12), unique=True, max_size=8)


@st.composite
def any_lists(draw) -> Lists:
    pairs = st.tuples(st.integers(1, 12), st.integers(1, 12))
    spans = {SPANS_TEXT: draw(ROWS), f"{SPANS_VECTORS}:m": draw(ROWS)}
    tiles = {TILES_TEXT: draw(ROWS), f"{TILES_VECTORS}:m": draw(ROWS)}
    supports = draw(st.lists(pairs, max_size=10, unique=True))
    sessions = {span: f"s{span % 3}" for span in range(1, 13)}
    return Lists(spans, tiles, supports, sessions)


@given(any_lists())
def test_no_list_gates_another(lists):
    fused = fuse(lists, Weights())

    spans = {row for rows in lists.spans.values() for row in rows}
    tiles = {row for rows in lists.tiles.values() for row in rows}
    assert {each.row for each in fused.spans} == spans | {span for _, span in lists.supports}
    assert {each.row for each in fused.tiles} == tiles | {tile for tile, _ in lists.supports}


@given(any_lists())
def test_the_order_in_which_lists_and_pairs_are_given_does_not_matter(lists):
    turned = Lists(
        dict(reversed(lists.spans.items())),
        dict(reversed(lists.tiles.items())),
        list(reversed(lists.supports)),
        lists.sessions,
    )

    one, other = fuse(lists, Weights()), fuse(turned, Weights())

    assert [each.row for each in one.spans] == [each.row for each in other.spans]
    assert [each.row for each in one.tiles] == [each.row for each in other.tiles]


@given(any_lists(), st.integers(1, 12))
def test_a_better_place_in_a_list_never_makes_a_span_worse(lists, row):
    rows = [each for each in lists.spans[SPANS_TEXT] if each != row]
    lower = replace(lists, spans={**lists.spans, SPANS_TEXT: [*rows, row]}, sessions={})
    upper = replace(lists, spans={**lists.spans, SPANS_TEXT: [row, *rows]}, sessions={})

    def place(lists: Lists) -> int:
        return [each.row for each in fuse(lists, Weights()).spans].index(row)

    assert place(upper) <= place(lower)


@given(any_lists())
def test_the_score_is_the_sum_of_the_votes_that_are_shown(lists):
    weights = Weights()
    fused = fuse(lists, weights)

    for each in (*fused.spans, *fused.tiles):
        assert abs(each.score - sum(vote.points for vote in each.votes(weights))) < 1e-9


def test_a_tile_votes_for_its_span_and_the_span_for_its_tile():
    lists = Lists({SPANS_TEXT: [1, 2]}, {TILES_TEXT: [9, 8]}, [(9, 2), (8, 3)], {})

    fused = fuse(lists, Weights(spans_text=1.0, tiles_text=1.0))

    assert [each.row for each in fused.spans] == [2, 1, 3]
    assert [each.row for each in fused.tiles] == [9, 8]
    assert fused.tiles[0].ranks == {TILES_TEXT: 1, SPANS_TEXT: 2}


def test_ten_tiles_of_one_span_vote_once():
    many = Lists({}, {TILES_TEXT: list(range(1, 11))}, [(tile, 1) for tile in range(1, 11)], {})
    one = Lists({}, {TILES_TEXT: [1]}, [(1, 1)], {})

    assert fuse(many, Weights()).spans[0].score == fuse(one, Weights()).spans[0].score


def test_the_session_of_good_spans_lifts_its_others():
    lists = Lists(
        {SPANS_TEXT: [1, 2, 3, 4], f"{SPANS_VECTORS}:m": [5, 6]},
        {},
        [],
        {1: "a", 2: "a", 3: "a", 4: "b", 5: "b", 6: "a"},
    )
    weights = Weights(spans_vectors=1.4, session=3.0)

    order = [each.row for each in fuse(lists, weights).spans]

    assert order.index(6) < order.index(5)
    assert [each.row for each in fuse(lists, replace(weights, session=0.0)).spans].index(6) > 0
