"""What metrics show of the tables is what is in them."""

from dataclasses import replace

from stoker.memories.recall.recall import Recall
from stoker.memories.records import DocumentStatus, StageState
from stoker.memories.store.census import take
from stoker.memories.tiles import Status
from tests.memories.recall.words import WordEmbedder
from tests.memories.steps import IMPORT, answered, document, imported, span, taken_in, tile


async def refuse(store, statement: str, reason: str) -> None:
    new = tile(statement, status=Status.QUARANTINED)
    await store.add_tile(replace(new, reason=reason), now=4.0)


async def test_an_empty_store_has_a_nought_for_every_state(store):
    census = await store.census("")

    assert set(census.work) == set(StageState)
    assert set(census.tiles) == set(Status)
    assert set(census.documents) == set(DocumentStatus)
    assert not any((*census.work.values(), *census.tiles.values(), census.documents_open))
    assert census.refused == {}


async def test_documents_and_work_are_counted_by_state(store):
    await imported(store, document("a.txt", "one", "two"), document("b.txt", "three"))
    await store.add_failure(IMPORT, "c.pdf", code="source_broken", message="it is no PDF")
    await answered(store)
    first, *_ = await store.next_answers(1)
    await taken_in(store, first)

    census = await store.census("")

    assert census.documents[DocumentStatus.IMPORTED] == 2
    assert census.documents[DocumentStatus.FAILED] == 1
    assert census.documents_open == 2
    assert {state: n for state, n in census.work.items() if n} == {
        StageState.DONE: 1,
        StageState.ANSWERED: 2,
    }
    assert dict(census.work) == {
        **dict.fromkeys(StageState, 0),
        **(await store.work(now=9.0)).by_state,
    }


async def test_tiles_are_counted_as_the_server_itself_counts_them(store):
    for number in range(3):
        await store.add_tile(tile(f"Fact {number} is kept.", span("words")), now=4.0)
    await refuse(store, "Nobody said this.", "quote_not_found: “x”")

    census = await store.census("")

    assert {status: n for status, n in census.tiles.items() if n} == (await store.stats()).tiles


async def test_what_is_in_quarantine_is_counted_by_the_code_of_its_reason(store):
    await imported(store, document("a.txt", "one", "two"))
    await refuse(store, "Nobody said this.", "quote_not_found: “x”")
    await refuse(store, "Nobody said that.", "quote_not_found: “y”")
    one, two = await store.ready_stages(2)
    await store.give_up(one.key, StageState.QUARANTINED, "truncated: cut off", now=5.0)
    await store.give_up(two.key, StageState.QUARANTINED, "its job was cancelled", now=5.0)

    assert (await store.census("")).refused == {"quote_not_found": 2, "truncated": 1, "other": 1}


def test_rare_reasons_share_a_name_so_that_no_answer_makes_series_without_end(db):
    db.execute("INSERT INTO imports VALUES (1, 'imp', '', 'default', 'running', 0)")
    for number in range(100):
        db.execute(
            "INSERT INTO stages (stage_key, kind, state, import, is_urgent, inputs, reason,"
            " created_at) VALUES (?, 'extract', 'quarantined', 1, 0, '{}', ?, 0)",
            (f"stg_{number}", f"strange_{number}: …"),
        )

    refused = take(db, "").refused

    assert len(refused) <= 25
    assert sum(refused.values()) == 100


async def test_what_waits_for_a_vector_is_what_the_embedder_has_not_seen(store, tmp_path):
    await imported(store, document("a.txt", "one boat", "two boats", "three boats"))
    embedder = WordEmbedder()
    recall = Recall(store, tmp_path, embedder)
    await recall.open()

    before = (await store.census(embedder.model_id)).without_vector
    await recall.embed_missing(limit=2)
    after = (await store.census(embedder.model_id)).without_vector
    await recall.close()

    assert (before, after) == (3, 1)
    assert (await store.census("")).without_vector == 0
    assert (await store.census("another model")).without_vector == 3
