"""The commit of an import: what is new, what is the same, what went, what must not come back."""

from dataclasses import replace

import pytest

from stoker.core.errors import Conflict, NotFound
from stoker.memories.records import DocumentStatus, ImportId, ImportState
from stoker.memories.tiles import Status
from tests.memories.steps import IMPORT, answered, document, imported, span, tile


async def live(store) -> list[str]:
    """The texts that a search may find."""

    def ask(db):
        rows = db.execute("SELECT text FROM spans WHERE removed_at IS NULL ORDER BY seq")
        return [row["text"] for row in rows]

    return await store.read(ask)


async def status(store, new) -> Status:
    return (await store.get_tile(new.tile.id)).history[-1].status


async def test_spans_are_there_when_the_import_commits(store):
    [outcome] = await imported(store, document("a.txt", "Ada likes herons", "Bo has a boat"))

    assert outcome.status is DocumentStatus.IMPORTED
    assert (outcome.spans, outcome.spans_new, outcome.stages_new) == (2, 2, 2)
    assert await live(store) == ["Ada likes herons", "Bo has a boat"]


async def test_the_same_bytes_again_are_no_work(store):
    await imported(store, document("a.txt", "one", "two"))
    await answered(store)

    again = ImportId("imp_2")
    [outcome] = await imported(store, document("a.txt", "one", "two"), id=again)

    assert outcome.status is DocumentStatus.UNCHANGED
    assert await store.ready_stages(10) == []
    assert (await store.get_import(again, now=4.0)).is_done


async def test_an_edit_asks_only_for_what_changed(store):
    await imported(store, document("a.txt", "one", "two", "three"))
    await answered(store)

    [outcome] = await imported(store, document("a.txt", "one", "2", "three"))

    assert (outcome.spans_new, outcome.stages_new) == (1, 1)
    assert await live(store) == ["one", "three", "2"]


async def test_words_that_left_their_source_take_their_tiles_along(store):
    await imported(store, document("a.txt", "the price is 5", "Bo has a boat"))
    price, boat = (
        tile("The price is 5", span("the price is 5")),
        tile("Bo has a boat", span("Bo has a boat")),
    )
    await store.add_tile(price, now=3.0)
    await store.add_tile(boat, now=3.0)

    await imported(store, document("a.txt", "the price is 6", "Bo has a boat"))

    assert await status(store, price) is Status.RETRACTED
    assert await status(store, boat) is Status.ACTIVE


async def test_words_that_come_back_bring_their_tiles_back(store):
    first = document("a.txt", "the price is 5")
    await imported(store, first)
    price = tile("The price is 5", span("the price is 5"))
    await store.add_tile(price, now=3.0)

    await imported(store, document("a.txt", "the price is 6"))
    [outcome] = await imported(store, first)

    assert outcome.status is DocumentStatus.IMPORTED
    assert await live(store) == ["the price is 5"]
    assert await status(store, price) is Status.ACTIVE


async def test_what_another_source_says_too_stays(store):
    await imported(store, document("a.txt", "shared"), document("b.txt", "shared"))
    shared = tile("It is shared", span("shared"))
    await store.add_tile(shared, now=3.0)

    await imported(store, document("a.txt", "something else"))

    assert await status(store, shared) is Status.ACTIVE
    assert await live(store) == ["shared", "something else"]


async def test_a_document_that_cannot_be_read_is_noted_and_the_rest_goes_on(store):
    await imported(store)
    await store.add_failure(IMPORT, "bad.pdf", code="corrupt", message="no PDF")
    await imported(store, document("a.txt", "one"))

    view = await store.get_import(IMPORT, now=3.0)
    failed, good = await store.documents(IMPORT, limit=10, offset=0, now=3.0)

    assert view.documents == {DocumentStatus.FAILED: 1, DocumentStatus.IMPORTED: 1}
    assert (failed.outcome.uri, failed.outcome.code) == ("bad.pdf", "corrupt")
    assert good.outcome.status is DocumentStatus.IMPORTED


async def test_a_deleted_source_does_not_come_back_by_itself(store):
    first = document("a.txt", "secret")
    [outcome] = await imported(store, first)
    gone = await store.forget_source(outcome.source_id, now=3.0)

    [again] = await imported(store, first)
    [edited] = await imported(store, document("a.txt", "secret", "and more"))
    [renamed] = await imported(store, document("copy of a.txt", "secret"))

    assert gone.spans == 1
    for skipped in (again, edited, renamed):
        assert (skipped.status, skipped.code) == (DocumentStatus.SKIPPED, "deleted")
    assert await live(store) == []


async def test_a_deleted_source_comes_back_when_that_is_asked_and_is_extracted_anew(store):
    first = document("a.txt", "not so secret")
    [outcome] = await imported(store, first)
    await answered(store)
    await store.forget_source(outcome.source_id, now=3.0)

    back = await store.add_document(IMPORT, first, now=4.0, is_revived=True)

    assert back.status is DocumentStatus.IMPORTED
    assert await live(store) == ["not so secret"]
    assert len(await store.ready_stages(10)) == 1


async def test_deleting_erases_the_text_everywhere(store):
    text = "zanzibarite"
    [outcome] = await imported(store, document("a.txt", text))
    await answered(store, answer=text.encode())
    await store.add_tile(tile(text, span(text)), now=3.0)

    await store.forget_source(outcome.source_id, now=4.0)

    dump = await store.read(lambda db: "\n".join(db.iterdump()))
    assert text not in dump


async def test_what_is_forgotten_is_no_reply_s_context_any_more(store):
    said, reply = "we met in zanzibar", span("never again")
    told = document("a.txt", said, reply.text, "so be it")
    spans = list(told.spans)
    spans[1] = replace(spans[1], context=f"[1970-01-01] trip {said}")
    await imported(store, replace(told, spans=spans))

    await store.forget_span(span(said).id, now=3.0)

    found, context = await store.read(_found_in_contexts)
    assert found == {"zanzibar": [], "trip": [reply.id]}
    assert context == "[1970-01-01] trip"


async def test_a_reply_that_another_source_holds_keeps_no_words_of_the_forgotten_one(store):
    said, reply = "we met in zanzibar", span("never again")
    told = document("a.txt", said, reply.text)
    spans = list(told.spans)
    spans[1] = replace(spans[1], context=said)
    [outcome] = await imported(store, replace(told, spans=spans))
    await answered(store)
    await imported(store, document("b.txt", reply.text), id=ImportId("imp_2"))

    await store.forget_source(outcome.source_id, now=3.0)

    assert await live(store) == [reply.text]
    dump = await store.read(lambda db: "\n".join(db.iterdump()))
    assert "zanzibar" not in dump


def _found_in_contexts(db):
    found = {
        word: [
            row["span_id"]
            for row in db.execute(
                "SELECT span_id FROM span_contexts_fts AS fts JOIN spans ON spans.seq = fts.rowid"
                " WHERE span_contexts_fts MATCH ?",
                (word,),
            )
        ]
        for word in ("zanzibar", "trip")
    }
    (context,) = db.execute("SELECT context FROM spans WHERE context != ''").fetchone()
    return found, context


async def test_a_forgotten_span_is_left_out_of_the_next_import(store):
    await imported(store, document("a.txt", "keep", "forget me"))
    await store.forget_span(span("forget me").id, now=3.0)

    await imported(store, document("a.txt", "keep", "forget me", "new"))

    assert await live(store) == ["keep", "new"]


async def test_a_forgotten_tile_is_not_extracted_again(store):
    await imported(store, document("a.txt", "one"))
    new = tile("One is a number", span("one"))
    await store.add_tile(new, now=3.0)
    await store.forget_tile(new.tile.id, now=4.0)

    assert not await store.add_tile(new, now=5.0)
    with pytest.raises(NotFound):
        await store.get_tile(new.tile.id)


async def test_nothing_is_added_to_a_cancelled_import(store):
    await imported(store)
    await store.set_import_state(IMPORT, ImportState.CANCELLED, now=2.0)

    with pytest.raises(Conflict, match="cancelled"):
        await store.add_document(IMPORT, document("a.txt", "one"), now=3.0)


async def test_an_import_that_never_was_is_not_found(store):
    with pytest.raises(NotFound):
        await store.add_document(ImportId("imp_x"), document("a.txt", "one"), now=3.0)
