"""The vector index: exact where it is small, near enough where it is not, and safe on the disk."""

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.memories.recall.index import VectorIndex
from stoker.memories.recall.vectors import decode, encode, normalised

DIM = 72  # no multiple of 64: the last word is not full


def vectors(count: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return normalised(rows)


def add(index: VectorIndex, rows: np.ndarray, first: int = 1, scope: int = 7) -> None:
    numbers = np.arange(first, first + len(rows), dtype=np.int64)
    scopes = np.full(len(rows), scope, dtype=np.uint32)
    index.append(numbers, numbers + 100, scopes, encode(rows))


@pytest.fixture
def index(tmp_path):
    index = VectorIndex(tmp_path / "m.vectors", "m", DIM)
    yield index
    index.close()


def by_hand(rows: np.ndarray, query: np.ndarray, limit: int) -> list[int]:
    return (np.argsort(-(decode(encode(rows)) @ query), kind="stable")[:limit] + 101).tolist()


@given(count=st.integers(1, 40), limit=st.integers(1, 50), seed=st.integers(0, 99))
def test_a_small_index_is_exact(tmp_path_factory, count, limit, seed):
    rows, query = vectors(count, seed), vectors(1, seed + 1)[0]
    index = VectorIndex(tmp_path_factory.mktemp("index") / "m.vectors", "m", DIM)
    add(index, rows)

    found = index.search(query, limit)
    index.close()

    assert found.owners.tolist() == by_hand(rows, query, limit)


def test_a_large_index_finds_what_brute_force_finds(index):
    centres = vectors(200)
    noise = 0.3 * vectors(20_000, seed=1)
    rows = normalised(np.repeat(centres, 100, axis=0) + noise)
    add(index, rows)

    agreed = [
        len(set(index.search(query, 10).owners.tolist()) & set(by_hand(rows, query, 10)))
        for query in rows[::1_000]
    ]

    assert sum(agreed) >= 10 * len(agreed) - 2


def test_cosines_are_right_to_a_hundredth(index):
    rows = vectors(50)
    add(index, rows)
    query = vectors(1, seed=5)[0]

    found = index.search(query, 50)

    assert np.abs(found.cosines - (rows @ query)[found.owners - 101]).max() < 0.01


def test_equal_vectors_come_in_the_order_of_their_owners(index):
    add(index, np.repeat(vectors(1), 9, axis=0))

    assert index.search(vectors(1)[0], 9).owners.tolist() == list(range(101, 110))


@pytest.mark.parametrize("count", [30, 5_000])
def test_only_the_scope_that_was_asked_for(index, count):
    rows = vectors(count)
    add(index, rows[: count // 2], scope=1)
    add(index, rows[count // 2 :], first=count // 2 + 1, scope=2)

    found = index.search(rows[0], count, scope=2)

    assert sorted(found.owners.tolist()) == list(range(count // 2 + 101, count + 101))


@pytest.mark.parametrize("count", [30, 5_000])
def test_what_is_hidden_is_found_on_demand_and_what_is_erased_never(index, count):
    rows = vectors(count)
    add(index, rows)

    index.hide(np.array([101, 102]), is_hidden=True)
    index.erase(np.array([103]), erasure=1)

    usual = set(index.search(rows[0], count).owners.tolist())
    everything = set(index.search(rows[0], count, with_hidden=True).owners.tolist())
    assert usual == set(range(104, count + 101))
    assert everything == usual | {101, 102}


def test_what_was_hidden_can_be_shown_again(index):
    add(index, vectors(3))
    index.hide(np.array([101]), is_hidden=True)

    index.hide(np.array([101]), is_hidden=False)

    assert len(index.search(vectors(1)[0], 3).owners) == 3


def reopened(folder) -> VectorIndex:
    return VectorIndex(folder / "m.vectors", "m", DIM)


def test_after_closing_everything_is_there(tmp_path):
    rows = vectors(3_000)
    index = VectorIndex(tmp_path / "m.vectors", "m", DIM)
    add(index, rows)
    index.erase(np.array([105]), erasure=4)
    index.close()

    again = reopened(tmp_path)

    assert len(again) == 3_000
    assert again.erasure == 4
    assert again.last == (3_000, 3_100)
    assert again.search(rows[7], 1).owners.tolist() == [108]
    assert 105 not in again.search(rows[4], 3_000).owners
    again.close()


def test_a_crash_loses_only_what_was_not_yet_noted_as_safe(tmp_path):
    rows = vectors(300)
    index = VectorIndex(tmp_path / "m.vectors", "m", DIM)
    add(index, rows[:200])
    index.sync()
    add(index, rows[200:], first=201)
    left = shutil.copytree(tmp_path, tmp_path / "left")  # as a process that was killed leaves it
    index.close()

    again = reopened(left)

    assert len(again) == 200
    assert again.last == (200, 300)
    again.close()


@pytest.mark.parametrize("torn", [b"\x07", b"\x00" * 5_000, b"garbage" * 999])
def test_a_torn_append_is_cut_off(tmp_path, torn):
    rows = vectors(20)
    index = VectorIndex(tmp_path / "m.vectors", "m", DIM)
    add(index, rows)
    index.close()
    with (tmp_path / "m.vectors").open("ab") as file:
        file.write(torn)

    again = reopened(tmp_path)
    add(again, rows, first=21)

    assert len(again) == 40
    assert sorted(again.search(rows[3], 2).owners.tolist()) == [104, 124]
    again.close()


@pytest.mark.parametrize("damage", ["note gone", "note torn", "file shorter", "other model"])
def test_a_file_that_cannot_be_trusted_begins_anew(tmp_path, damage):
    index = VectorIndex(tmp_path / "m.vectors", "m", DIM)
    add(index, vectors(20))
    index.close()
    note, file = tmp_path / "m.json", tmp_path / "m.vectors"
    match damage:
        case "note gone":
            note.unlink()
        case "note torn":
            note.write_text(note.read_text()[:20])
        case "file shorter":
            file.write_bytes(file.read_bytes()[:-1])

    again = VectorIndex(file, "another" if damage == "other model" else "m", DIM)

    assert len(again) == 0
    assert again.search(vectors(1)[0], 5).owners.tolist() == []
    again.close()


def test_erased_codes_are_not_on_the_disk_any_more(tmp_path):
    rows = vectors(3)
    index = VectorIndex(tmp_path / "m.vectors", "m", DIM)
    add(index, rows)
    code = encode(rows)[1].tobytes()
    assert code in (tmp_path / "m.vectors").read_bytes()

    index.erase(np.array([102]), erasure=1)
    index.sync()

    assert code not in (tmp_path / "m.vectors").read_bytes()
    index.close()
