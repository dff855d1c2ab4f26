"""LLM work: asked once, answered durably, interpreted in order, with effects exactly once."""

from dataclasses import replace
from itertools import pairwise

import pytest

from stoker.core.work import Usage
from stoker.memories.merge import Link, Relation, Rule
from stoker.memories.records import (
    ChunkInputs,
    Draft,
    ImportId,
    ImportState,
    JudgeInputs,
    NewStage,
    Piece,
    StageEffect,
    StageKey,
    StageState,
)
from stoker.memories.store import effects
from stoker.memories.tiles import TileId
from tests.memories.steps import IMPORT, answered, document, imported, span, taken_in, tile


async def keys(store) -> list[str]:
    return [one.stage.key for one in await store.next_answers(100)]


def key(text: str) -> StageKey:
    return StageKey("stg_" + span(text).id)


def unrelated(effect, _):
    return effect


def drafts(waiting, tiles=lambda _: ()) -> list[Draft]:
    return [
        Draft(one, StageEffect(one.stage.key, StageState.DONE, tiles=tiles(one))) for one in waiting
    ]


async def queued(store) -> None:
    ready = await store.ready_stages(100)
    await store.mark_queued([(one.key, f"job-{one.key}") for one in ready])


async def done(store, one, **effect) -> None:
    assert await taken_in(store, one, **effect) == 1


async def test_an_answer_waits_for_those_before_it(store):
    await imported(store, document("a.txt", "one", "two"), document("b.txt", "three"))
    await queued(store)

    await store.store_answer(key("two"), b"{}", usage=None, now=4.0)
    await store.store_answer(key("three"), b"{}", usage=None, now=4.0)
    assert await keys(store) == []

    await store.store_answer(key("one"), b"{}", usage=None, now=4.0)
    assert await keys(store) == [key("one"), key("two"), key("three")]


async def test_the_next_document_waits_for_what_the_one_before_has_to_ask(store):
    await imported(store, document("a.txt", "one", "two"), document("b.txt", "three"))
    await answered(store)
    judgement = NewStage(StageKey("judge"), JudgeInputs(TileId("til_1"), ()))

    def relate(effect, _):
        return replace(effect, judgements=[judgement] if effect.key == key("one") else [])

    waiting = drafts(await store.next_answers(10), lambda one: [tile(one.stage.key)])
    taken = await store.apply(waiting, relate, embedder="", now=5.0)

    assert taken == 2
    assert await keys(store) == []
    await answered(store)
    assert await keys(store) == ["judge", key("three")]


async def test_an_answer_that_breaks_ends_the_transaction_before_it(store):
    await imported(store, document("a.txt", "one", "two"))
    await answered(store)
    waiting = drafts(await store.next_answers(10), lambda one: [tile(one.stage.key)])

    def relate(effect, _):
        if effect.key == key("two"):
            raise ZeroDivisionError
        return effect

    assert await store.apply(waiting, relate, embedder="", now=5.0) == 1
    with pytest.raises(ZeroDivisionError):
        await store.apply(waiting[1:], relate, embedder="", now=5.0)

    assert await keys(store) == [key("two")]
    assert sum((await store.stats()).tiles.values()) == 1


async def test_a_transaction_ends_before_it_is_long(store):
    await imported(store, document("a.txt", "one", "two", "three"))
    await answered(store)

    def tiles(one):
        return [tile(f"{one.stage.key} has {n}") for n in range(effects.TILES_AT_ONCE // 2)]

    waiting = drafts(await store.next_answers(10), tiles)

    assert await store.apply(waiting, unrelated, embedder="", now=5.0) == 2
    assert await store.apply(waiting[2:], unrelated, embedder="", now=5.0) == 1


async def test_a_transaction_ends_early_where_groups_are_large(store, monkeypatch):
    monkeypatch.setattr(effects, "_SETTLED_AT_ONCE", 2)
    await imported(store, document("a.txt", "one", "two", "three"))
    await answered(store)
    waiting = drafts(await store.next_answers(10), lambda one: [tile(one.stage.key)])
    ids = sorted(draft.effect.tiles[0].tile.id for draft in waiting)
    links = [Link(*pair, Relation.DUPLICATE, Rule.SIMILAR, "test") for pair in pairwise(ids)]

    def linked(effect, _):
        return replace(effect, links=links)

    assert await store.apply(waiting, linked, embedder="", now=5.0) == 2
    assert await store.apply(waiting[2:], linked, embedder="", now=5.0) == 1


async def test_an_answer_about_text_that_is_gone_is_left_to_be_read_again(store):
    await imported(store, document("a.txt", "one", "two"))
    await answered(store)
    waiting = [
        replace(draft, spans=[span(text).id])
        for draft, text in zip(
            drafts(await store.next_answers(10)), ("one", "erased meanwhile"), strict=True
        )
    ]

    assert await store.apply(waiting, unrelated, embedder="", now=5.0) == 1
    assert await store.apply(waiting[1:], unrelated, embedder="", now=5.0) == 0


async def test_imports_do_not_wait_for_each_other(store):
    await imported(store, document("a.txt", "one"))
    await imported(store, document("b.txt", "two"), id=ImportId("imp_2"))
    await queued(store)

    await store.store_answer(key("two"), b"{}", usage=None, now=4.0)

    assert await keys(store) == [key("two")]


async def test_an_effect_happens_once(store):
    await imported(store, document("a.txt", "one"))
    await answered(store)
    [one] = await store.next_answers(10)

    await done(store, one, tiles=[tile("One is a number", span("one"))])
    await done(store, one, tiles=[tile("Two is a number", span("one"))])

    assert sum((await store.stats()).tiles.values()) == 1
    assert (await store.get_import(IMPORT, now=6.0)).is_done


async def test_halves_of_a_split_come_before_what_follows_and_are_asked_first(store):
    await imported(store, document("a.txt", "one", "two"))
    await answered(store)
    first, _ = await store.next_answers(10)
    halves = [
        NewStage(StageKey(f"half-{n}"), ChunkInputs((Piece(span("one").id),))) for n in (0, 1)
    ]

    await done(store, first, halves=halves)

    assert [one.key for one in await store.ready_stages(10)] == ["half-0", "half-1"]
    assert await keys(store) == []
    await answered(store)
    assert await keys(store) == ["half-0", "half-1", key("two")]


async def test_work_that_is_answered_is_never_asked_again(store):
    await imported(store, document("a.txt", "one"))
    await answered(store)

    [one] = await store.next_answers(10)
    await done(store, one)

    copy = ImportId("imp_2")
    await imported(store, document("copy.txt", "one"), id=copy)

    assert await store.ready_stages(10) == []
    assert (await store.get_import(copy, now=6.0)).is_done


async def test_a_lost_job_is_asked_again_and_a_stored_answer_is_not(store):
    await imported(store, document("a.txt", "one", "two"))
    await queued(store)
    await store.store_answer(key("one"), b"{}", usage=None, now=4.0)

    await store.mark_ready([key("one"), key("two")])

    assert [one.key for one in await store.ready_stages(10)] == [key("two")]


async def test_a_paused_import_asks_for_nothing(store):
    await imported(store, document("a.txt", "one"))

    await store.set_import_state(IMPORT, ImportState.PAUSED, now=3.0)
    assert await store.ready_stages(10) == []

    await store.set_import_state(IMPORT, ImportState.RUNNING, now=4.0)
    assert len(await store.ready_stages(10)) == 1


async def test_a_cancelled_import_names_its_jobs_and_is_over(store):
    await imported(store, document("a.txt", "one", "two"))
    await queued(store)

    jobs = await store.set_import_state(IMPORT, ImportState.CANCELLED, now=3.0)
    await store.store_answer(key("one"), b"{}", usage=None, now=4.0)

    assert jobs == [f"job-{key('one')}", f"job-{key('two')}"]
    assert (await store.get_import(IMPORT, now=5.0)).is_done
    assert await store.next_answers(10) == []


async def test_work_that_a_cancelled_import_left_is_done_for_another_that_wants_it(store):
    await imported(store, document("a.txt", "one"))
    await store.set_import_state(IMPORT, ImportState.CANCELLED, now=3.0)

    await imported(store, document("b.txt", "one"), id=ImportId("imp_2"))

    assert [one.key for one in await store.ready_stages(10)] == [key("one")]


async def test_refused_work_is_kept_aside_and_may_be_asked_again(store):
    await imported(store, document("a.txt", "one"))
    await queued(store)
    reason = "engine_400: no schemas here"
    await store.give_up(key("one"), StageState.QUARANTINED, reason, now=4.0)

    [refusal] = await store.quarantine(limit=10, offset=0)
    assert refusal.reason == reason
    assert await store.ready_stages(10) == []

    assert await store.retry(IMPORT) == 1
    [again] = await store.ready_stages(10)
    assert again.attempts == 1
    assert not (await store.get_import(IMPORT, now=5.0)).is_done


async def test_progress_counts_work_and_what_it_cost(store):
    await imported(store, document("a.txt", "one", "two", "three"))
    await queued(store)
    await store.store_answer(key("one"), b"{}", usage=Usage(100, 20, 0), now=4.0)

    work = (await store.get_import(IMPORT, now=5.0)).work
    [only] = await store.documents(IMPORT, limit=10, offset=0, now=5.0)

    assert work.by_state == {StageState.ANSWERED: 1, StageState.QUEUED: 2}
    assert (work.prompt_tokens, work.output_tokens) == (100, 20)
    assert (work.total, work.left, work.finished_recently) == (3, 3, 1)
    assert only.work == work
