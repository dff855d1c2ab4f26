"""The KV cache against one that keeps every block: nothing is lost, nothing is made up."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.core.work import Priority, RequestId
from stoker.sim.kv_blocks import KvBlocks, Path, path_of
from stoker.sim.work import Segment, SimRequest

BLOCKS, SIZE = 24, 4
uses = st.tuples(
    st.sampled_from(["a", "b", "c"]), st.integers(1, 30), st.sampled_from(["x", "y"]),
    st.integers(1, 30), st.integers(0, 5),
)  # fmt: skip


def path(number: int, first: str, tokens: int, second: str, more: int) -> tuple[Path, int]:
    segments = (Segment(first, tokens), Segment(second, more))
    request = SimRequest(RequestId(f"r{number}"), Priority.P1, segments, output_tokens=8)
    return path_of(request, SIZE), (tokens + more) // SIZE


def let_go(cache: KvBlocks, holding: list[tuple[Path, int]]) -> None:
    while holding:
        where, full = holding.pop()
        cache.release(where, full, full)


@given(st.lists(uses, max_size=30))
@settings(max_examples=100, deadline=None)
def test_blocks_are_never_lost_and_only_registered_ones_are_served(
    script: list[tuple[str, int, str, int, int]],
) -> None:
    cache = KvBlocks(BLOCKS, caches=True)
    registered: set[tuple[object, ...]] = set()
    holding: list[tuple[Path, int]] = []
    for number, (first, tokens, second, more, stay) in enumerate(script):
        where, full = path(number, first, tokens, second, more)
        contents = [
            (first, block) if (block + 1) * SIZE <= tokens else (first, tokens, second, block)
            for block in range(full)
        ]
        matched, idle = cache.match(where, full)
        assert all(content in registered for content in contents[:matched])
        assert idle <= matched
        if full - matched > cache.free - idle:
            let_go(cache, holding)
            matched, idle = cache.match(where, full)
        cache.hold(where, matched)
        cache.take(full - matched)
        cache.register(where, matched, full)
        registered.update(contents)
        holding.append((where, full))
        assert cache.free + cache.used == BLOCKS
        if not stay:
            let_go(cache, holding)
    let_go(cache, holding)

    assert (cache.free, cache.used) == (BLOCKS, 0)


def test_two_who_computed_the_same_share_one_copy() -> None:
    cache = KvBlocks(BLOCKS, caches=True)
    where, full = path(1, "a", 16, "x", 4)
    other, _ = path(2, "a", 16, "x", 4)
    for one in (where, other):
        cache.take(full)
        cache.register(one, 0, full)

    assert cache.used == full


def test_without_a_prefix_cache_nothing_is_served() -> None:
    cache = KvBlocks(BLOCKS, caches=False)
    where, full = path(1, "a", 16, "x", 4)
    cache.take(full)
    cache.release(where, 0, full)

    assert cache.match(where, full) == (0, 0)
    assert cache.free == BLOCKS
