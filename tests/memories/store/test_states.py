"""The log of a tile: decisions pile up, and each can be taken back."""

import pytest

from stoker.core.errors import Conflict
from stoker.memories.records import Change
from stoker.memories.tiles import Status
from tests.memories.steps import document, imported, span, tile


async def log(store, new) -> list[Status]:
    return [state.status for state in (await store.get_tile(new.tile.id)).history]


async def merge(store, new, into) -> None:
    change = Change(new.tile.id, Status.MERGED, "same", "rule:same", canonical_id=into.tile.id)
    await store.append(change, now=5.0)


@pytest.fixture
async def pair(store):
    """Two tiles, each with a source of its own."""
    await imported(store, document("a.txt", "Ada is in Paris"), document("b.txt", "Paris has Ada"))
    first = tile("Ada lives in Paris", span("Ada is in Paris"))
    second = tile("Paris is where Ada lives", span("Paris has Ada"))
    for new in (first, second):
        await store.add_tile(new, now=3.0)
    return first, second


async def test_a_merge_is_undone_by_one_more_row(store, pair):
    first, second = pair
    await merge(store, second, first)

    state = await store.undo(second.tile.id, now=6.0)

    assert state.status is Status.ACTIVE
    assert state.canonical_id is None
    assert await log(store, second) == [Status.ACTIVE, Status.MERGED, Status.ACTIVE]


async def test_undoing_again_goes_one_decision_further_back(store, pair):
    first, _ = pair
    for status in (Status.RETRACTED, Status.ACTIVE):
        await store.append(Change(first.tile.id, status, "so", "person"), now=6.0)

    once = await store.undo(first.tile.id, now=7.0)
    twice = await store.undo(first.tile.id, now=8.0)

    assert (once.status, twice.status) == (Status.RETRACTED, Status.ACTIVE)
    with pytest.raises(Conflict, match="nothing was decided"):
        await store.undo(first.tile.id, now=9.0)


async def test_the_support_of_a_merged_tile_is_shown_with_its_canonical_one(store, pair):
    first, second = pair
    await merge(store, second, first)

    view = await store.get_tile(first.tile.id)

    assert [one.uri for one in view.supports] == ["a.txt", "b.txt"]


async def test_a_decision_on_an_old_version_is_refused(store, pair):
    first, _ = pair
    change = Change(first.tile.id, Status.RETRACTED, "x", "person")

    with pytest.raises(Conflict, match="changed since"):
        await store.append(change, now=5.0, expected=7)


async def test_the_same_statement_again_only_gains_support(store, pair):
    first, _ = pair
    again = tile("Ada lives in Paris", span("Paris has Ada"))

    is_new = await store.add_tile(again, now=6.0)

    view = await store.get_tile(first.tile.id)
    assert not is_new
    assert [one.uri for one in view.supports] == ["a.txt", "b.txt"]
    assert len(view.history) == 1


async def test_a_refused_statement_that_is_found_with_good_support_is_active_after_all(store):
    await imported(store, document("a.txt", "Bo has a boat"))
    refused = tile("Bo has a boat", status=Status.QUARANTINED)
    await store.add_tile(refused, now=3.0)

    await store.add_tile(tile("Bo has a boat", span("Bo has a boat")), now=4.0)

    assert await log(store, refused) == [Status.QUARANTINED, Status.ACTIVE]


async def test_the_quarantine_says_what_was_refused_and_why(store):
    refused = tile("Bo has 7 boats", status=Status.QUARANTINED)
    await store.add_tile(refused, now=3.0)

    [refusal] = await store.quarantine(limit=10, offset=0)

    assert (refusal.id, refusal.what, refusal.reason) == (
        refused.tile.id,
        "Bo has 7 boats",
        "found",
    )
