"""Two tiles become one only where nothing differs; what changed ends, in whatever order it came."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.memories import lexical, merge
from stoker.memories.blocking import keys_of
from stoker.memories.calibration import calibration, fit
from stoker.memories.merge import LEXICAL, Calibration, Link, Neighbour, Relation, Rule, relate
from stoker.memories.settling import Member, changes, reach, settle, undo
from stoker.memories.tiles import Status, Tile, TileId, TileKind

YEAR_S = 365 * 86400.0


def tile(statement: str, year: int | None = None, id: str = "", subject: str = "") -> Tile:
    at = None if year is None else (year - 1970) * YEAR_S
    name = id or f"{statement} {year}"
    return Tile(TileId(name), "default", statement, TileKind.FACT, subject, valid_from=at)


def relation(one: str, other: str, similarity: float = 0.99) -> tuple[Relation | None, Rule, str]:
    found = relate(tile(one), tile(other), similarity, LEXICAL)

    assert found == relate(tile(other), tile(one), similarity, LEXICAL), "not symmetric"
    return found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Anna paid Ben 20 euros.", "Ben was paid 20 euros by Anna."),
        ("Anna adopted a cat called Miso.", "A cat called Miso was adopted by Anna."),
        ("The service listens on port 8080.", "Port 8080 is where the service listens."),
        ("Anna doesn't like tea.", "Anna doesn't really like tea."),
        ("On Sundays Anna gets help from Ben.", "Ben helps Anna on Sundays."),
        ("The trip took three hours.", "The trip took 3 h."),
        ("Anna earns $2,000.", "Anna earns 2000 dollars."),
        ("Anna met Ben on 7 May 2023.", "Anna met Ben on May 7, 2023."),
        ("Blue is the colour that Anna likes most.", "The colour Anna likes most is blue."),
    ],
)
def test_other_words_for_the_same_are_a_duplicate_where_similarity_says_so(
    one: str, other: str
) -> None:
    assert relation(one, other)[:2] == (Relation.DUPLICATE, Rule.SIMILAR)


@pytest.mark.parametrize(
    ("one", "other", "rule", "detail"),
    [
        ("Anna has 3 cats.", "Anna has 4 cats.", Rule.ANCHORS, "number"),
        ("Anna has cats.", "Anna has 4 cats.", Rule.ANCHORS, "number"),
        ("Anna ran 5 km.", "Anna ran 5 miles.", Rule.ANCHORS, "unit"),
        ("Anna left on 7 May 2023.", "Anna left on 8 May 2023.", Rule.ANCHORS, "date"),
        ("Anna left on Monday.", "Anna left on Tuesday.", Rule.ANCHORS, "date"),
        ("Anna visited Rome.", "Anna visited Oslo.", Rule.ANCHORS, "name"),
        ("Anna plays chess.", "Ben plays chess.", Rule.ANCHORS, "name"),
        ("See /etc/a/b.conf for it.", "See /etc/a/c.conf for it.", Rule.ANCHORS, "code"),
        ("Anna likes tea.", "Anna doesn't like tea.", Rule.ANCHORS, "negation"),
        ("Anna likes tea.", "Anna dislikes tea.", Rule.ANCHORS, "negation"),
        ("Prices increased in Rome.", "Prices decreased in Rome.", Rule.ANCHORS, "negation"),
        ("Anna moved house.", "Anna plans to move house.", Rule.ANCHORS, "modality"),
        ("Anna paid Ben.", "Ben paid Anna.", Rule.ROLES, ""),
        ("Anna gets help from Ben.", "Anna helps Ben.", Rule.ROLES, ""),
        ("Anna takes trains over planes.", "Anna takes planes over trains.", Rule.ROLES, ""),
        ("The dog bites the man.", "The man bites the dog.", Rule.ROLES, ""),
    ],
)
def test_a_changed_fact_is_never_a_duplicate(one: str, other: str, rule: Rule, detail: str) -> None:
    assert relation(one, other) == (Relation.APART, rule, detail)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("Tom lives in Porto.", "Tom lives in Lisbon since 2021.", (Relation.CHANGED, "home")),
        ("Tom lives in Porto.", "Tom moved to Lisbon.", (Relation.CHANGED, "home")),
        ("The deadline of Atlas is 3 May 2024.", "The deadline for Atlas is now 9 May 2024.",
         (Relation.CHANGED, "deadline")),
        ("Tom's rent is 850 euros.", "Tom's rent is 900 euros.", (Relation.CHANGED, "rent")),
        ("Tom's favourite colour is red.", "Tom's favorite colour is blue.",
         (Relation.CHANGED, "favourite colour")),
        ("Tom works for Acme.", "Tom works for Globex.", (None, "employer")),
        ("Tom lives in Porto.", "Tom plans to move to Lisbon.", (Relation.APART, "")),
        ("Tom lives in Porto.", "Ann lives in Lisbon.", (Relation.APART, "name")),
    ],
)  # fmt: skip
def test_a_property_with_one_value_changes_and_one_that_may_have_more_needs_a_judge(
    one: str, other: str, expected: tuple[Relation | None, str]
) -> None:
    found = relation(one, other)

    assert (found[0], found[2]) == expected or expected == (Relation.APART, "") == (found[0], "")


def test_the_same_words_are_the_same_whatever_the_similarity() -> None:
    assert relation("The cat, Miso, sleeps.", "the cat Miso sleeps", 0.0)[0] is Relation.SAME


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Anna runs in the morning.", "Anna runs in the evening."),
        ("Anna bought a bicycle.", "Anna purchased a bicycle."),
        ("Anna dislikes tea.", "Anna doesn't like tea."),
        ("Anna runs a shop.", "Anna runs a small shop with her sister."),
    ],
)
def test_where_a_word_stands_for_another_only_a_judge_can_tell(one: str, other: str) -> None:
    assert relation(one, other)[0] is None


def test_little_in_common_needs_no_question_and_some_does() -> None:
    first, second = "Anna bakes bread for the market.", "Anna makes loaves at the market."

    assert relation(first, second, 0.1)[:2] == (Relation.APART, Rule.DISTANT)
    assert relation(first, second, 0.6)[0] is None


def test_a_judge_is_asked_about_eight_at_most_and_in_a_fixed_form() -> None:
    new = tile("Anna bakes bread for the market.")
    others = [Neighbour(tile(f"Anna bakes {'very ' * n}good bread."), 0.6) for n in range(12)]

    found = merge.decide(new, others, LEXICAL)
    body = merge.question(new, found.open)

    assert len(found.open) == 8
    assert body["messages"][1]["content"].startswith("New: Anna bakes bread for the market.\n[1] ")
    assert body["response_format"]["json_schema"]["schema"]["required"][0] == "dup"


@pytest.mark.parametrize(
    ("other", "answer", "relations"),
    [
        ("Ann bakes loaves.", {"dup": [1], "supersedes": [], "why": "same"}, [Relation.DUPLICATE]),
        ("Ann bakes loaves.", {"dup": [2, 0, -1, True, "1"], "why": "same"}, []),
        ("Ann bakes loaves.", {"dup": [1], "supersedes": [], "why": "unsure"}, []),
        ("Ann bakes 3 loaves.", {"dup": [1], "supersedes": [], "why": "same"}, []),
        ("Ann bakes no bread.", {"dup": [1], "supersedes": [], "why": "same"}, []),
        ("Ann bakes loaves.", {"dup": [], "supersedes": [1], "why": "changed"}, []),
        ("Ann bakes loaves.", None, []),
    ],
)
def test_a_judge_is_honoured_where_code_does_not_forbid_it(
    other: str, answer: dict[str, object] | None, relations: list[Relation]
) -> None:
    neighbours = [Neighbour(tile(other), 0.7)]

    links = merge.honour(tile("Ann bakes bread."), neighbours, answer, decided_by="stg_1")

    assert [link.relation for link in links] == relations
    assert all(link.decided_by == "stg_1" for link in links)


def test_a_judge_may_say_that_a_property_changed() -> None:
    links = merge.honour(
        tile("Tom works for Globex.", 2023), [Neighbour(tile("Tom works for Acme.", 2020), 0.7)],
        {"dup": [], "supersedes": [1], "why": "changed"}, decided_by="stg_1",
    )  # fmt: skip

    assert [link.relation for link in links] == [Relation.CHANGED]


# ---------------------------------------------------------------------------- all together

HOMES = [
    tile("Tom lives in Porto.", 2019),
    tile("Tom lives in Lisbon.", 2021),
    tile("Tom is living in Lisbon.", 2022),
    tile("Tom lives in Porto.", 2023),
    tile("Tom lives in Faro.", 2020),
]


def links_of(tiles: list[Tile]) -> list[Link]:
    """What arrives in this order meets what is there, and says how it relates."""
    links: list[Link] = []
    for index, new in enumerate(tiles):
        known = [
            Neighbour(old, lexical.similarity(new.statement, old.statement))
            for old in tiles[:index]
        ]
        links += merge.decide(new, known, LEXICAL).links
    return links


def test_values_follow_each_other_in_time_also_when_an_old_one_returns() -> None:
    found = settle([Member(each) for each in HOMES], links_of(HOMES))

    assert {each.id: found[each.id].status for each in HOMES} == {
        "Tom lives in Porto. 2019": Status.SUPERSEDED,
        "Tom lives in Faro. 2020": Status.SUPERSEDED,
        "Tom lives in Lisbon. 2021": Status.SUPERSEDED,
        "Tom is living in Lisbon. 2022": Status.MERGED,
        "Tom lives in Porto. 2023": Status.ACTIVE,
    }
    first = found["Tom lives in Porto. 2019"]
    assert (first.superseded_by, first.valid_to) == ("Tom lives in Faro. 2020", 50 * YEAR_S)
    assert first.decided_by == "rule:one_value"


@given(st.permutations(HOMES))
def test_the_order_of_arrival_does_not_matter(arrived: list[Tile]) -> None:
    expected = settle([Member(each) for each in HOMES], links_of(HOMES))

    assert settle([Member(each) for each in arrived], links_of(arrived)) == expected


STATEMENTS = [
    "Tom lives in Porto.", "Tom lives in Faro.", "Tom moved to Faro.", "Ann lives in Faro.",
    "Tom is 30 years old.", "Tom is 31 years old.", "Tom likes tea.", "Tom doesn't like tea.",
    "Tom really likes tea.", "Tea is what Tom likes.", "Tom paid Ann.", "Ann was paid by Tom.",
    "Ann paid Tom.", "tom likes tea",
]  # fmt: skip
arrivals = st.lists(
    st.builds(tile, st.sampled_from(STATEMENTS), st.none() | st.integers(2018, 2022)),
    unique_by=lambda each: each.id, max_size=10,
)  # fmt: skip


@given(arrivals, st.randoms(use_true_random=False), st.data())
def test_any_set_in_any_order_gives_the_same_standings(
    tiles: list[Tile], random: st.DataObject, data: st.DataObject
) -> None:
    spans = st.frozensets(st.sampled_from("abc"), max_size=2)
    members = [Member(each, data.draw(spans)) for each in tiles]
    expected = settle(members, links_of(tiles))
    shuffled = list(members)
    random.shuffle(shuffled)

    found = settle(shuffled, links_of([member.tile for member in shuffled]))

    assert found == expected
    assert set(found) == {each.id for each in tiles}
    for standing in found.values():
        # What stands for another one stands itself, or has ended like a value does.
        if standing.canonical_id is not None:
            assert found[standing.canonical_id].status is not Status.MERGED


@given(arrivals)
def test_settling_what_a_new_tile_reaches_is_enough(tiles: list[Tile]) -> None:
    if not tiles:
        return
    links = links_of(tiles)
    whole = settle([Member(each) for each in tiles], links)
    touched = reach({tiles[-1].id}, links)

    part = settle([Member(each) for each in tiles if each.id in touched], links)

    assert part == {id: standing for id, standing in whole.items() if id in touched}


def test_what_replaces_a_tile_rests_on_something_else() -> None:
    spans = frozenset({"spn_1"})
    pair = [Member(HOMES[0], spans), Member(HOMES[1], spans)]

    assert {each.status for each in settle(pair, links_of(HOMES[:2])).values()} == {Status.ACTIVE}


def test_a_merge_can_be_undone_and_done_again() -> None:
    one, other = tile("Tom likes tea."), tile("tom likes tea", id="other")
    (link,) = links_of([one, other])
    members = [Member(one), Member(other)]

    merged = settle(members, [link])
    apart = settle(members, [link, undo(link)])

    assert {each.status for each in merged.values()} == {Status.ACTIVE, Status.MERGED}
    assert {each.status for each in apart.values()} == {Status.ACTIVE}
    assert list(changes(merged, apart)) == [other.id]
    assert undo(link).decided_by == "person"


def test_six_hundred_copies_of_one_statement_leave_one() -> None:
    copies = [tile("Anna is a pilot.", 2000 + n % 20, id=f"copy {n:03}") for n in range(668)]
    links = [
        link
        for index, new in enumerate(copies)
        for link in merge.decide(new, [Neighbour(copies[index - 1], 1.0)], LEXICAL).links
    ]

    found = settle([Member(each) for each in copies], links)

    assert [each.status for each in found.values()].count(Status.ACTIVE) == 1
    assert len(found) == 668


def test_scopes_are_never_merged() -> None:
    other = replace(HOMES[0], id=TileId("x"), scope="else")

    assert merge.decide(HOMES[0], [Neighbour(other, 1.0)], LEXICAL).links == ()


def test_a_model_that_nobody_measured_merges_nothing_by_its_cosines() -> None:
    limits = calibration("somebody/else")

    assert fit([0.9, 0.84], [0.7, 0.93]) == Calibration(duplicate=0.935, related=0.79)
    one, other = tile("Anna runs a shop."), tile("Anna runs a small shop.")
    assert relate(one, other, 1.0, limits)[0] is None
    assert relate(one, other, 0.97, calibration("all-minilm-l6-v2"))[0] is Relation.DUPLICATE


WORDS = st.lists(
    st.sampled_from(["Anna", "bakes", "bread", "dark", "daily", "Ben", "sells", "honey"]),
    min_size=2, max_size=5,
)  # fmt: skip


@given(WORDS, WORDS)
def test_whatever_a_rule_would_link_meets_under_a_key(one: list[str], other: list[str]) -> None:
    tiles = [tile(f"{' '.join(words)}.", id=name) for name, words in (("1", one), ("2", other))]

    first, second = map(keys_of, tiles)

    if relate(*tiles, 1.0, LEXICAL)[0] in {Relation.SAME, Relation.DUPLICATE}:
        assert set(first.words) & set(second.kept)
        assert set(second.words) & set(first.kept)


def test_values_of_one_property_meet_under_its_key_and_scopes_do_not() -> None:
    here, there = HOMES[0], replace(HOMES[0], scope="another")

    assert {keys_of(each).property for each in HOMES} == {keys_of(here).property}
    assert keys_of(here).property in keys_of(HOMES[1]).kept
    assert not set(keys_of(here).kept) & set(keys_of(there).kept)


def test_a_value_is_linked_with_those_around_it_in_time_only() -> None:
    homes = [tile(f"Tom lives in {city}.", 1990 + n) for n, city in enumerate("ABCDEFGHIJKL")]
    new = tile("Tom lives in Porto.", 1995)

    found = merge.decide(new, [Neighbour(each, 0.5) for each in homes], LEXICAL)

    linked = {each.other if each.one == new.id else each.one for each in found.links}
    assert linked == {each.id for each in homes[2:9]}
