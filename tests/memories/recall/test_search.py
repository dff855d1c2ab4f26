"""What a search finds and what it leaves out, over a real store."""

import dataclasses

import pytest

from stoker.memories.recall.hits import VERBATIM, SearchRequest
from stoker.memories.recall.recall import Recall
from stoker.memories.records import Change
from stoker.memories.tiles import DEFAULT_SCOPE, Status, TileKind
from tests.memories.recall.words import WordEmbedder
from tests.memories.steps import IMPORT, document, imported, span, tile

HERONS = "Ada watches herons at the lake every morning"
ROWING = "Bob rows across the lake on Sundays"
BERLIN = "Ada lives in Berlin"
LISBON = "Ada lives in Lisbon"


async def found(recall, query: str, **more) -> list[str]:
    while await recall.embed_missing():
        pass
    request = SearchRequest(query, DEFAULT_SCOPE, **more)
    return [hit.statement for hit in (await recall.search(request, now=1_700_000_000.0)).hits]


async def test_verbatim_text_is_found_as_soon_as_its_import_has_committed(store, recall):
    await imported(store, document("a.txt", HERONS, ROWING))

    answer = await recall.search(SearchRequest("herons at the lake", DEFAULT_SCOPE), now=0.0)

    assert [hit.statement for hit in answer.hits] == [HERONS, ROWING]
    assert answer.hits[0].uri == "a.txt"
    assert answer.hits[0].quote == HERONS
    assert answer.hits[0].kind is None


async def test_what_shares_no_word_is_found_by_its_vector(store, tmp_path):
    class Synonyms(WordEmbedder):
        async def embed(self, texts):
            return await super().embed([text.replace("dwelling", "Berlin") for text in texts])

    recall = Recall(store, tmp_path, Synonyms())
    await recall.open()
    await imported(store, document("a.txt", HERONS, BERLIN))

    assert (await found(recall, "dwelling"))[0] == BERLIN
    await recall.close()


async def test_without_an_embedder_text_alone_is_searched(store, tmp_path):
    recall = Recall(store, tmp_path, None)
    await recall.open()
    await imported(store, document("a.txt", HERONS, ROWING))

    answer = await recall.search(SearchRequest("rowing", DEFAULT_SCOPE), now=0.0)

    assert [hit.statement for hit in answer.hits] == [ROWING]
    assert answer.lists == ("spans_text",)
    await recall.close()


async def test_a_hit_shows_statement_quote_source_and_validity(store, recall):
    await imported(store, document("a.txt", HERONS))
    new = tile("Ada is a morning bird watcher", span(HERONS))
    await store.add_tile(
        dataclasses.replace(new, tile=dataclasses.replace(new.tile, valid_from=100.0)), now=5.0
    )

    assert await found(recall, "bird watcher") == ["Ada is a morning bird watcher"]

    (hit,) = (await recall.search(SearchRequest("bird watcher"), now=0.0)).hits
    assert (hit.quote, hit.uri, hit.valid_from, hit.valid_to) == (HERONS, "a.txt", 100.0, None)
    assert {vote.list for vote in hit.votes} >= {"tiles_text", "tiles_vectors:words-64"}
    assert hit.score == pytest.approx(sum(vote.points for vote in hit.votes))


async def test_scopes_do_not_see_each_other(store, recall):
    await imported(store, document("a.txt", HERONS))

    request = SearchRequest("herons", "another")

    assert (await recall.search(request, now=0.0)).hits == ()


async def moved(store) -> None:
    """Berlin first, Lisbon from day 200 on; decided at time 20."""
    await imported(store, document("a.txt", BERLIN, LISBON))
    old, new = tile(BERLIN, span(BERLIN)), tile(LISBON, span(LISBON))
    old = dataclasses.replace(old, tile=dataclasses.replace(old.tile, valid_from=100.0))
    new = dataclasses.replace(new, tile=dataclasses.replace(new.tile, valid_from=200.0))
    await store.add_tile(old, now=10.0)
    await store.add_tile(new, now=20.0)
    change = Change(
        old.tile.id, Status.SUPERSEDED, "moved", "test", valid_to=200.0, superseded_by=new.tile.id
    )
    await store.append(change, now=20.0)


FACTS = {"kinds": frozenset({TileKind.FACT})}


async def test_what_was_superseded_is_left_out_unless_asked_for(store, recall):
    await moved(store)

    assert await found(recall, "where does Ada live", **FACTS) == [LISBON]
    both = await found(recall, "where does Ada live", with_superseded=True, **FACTS)
    assert sorted(both) == [BERLIN, LISBON]


@pytest.mark.parametrize(("as_of", "expected"), [(150.0, [BERLIN]), (200.0, [LISBON]), (50.0, [])])
async def test_as_of_asks_what_was_true_then(store, recall, as_of, expected):
    await moved(store)

    assert await found(recall, "where does Ada live", as_of=as_of, **FACTS) == expected


@pytest.mark.parametrize(("known_at", "expected"), [(5.0, []), (15.0, [BERLIN]), (25.0, [LISBON])])
async def test_known_at_asks_what_the_store_knew_then(store, recall, known_at, expected):
    await moved(store)

    assert await found(recall, "where does Ada live", known_at=known_at, **FACTS) == expected


async def test_both_times_at_once(store, recall):
    await moved(store)

    at_15 = await found(recall, "where does Ada live", known_at=15.0, as_of=300.0, **FACTS)

    assert at_15 == [BERLIN]  # nobody knew yet that it would end


async def test_an_undone_decision_is_found_again(store, recall):
    await moved(store)
    assert await found(recall, "Berlin", **FACTS) == [LISBON]

    await store.undo(tile(BERLIN).tile.id, now=30.0)

    assert await found(recall, "Berlin", **FACTS) == [BERLIN, LISBON]


@pytest.mark.parametrize("status", [Status.QUARANTINED, Status.RETRACTED, Status.MERGED])
async def test_what_does_not_stand_is_not_found(store, recall, status):
    await imported(store, document("a.txt", HERONS))
    await store.add_tile(tile("Ada counts herons", span(HERONS), status=status), now=5.0)

    assert await found(recall, "herons", **FACTS) == []
    assert await found(recall, "herons", with_superseded=True, **FACTS) == []


async def test_a_change_of_status_reaches_an_open_index(store, recall):
    await imported(store, document("a.txt", HERONS))
    new = tile("Ada counts herons", span(HERONS))
    await store.add_tile(new, now=5.0)
    assert await found(recall, "herons", **FACTS) == ["Ada counts herons"]

    await store.append(Change(new.tile.id, Status.RETRACTED, "no", "person"), now=6.0)
    assert await found(recall, "herons", **FACTS) == []

    await store.undo(new.tile.id, now=7.0)
    assert await found(recall, "herons", **FACTS) == ["Ada counts herons"]


async def test_what_was_forgotten_is_in_no_list_and_not_on_the_disk(store, recall, tmp_path):
    (outcome,) = await imported(store, document("a.txt", HERONS))
    await store.add_tile(tile("Ada counts herons", span(HERONS)), now=5.0)
    assert await found(recall, "herons") != []
    files = sorted((tmp_path / "vectors").glob("*.vectors"))
    assert all(any(file.read_bytes()) for file in files)

    await store.forget_source(outcome.source_id, now=6.0)

    assert await found(recall, "herons", known_at=5.5) == []
    for file in files:
        # What is left of each record is its number and "erased".
        assert set(file.read_bytes()[16:]) <= {0}


async def test_text_that_its_source_no_longer_says_is_known_only_of_the_past(store, recall):
    await imported(store, document("a.txt", HERONS, ROWING))
    await store.add_document(IMPORT, document("a.txt", ROWING), now=9.0)

    assert await found(recall, "herons") == [ROWING]
    assert await found(recall, "herons", known_at=2.0) == [HERONS, ROWING]


async def test_kinds_choose_tiles_or_verbatim_text(store, recall):
    await imported(store, document("a.txt", HERONS))
    await store.add_tile(tile("Ada counts herons", span(HERONS)), now=5.0)

    assert await found(recall, "herons", **FACTS) == ["Ada counts herons"]
    assert await found(recall, "herons", kinds=frozenset({VERBATIM})) == [HERONS]
    assert await found(recall, "herons", kinds=frozenset({TileKind.EVENT})) == []


async def test_a_statement_and_the_words_it_rests_on_are_one_hit(store, recall):
    await imported(store, document("a.txt", HERONS, ROWING))
    await store.add_tile(tile("Ada watches herons", span(HERONS)), now=5.0)

    assert await found(recall, "who watches herons") == ["Ada watches herons", ROWING]


async def test_a_token_budget_bounds_the_answer(store, recall):
    await imported(store, document("a.txt", *(f"{HERONS} {number}" for number in range(20))))

    assert len(await found(recall, "herons", limit=20)) == 20
    assert 1 <= len(await found(recall, "herons", limit=20, token_budget=50)) < 6


async def test_filters_look_past_what_they_leave_out(store, recall):
    await imported(store, document("a.txt", *(f"herons herons {number}" for number in range(900))))
    await store.create_import("imp_2", "test", "another", now=1.0)
    other = dataclasses.replace(
        document("b.txt", stages=False),
        spans=[
            dataclasses.replace(one, span=span("some herons were seen far away", "another"))
            for one in document("b.txt", "x").spans
        ],
    )
    await store.add_document("imp_2", other, now=2.0)
    while await recall.embed_missing():
        pass

    hits = (await recall.search(SearchRequest("herons", "another"), now=0.0)).hits

    assert [hit.statement for hit in hits] == ["some herons were seen far away"]
    assert {vote.list for vote in hits[0].votes} >= {"spans_text", "spans_vectors:words-64"}


@pytest.mark.parametrize("query", ["", "   ", "?!", '"', '""', "NEAR(", "a OR", "x" * 20_000, "\0"])
async def test_no_question_is_an_error(store, recall, query):
    await imported(store, document("a.txt", HERONS))

    await found(recall, query)


async def test_what_was_said_in_the_time_that_a_question_names_comes_first(store, recall):
    day = 86_400.0
    told = [
        dataclasses.replace(span(f"Ada went to see the herons, trip {number}"), said_at=at)
        for number, at in enumerate([1_650_000_000.0, 1_600_000_000.0 + day])
    ]
    base = document("a.txt", "x", "y", stages=False)
    placed = [
        dataclasses.replace(one, span=dataclasses.replace(two, id=f"spn_{two.said_at}"))
        for one, two in zip(base.spans, told, strict=True)
    ]
    await imported(store, dataclasses.replace(base, spans=placed))

    assert (await found(recall, "herons in September 2020"))[0].endswith("trip 1")
    assert (await found(recall, "herons in April 2022"))[0].endswith("trip 0")


async def test_a_word_that_an_import_brings_is_found_at_once(store, recall):
    await imported(store, document("a.txt", *(f"rowing {number}" for number in range(100))))
    assert "herons" not in " ".join(await found(recall, "herons", limit=100))

    await imported(store, document("b.txt", HERONS))

    assert (await found(recall, "herons"))[0] == HERONS
