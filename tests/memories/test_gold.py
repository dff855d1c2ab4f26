"""The gold sets: the same for the same seed, and what the rules make of them."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime
from itertools import combinations

import pytest

from stoker.memories import extract, lexical, merge
from stoker.memories.answers import Outcome, parse, parse_object
from stoker.memories.extract import Line
from stoker.memories.guards import judge
from stoker.memories.merge import LEXICAL, Link, Neighbour, Relation, relate
from stoker.memories.settling import Member, settle
from stoker.memories.tiles import Status, Tile, TileId, TileKind
from stoker.testing.conversations import Conversation, Script, conversations
from stoker.testing.merge_gold import feedback, pairs, updates

TOLD = conversations(count=3, sessions=6)


def tile(statement: str, at: float | None, id: str) -> Tile:
    return Tile(TileId(id), "default", statement, TileKind.FACT, "", valid_from=at)


def day_s(day: str) -> float:
    return datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC).timestamp()


def links_of(members: list[Member], script: Script | None = None) -> list[Link]:
    """Every pair meets once, in the order of `members`; what is open is put to the script."""
    links: list[Link] = []
    for index, member in enumerate(members):
        known = [
            Neighbour(old.tile, lexical.similarity(member.tile.statement, old.tile.statement))
            for old in members[:index]
        ]
        found = merge.decide(member.tile, known, LEXICAL)
        links += found.links
        if script is not None and found.open:
            answer = parse_object(script.answer(merge.question(member.tile, found.open)))
            links += merge.honour(member.tile, found.open, answer, decided_by="stg_1")
    return links


def test_the_sets_are_the_same_for_the_same_seed_and_others_for_another() -> None:
    assert conversations(count=3, sessions=6) == TOLD
    assert conversations(1, count=3, sessions=6) != TOLD
    assert list(pairs()) == list(pairs())
    assert {pair.one for pair in pairs()} & {
        pair.one for pair in pairs(part="calibration")
    } == set()


def test_no_near_miss_is_merged_by_rule_whatever_its_similarity() -> None:
    wrong = [
        pair
        for part in ("calibration", "test")
        for pair in pairs(part=part)
        if not pair.is_same
        and relate(tile(pair.one, None, "1"), tile(pair.other, None, "2"), 1.0, LEXICAL)[0]
        in {Relation.DUPLICATE, Relation.SAME}
    ]

    assert wrong == []


def test_nine_in_ten_paraphrases_are_merged_or_left_to_a_judge() -> None:
    same = [pair for pair in pairs() if pair.is_same]
    found = [
        relate(tile(pair.one, None, "1"), tile(pair.other, None, "2"), 0.9, LEXICAL)[0]
        for pair in same
    ]

    assert found.count(Relation.APART) <= len(found) // 10


@pytest.mark.parametrize("seed", range(2))
def test_of_every_history_the_last_value_holds_in_whatever_order_it_came(seed: int) -> None:
    dice = random.Random(seed)
    for history in updates(seed, histories=12):
        members = [
            Member(tile(value.statement, day_s(value.since), f"{value.statement} {value.since}"))
            for value in history
        ]
        last = f"{history[-1].statement} {history[-1].since}"
        dice.shuffle(members)

        found = settle(members, links_of(members))

        active = [id for id, standing in found.items() if standing.status is Status.ACTIVE]
        assert active == [last], history


def test_six_hundred_and_sixty_eight_copies_add_nothing_where_they_were_shown_from_memory() -> None:
    shown = "Anna works as a pilot for Umbra in Oslo."
    accepted = 0
    for text, statement in feedback():
        line = Line("a", text, "Bot", injected=(shown,))
        claim = extract.Claim(1, "", "Anna", TileKind.FACT, statement)
        accepted += judge([claim], [line])[0].guard.is_accepted

    assert accepted == 0


def tiles_of(conversation: Conversation, script: Script) -> list[Member]:
    """The conversation through extraction and guards, session by session."""
    lines = [
        Line(
            turn.id,
            turn.text,
            turn.author,
            said_on=datetime.fromtimestamp(turn.said_at, UTC).date(),
        )
        for turn in conversation.turns
    ]
    said_at = {turn.id: turn.said_at for turn in conversation.turns}
    members = []
    for start in range(0, len(lines), 8):
        chunk = lines[start : start + 8]
        parsed = parse(script.answer(extract.request(chunk, lines[max(0, start - 2) : start])))
        assert parsed.outcome is Outcome.STORED
        for verdict in judge(
            extract.claims(parsed.entries), chunk, lines[max(0, start - 2) : start]
        ):
            assert verdict.guard.is_accepted, verdict
            made = tile(verdict.statement, said_at[verdict.span_id], f"{verdict.statement} {start}")
            members.append(Member(made, frozenset({verdict.span_id})))
    return members


@pytest.mark.parametrize("conversation", TOLD, ids=lambda told: told.id)
def test_a_conversation_ends_with_its_gold_statements_in_any_order(
    conversation: Conversation,
) -> None:
    script = Script(TOLD)
    members = tiles_of(conversation, script)
    assert [member.tile.statement for member in members] == [
        fact.dated for fact in conversation.facts
    ]

    in_order = settle(members, links_of(members, script))
    random.Random(1).shuffle(members)
    shuffled = settle(members, links_of(members, script))

    assert shuffled == in_order
    statements = {member.tile.id: member.tile.statement for member in members}
    active = [statements[id] for id, each in in_order.items() if each.status is Status.ACTIVE]
    assert sorted(active) == sorted(conversation.active)


def test_gold_facts_and_questions_point_at_turns_that_say_so() -> None:
    for conversation in TOLD:
        turns = {turn.id: turn for turn in conversation.turns}
        assert all(fact.quote in turns[fact.turn_id].text for fact in conversation.facts)
        assert all(turns[id].text for each in conversation.questions for id in each.turn_ids)
        assert len({each.as_of is None for each in conversation.questions}) == 2
    assert not any(set(a.speakers) & set(b.speakers) for a, b in combinations(TOLD, 2))
