"""Vectors for what has none: new text, everything after a change of model, and after a crash."""

import shutil

from stoker.core.errors import EngineError
from stoker.memories.recall.hits import SearchRequest
from stoker.memories.recall.recall import Asked, Recall
from tests.memories.recall.words import WordEmbedder
from tests.memories.steps import document, imported, span, tile

HERONS = "Ada watches herons"
ROWING = "Bob rows on the lake"


async def lists(recall: Recall, query: str = "herons") -> set[str]:
    answer = await recall.search(SearchRequest(query), now=0.0)
    return {vote.list for hit in answer.hits for vote in hit.votes}


async def embed_all(recall: Recall) -> int:
    total = 0
    while count := await recall.embed_missing(limit=3):
        total += count
    return total


async def rows_of(store) -> dict[str, int]:
    return dict(
        await store.read(
            lambda db: db.execute(
                "SELECT model, count(*) FROM embeddings JOIN embedders"
                " ON embedders.seq = embedder GROUP BY model"
            ).fetchall()
        )
    )


async def test_every_text_gets_one_vector_and_only_once(store, recall):
    await imported(store, document("a.txt", HERONS, ROWING))
    await store.add_tile(tile("Ada likes birds", span(HERONS)), now=1.0)

    assert await embed_all(recall) == 3
    assert await embed_all(recall) == 0
    assert sorted(recall.embedder.embedded) == sorted([HERONS, ROWING, "Ada likes birds"])


async def test_the_speaker_is_part_of_what_is_embedded(store, recall):
    def add(db):
        db.execute(
            "INSERT INTO spans (span_id, scope, text, context, kind, role, author, added_at)"
            " VALUES ('spn_1', 'default', 'I like herons', '', 'turn', 'user', 'Ada', 0.0)"
        )

    await store.write(add)

    await embed_all(recall)

    assert recall.embedder.embedded == ["Ada: I like herons"]


async def test_after_a_restart_it_goes_on_where_it_was(store, recall, tmp_path):
    await imported(store, document("a.txt", *(f"text {number}" for number in range(8))))
    await recall.embed_missing(limit=3)

    again = Recall(store, tmp_path / "again", WordEmbedder())
    await again.open()

    assert await embed_all(again) == 5
    await again.close()


async def test_a_new_model_takes_over_while_the_old_one_still_answers(store, tmp_path):
    await imported(store, document("a.txt", HERONS, ROWING))
    old = Recall(store, tmp_path, WordEmbedder("old"))
    await old.open()
    await embed_all(old)
    await old.close()
    kept = WordEmbedder("old")

    new = Recall(store, tmp_path, WordEmbedder("new", dim=40), find_old={"old": kept}.get)
    await new.open()
    before = await lists(new)
    await new.embed_missing(limit=1)
    meanwhile = await lists(new)
    await embed_all(new)
    after = await lists(new)

    assert "spans_vectors:old" in before
    assert {"spans_vectors:old", "spans_vectors:new"} <= meanwhile
    assert "spans_vectors:old" not in after
    assert await rows_of(store) == {"new": 2}
    assert kept.is_closed
    await new.close()


async def test_an_old_model_that_cannot_be_loaded_is_replaced_all_the_same(store, tmp_path):
    await imported(store, document("a.txt", HERONS))
    old = Recall(store, tmp_path, WordEmbedder("old"))
    await old.open()
    await embed_all(old)
    await old.close()

    new = Recall(store, tmp_path, WordEmbedder("new"), find_old=lambda _: None)
    await new.open()
    await embed_all(new)

    assert await rows_of(store) == {"new": 1}
    await new.close()


async def test_an_index_from_before_a_crash_catches_up(store, tmp_path):
    first = Recall(store, tmp_path, WordEmbedder())
    await first.open()
    await imported(store, document("a.txt", HERONS))
    await embed_all(first)
    await lists(first)
    await first.close()
    early = shutil.copytree(tmp_path / "vectors", tmp_path / "early" / "vectors")
    second = Recall(store, tmp_path, WordEmbedder())
    await second.open()
    await store.add_tile(tile("Ada likes herons", span(HERONS)), now=1.0)
    await embed_all(second)
    await second.close()

    again = Recall(store, early.parent, WordEmbedder())
    await again.open()

    assert await lists(again) >= {"tiles_vectors:words-64", "spans_vectors:words-64"}
    await again.close()


async def test_an_index_of_another_database_is_not_used(store, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(store.path, other / "memories.sqlite3")
    await imported(store, document("a.txt", HERONS, ROWING, "a third"))
    recall = Recall(store, tmp_path, WordEmbedder())
    await recall.open()
    await embed_all(recall)
    await lists(recall)
    await recall.close()

    from stoker.memories.store.sqlite import MEMORIES_FILE, SqliteMemoryStore

    restored = SqliteMemoryStore(other / MEMORIES_FILE)
    await restored.open()
    await imported(restored, document("b.txt", ROWING, HERONS))
    shutil.copytree(tmp_path / "vectors", other / "vectors")
    again = Recall(restored, other, WordEmbedder())
    await again.open()
    await embed_all(again)
    answer = await again.search(SearchRequest("herons"), now=0.0)

    assert answer.hits[0].statement == HERONS
    await again.close()
    await restored.close()


async def test_while_the_embedder_fails_the_other_lists_answer(store, tmp_path):
    class Broken(WordEmbedder):
        async def embed_query(self, text, weights):
            raise EngineError("the engine is down")

    await imported(store, document("a.txt", HERONS))
    recall = Recall(store, tmp_path, Broken())
    await recall.open()

    answer = await recall.search(SearchRequest("herons"), now=0.0)

    assert [hit.statement for hit in answer.hits] == [HERONS]
    assert answer.models == ()
    await recall.close()


async def test_neighbours_are_the_nearest_active_tiles_of_the_scope(store, recall):
    await imported(store, document("a.txt", HERONS))
    for text in ("Ada likes herons", "Ada likes grey herons", "Bob rows"):
        await store.add_tile(tile(text, span(HERONS)), now=1.0)
    await embed_all(recall)

    (vector,) = await recall.embed(["Ada likes herons"])
    new = tile("Ada adores herons").tile.id

    near, nobody, after = await recall.neighbours(
        [
            Asked(new, "default", vector),
            Asked(new, "another", vector),
            Asked(new, "default", vector),
        ]
    )

    known = [tile(f"Ada likes {text}").tile.id for text in ("herons", "grey herons")]
    assert near[:2] == known
    assert nobody == []
    assert set(after[:2]) == {known[0], new}
