"""Links and what follows from them: merged, superseded, and back again."""

import pytest

from stoker.memories.merge import Relation, Rule, link
from stoker.memories.store import groups, states
from stoker.memories.store.candidates import KnownTiles, candidates
from stoker.memories.tiles import Status
from tests.memories.steps import answered, document, imported, span, taken_in, tile


async def standing(store, new) -> Status:
    return (await store.get_tile(new.tile.id)).history[-1].status


async def interpreted(store, tiles, links) -> None:
    """Let the next answer bring these tiles and links."""
    [one, *_] = await store.next_answers(10)
    await taken_in(store, one, tiles=tiles, links=links)


@pytest.fixture
async def pair(store):
    """Two tiles that say the same, each with a source of its own."""
    await imported(store, document("a.txt", "Ada is in Paris"), document("b.txt", "Paris has Ada"))
    await answered(store)
    first = tile("Ada lives in Paris", span("Ada is in Paris"))
    second = tile("Paris is where Ada lives", span("Paris has Ada"))
    await interpreted(store, [first], [])
    same = link(first.tile, second.tile, Relation.DUPLICATE, Rule.SIMILAR)
    await interpreted(store, [second], [same])
    return first, second


def merged_and_canonical(first, second):
    """Which of two undated tiles stands for both does not depend on which came first."""
    canonical, merged = sorted((first, second), key=lambda new: new.tile.id)
    return merged, canonical


async def test_two_that_say_the_same_are_one(store, pair):
    merged, canonical = merged_and_canonical(*pair)

    assert await standing(store, canonical) is Status.ACTIVE
    assert await standing(store, merged) is Status.MERGED
    supports = (await store.get_tile(canonical.tile.id)).supports
    assert sorted(one.uri for one in supports) == ["a.txt", "b.txt"]


async def test_a_merge_that_was_undone_does_not_come_back(store, pair):
    merged, canonical = merged_and_canonical(*pair)

    state = await store.undo(merged.tile.id, now=6.0)
    assert state.status is Status.ACTIVE

    await imported(store, document("c.txt", "something else"))
    await answered(store)
    again = link(merged.tile, canonical.tile, Relation.DUPLICATE, Rule.SIMILAR)
    await interpreted(store, [], [again])
    assert await standing(store, merged) is Status.ACTIVE


async def test_a_tile_that_lost_its_canonical_one_stands_alone_again(store, pair):
    merged, canonical = merged_and_canonical(*pair)
    uri = "a.txt" if canonical is pair[0] else "b.txt"

    await imported(store, document(uri, "Ada moved away"))

    assert await standing(store, canonical) is Status.RETRACTED
    assert await standing(store, merged) is Status.ACTIVE


async def test_it_steps_back_when_the_canonical_one_is_said_again(store, pair):
    merged, canonical = merged_and_canonical(*pair)
    uri, text = ("a.txt", "Ada is in Paris")
    if canonical is not pair[0]:
        uri, text = ("b.txt", "Paris has Ada")
    await imported(store, document(uri, "Ada moved away"))

    await imported(store, document(uri, text))

    assert await standing(store, canonical) is Status.ACTIVE
    assert await standing(store, merged) is Status.MERGED


async def test_what_stood_behind_an_erased_tile_comes_back(store, pair):
    merged, canonical = merged_and_canonical(*pair)

    await store.forget_tile(canonical.tile.id, now=6.0)

    assert await standing(store, merged) is Status.ACTIVE
    links = await store.read(lambda db: db.execute("SELECT count(*) FROM tile_links").fetchone())
    assert links[0] == 0


async def test_candidates_share_an_entity_or_words_or_are_near(store, pair):
    first, second = pair
    far = tile("Quartz is hard")
    await store.add_tile(far, now=7.0)
    asked = tile("Ada left Paris").tile

    known = KnownTiles()
    by_words, by_vector = await store.read(
        lambda db: candidates(db, [(asked, None), (asked, [far.tile.id])], known)
    )

    assert {one.id for one in by_words} == {first.tile.id, second.tile.id}
    assert far.tile.id in {one.id for one in by_vector}


@pytest.mark.parametrize("known", [40, 400])
def test_settling_a_tile_reads_no_more_where_more_is_known(db, known):
    for number in range(known):
        states.add_tile(db, tile(f"stone {number} is hard"), now=1.0)
    new = tile("Ada lives in Paris")
    states.add_tile(db, new, now=2.0)
    steps = []
    db.set_progress_handler(lambda: steps.append(0), 10)

    groups.resettle(db, [new.tile.id], now=2.0)

    assert 0 < len(steps) < 60


async def test_the_keys_of_an_erased_tile_are_erased_too(store, pair):
    for new in pair:
        await store.forget_tile(new.tile.id, now=6.0)

    left = await store.read(lambda db: db.execute("SELECT count(*) FROM tile_keys").fetchone())
    assert left[0] == 0
