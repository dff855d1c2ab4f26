"""The file in steps: coarser ones say what the finer said, and no time makes it too large."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.core.errors import StoreError
from stoker.history.document import Wanted, history_document
from stoker.history.file import SCHEMA, HistoryFile, reading_only
from stoker.history.happenings import Happening
from stoker.history.levels import append, levels, read, roll
from stoker.history.series import Sample, merged
from stoker.store.database import writer_session
from tests.history.conftest import a_file

T0 = 1_700_000_000 // 600 * 600
KEPT = levels(60 * 86400.0)


def a_sample(tokens=10.0, ttft_s=0.5, waiting=3):
    sample = Sample(covered_s=10.0)
    sample.count("p0.output_tokens", tokens)
    sample.see("p0.waiting", waiting, 10.0)
    sample.time("p0.ttft_s", ttft_s)
    return sample


@pytest.fixture
def db(tmp_path):
    with writer_session(tmp_path / "history.sqlite3", SCHEMA, 1.0) as connection:
        yield connection


written = st.lists(
    st.tuples(st.integers(0, 400), st.floats(0, 1e6), st.floats(0.001, 100)),
    min_size=1,
    max_size=30,
)


@settings(max_examples=12)
@given(written, st.lists(st.integers(0, 400), max_size=3), st.sampled_from([10, 60, 600, 1200]))
def test_every_step_has_the_same_sums_and_percentiles(tmp_path_factory, parts, rolls, step_s):
    path = tmp_path_factory.mktemp("history") / "history.sqlite3"
    with writer_session(path, SCHEMA, 1.0) as db:
        for place, (offset, tokens, ttft_s) in enumerate(parts):
            append(db, T0 + 10 * offset, {"default": a_sample(tokens, ttft_s)}, KEPT)
            if place < len(rolls):
                roll(db, T0 + 10 * rolls[place], KEPT)

        found = merged(p.sample for p in read(db, T0, T0 + 86_400, step_s, KEPT))

    assert found.sums.get("p0.output_tokens", 0.0) == pytest.approx(
        sum(p[1] for p in parts), abs=0.01
    )
    assert sum(found.times["p0.ttft_s"].values()) == len(parts)
    assert found.covered_s == pytest.approx(10 * len(parts))


def test_rolling_again_changes_nothing(db):
    for offset in range(0, 1300, 30):
        append(db, T0 + offset, {"default": a_sample()}, KEPT)
    roll(db, T0 + 1300, KEPT)
    once = read(db, T0, T0 + 9999, 600, KEPT)
    db.execute("UPDATE rolled SET until = 0")

    roll(db, T0 + 1300, KEPT)

    assert read(db, T0, T0 + 9999, 600, KEPT) == once


def test_what_is_not_put_together_yet_is_read_as_it_is(db):
    for offset in range(0, 700, 10):
        append(db, T0 + offset, {"default": a_sample()}, KEPT)
    roll(db, T0 + 600, KEPT)

    found = [period.at - T0 for period in read(db, T0, T0 + 9999, 600, KEPT)]

    assert found == [0, *range(600, 700, 10)]


def test_a_second_life_within_one_period_adds_to_the_first(db):
    append(db, T0, {"default": a_sample(10)}, KEPT)
    append(db, T0, {"default": a_sample(5)}, KEPT)

    [period] = read(db, T0, T0 + 10, 10, KEPT)

    assert period.sample.sums["p0.output_tokens"] == 15


def test_each_step_is_kept_for_its_time(db):
    for day in range(0, 70, 5):
        append(db, T0 + 86_400 * day, {"default": a_sample()}, KEPT)
        roll(db, T0 + 86_400 * day + 600, KEPT)

    rows = db.execute("SELECT step_s, count(*) FROM samples GROUP BY step_s").fetchall()

    assert [tuple(row) for row in rows] == [(10, 1), (60, 1), (600, 12)]


def long_lines(at, count):
    return [Happening(at, "engine_down", "default", "x" * 5000) for _ in range(count)]


@pytest.mark.virtual_time
async def test_over_months_the_file_stays_below_its_size(tmp_path):
    most = 4 * 2**20
    file = a_file(tmp_path, max_bytes=most)
    await file.open()
    largest = 0
    for turn in range(120):
        at = T0 + 60_000 * turn  # 83 days
        await file.write(at, {"default": a_sample()}, long_lines(at, 20), [])
        await file.roll(at + 600)
        largest = max(largest, sum(part.stat().st_size for part in tmp_path.iterdir()))
    kept = await file.read(lambda db: read(db, 0, 2e9, 600, KEPT))
    await file.close()

    assert most / 2 < largest <= most
    assert 1 < len(kept) < 120
    assert kept[-1].at == at


@pytest.mark.virtual_time
async def test_a_smaller_size_than_before_holds_from_the_start(tmp_path):
    file = a_file(tmp_path)
    await file.open()
    await file.write(T0, {"default": a_sample()}, long_lines(T0, 1600), [])
    await file.close()
    assert file.path.stat().st_size > 4 * 2**20

    file = a_file(tmp_path, max_bytes=4 * 2**20)
    await file.open()
    await file.close()

    assert file.path.stat().st_size < 4 * 2**20


_WRITER = """
import asyncio, sys
from pathlib import Path
from stoker.history.file import HistoryFile
from stoker.history.series import Sample

async def main():
    file = HistoryFile(Path(sys.argv[1]), max_bytes=64 * 2**20, retention_s=60 * 86400.0)
    await file.open()
    at = int(sys.argv[2])
    while True:
        sample = Sample(covered_s=10.0)
        sample.count("p0.output_tokens", 10)
        await file.write(at, {"default": sample}, [], [])
        await file.roll(at + 10)
        print(at, flush=True)
        at += 10

asyncio.run(main())
"""


def test_after_kill_9_everything_that_was_written_is_there(tmp_path):
    path = tmp_path / "history.sqlite3"
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path), str(T0)], stdout=subprocess.PIPE, text=True
    )
    for _ in range(65):
        at = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()

    with reading_only(path) as db:
        found = merged(p.sample for p in read(db, T0, at + 1, 10, KEPT))

    assert found.sums["p0.output_tokens"] == 650


async def test_a_damaged_file_is_put_aside(tmp_path):
    path = tmp_path / "history.sqlite3"
    path.write_bytes(os.urandom(8192))
    file = HistoryFile(path, max_bytes=64 * 2**20, retention_s=86_400)

    await file.open()
    await file.write(T0, {"default": a_sample()}, [], [])
    await file.close()

    assert (tmp_path / "history.sqlite3.damaged").stat().st_size == 8192
    with reading_only(path) as db:
        document = history_document(db, Wanted(T0, T0 + 10), file.kept)
    assert document["engines"]["default"]["whole"]["sums"] == {"p0.output_tokens": 10}


def test_a_file_of_a_newer_version_is_left_alone(tmp_path):
    path = tmp_path / "history.sqlite3"
    with writer_session(path, SCHEMA, 1.0) as db:
        db.execute("PRAGMA user_version = 99")

    with pytest.raises(StoreError, match="another version"), reading_only(path):
        pass


def test_where_nothing_was_kept_the_document_says_so(db):
    document = history_document(db, Wanted(T0, T0 + 3600), KEPT)

    assert document["engines"] == {}
    assert document["box"]["at"] == []
    assert document["happenings"] == document["slowest"] == []
