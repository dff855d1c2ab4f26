"""A store with as many synthetic tiles as wanted, written straight into its tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stoker.memories.recall.vectors import Vectors, encode, normalised
from stoker.memories.store.sqlite import MEMORIES_FILE, SCHEMA

DIM = 256
MODEL = "synthetic"
_WORDS = 200_000
_WORDS_PER_TILE = 24
_TILES_PER_SPAN = 4
_SPANS_PER_SESSION = 40
_CLUSTERS = 5_000
_BATCH = 20_000
_YEAR_S = 31_536_000.0


class Corpus:
    """Text with Zipf's frequencies, and vectors in clusters that share some words."""

    def __init__(self, tiles: int, seed: int = 7) -> None:
        self.tiles = tiles
        self._random = np.random.default_rng(seed)
        self._words = np.array([_word(number) for number in range(_WORDS)])
        odds = 1 / (np.arange(_WORDS) + 2.7)
        self._cumulated = np.cumsum(odds / odds.sum())
        self._centres = normalised(self._noise(_CLUSTERS))
        self._topics = self._random.integers(200, _WORDS, (_CLUSTERS, 12))
        self.middle = _YEAR_S * 5

    def batches(self) -> Iterator[tuple[list[str], Vectors]]:
        for start in range(0, self.tiles, _BATCH):
            yield self._texts(min(_BATCH, self.tiles - start), _WORDS_PER_TILE)

    def spans(self, count: int) -> tuple[list[str], Vectors]:
        return self._texts(count, 2 * _WORDS_PER_TILE)

    def questions(self, count: int) -> list[tuple[str, Vectors]]:
        """Two words of a cluster, and one to four of any frequency."""
        asked = np.random.default_rng(99)
        found = []
        for cluster in asked.integers(0, _CLUSTERS, count):
            own = asked.choice(self._topics[cluster], 2, replace=False)
            others = np.searchsorted(self._cumulated, asked.random(asked.integers(1, 5)))
            text = " ".join(self._words[[*own, *others]])
            near = self._centres[cluster] + 0.5 * DIM**-0.5 * asked.standard_normal(DIM)
            found.append((text, normalised(near[None, :].astype(np.float32))[0]))
        return found

    def _texts(self, count: int, length: int) -> tuple[list[str], Vectors]:
        clusters = self._random.integers(0, _CLUSTERS, count)
        words = np.searchsorted(self._cumulated, self._random.random((count, length)))
        for place in (1, 5, 9, 13):
            pick = self._random.integers(0, 12, count)
            words[:, place] = self._topics[clusters, pick]
        vectors = normalised(self._centres[clusters] + 0.7 * DIM**-0.5 * self._noise(count))
        return [" ".join(row) for row in self._words[words]], vectors

    def _noise(self, count: int) -> Vectors:
        return self._random.standard_normal((count, DIM)).astype(np.float32)


def build(folder: Path, tiles: int) -> None:
    """Write it. The rows are those of an import and its extraction, the order is not."""
    db = sqlite3.connect(folder / MEMORIES_FILE, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = OFF")
    for number, script in enumerate(SCHEMA.migrations, 1):
        db.executescript(f"BEGIN; {script}; PRAGMA user_version = {number}; COMMIT;")
    db.execute(f"PRAGMA application_id = {SCHEMA.application_id}")
    db.execute("INSERT INTO embedders (model, dim) VALUES (?, ?)", (MODEL, DIM))
    db.execute(
        "INSERT INTO sources (source_id, uri, kind, scope, added_at)"
        " VALUES ('src_1', 'synthetic', 'chat', 'default', 0)"
    )
    db.execute(
        "INSERT INTO revisions (revision_id, source, content_hash, bytes_count, importer,"
        " imported_at) VALUES ('rev_1', 1, '', 0, 'synthetic/1', 0)"
    )
    corpus = Corpus(tiles)
    first = 1
    for statements, vectors in corpus.batches():
        db.execute("BEGIN")
        _add_spans(db, corpus, (first - 1) // _TILES_PER_SPAN + 1, len(statements))
        _add_tiles(db, first, statements, vectors)
        db.execute("COMMIT")
        first += len(statements)
    for index in ("tiles_fts", "span_contexts_fts"):
        db.execute(f"INSERT INTO {index} ({index}) VALUES ('optimize')")
    db.execute("ANALYZE")
    db.close()


def _add_spans(db: sqlite3.Connection, corpus: Corpus, first: int, tiles: int) -> None:
    texts, vectors = corpus.spans(tiles // _TILES_PER_SPAN)
    rows = range(first, first + len(texts))
    db.executemany(
        "INSERT INTO spans (seq, span_id, scope, text, context, kind, role, author, said_at,"
        " added_at) VALUES (?, ?, 'default', ?, '', 'turn', 'user', '', ?, 0)",
        ((row, f"spn_{row}", text, _at(row * 4)) for row, text in zip(rows, texts, strict=True)),
    )
    db.executemany(
        "INSERT INTO revision_spans (revision, ord, span, byte_a, byte_b, session)"
        " VALUES (1, ?, ?, 0, 0, ?)",
        ((row, row, f"session {row // _SPANS_PER_SESSION}") for row in rows),
    )
    _add_vectors(db, "span", first, vectors)


def _add_tiles(db: sqlite3.Connection, first: int, statements: list[str], vectors: Vectors) -> None:
    rows = range(first, first + len(statements))
    db.executemany(
        "INSERT INTO tiles (seq, tile_id, scope, statement, kind, subject, entities, said_at,"
        " valid_from, confidence, level, extractor, language, added_at)"
        " VALUES (?, ?, 'default', ?, 'fact', '', '[]', ?, ?, 1, 1, '', 'en', 0)",
        (
            (row, f"til_{row}", statement, _at(row), _at(row))
            for row, statement in zip(rows, statements, strict=True)
        ),
    )
    last_span = (first + len(statements) - 2) // _TILES_PER_SPAN
    db.executemany(
        "INSERT INTO provenance (tile, span, quote, quote_a, quote_b, support, weight)"
        " VALUES (?, ?, '', 0, 0, 'paraphrase', 1)",
        ((row, min((row - 1) // _TILES_PER_SPAN, last_span) + 1) for row in rows),
    )
    db.executemany(
        "INSERT INTO tile_states (tile, version, status, valid_to, reason, decided_by, at)"
        " VALUES (?, 1, ?, ?, '', 'synthetic', 0)",
        (
            (row, "active", None) if row % 10 else (row, "superseded", _at(row) + _YEAR_S)
            for row in rows
        ),
    )
    _add_vectors(db, "tile", first, vectors)


def _add_vectors(db: sqlite3.Connection, kind: str, first: int, vectors: Vectors) -> None:
    db.executemany(
        "INSERT INTO embeddings (embedder, kind, owner, vector) VALUES (1, ?, ?, ?)",
        ((kind, row, code.tobytes()) for row, code in enumerate(encode(vectors), first)),
    )


def _at(row: int) -> float:
    """Ten years, in no order."""
    return (row * 7_919 % 3_650) * 86_400.0


def _word(number: int) -> str:
    letters = "bcdfghklmnprstvz"
    vowels = "aeiou"
    word = ""
    number += 7
    while number:
        number, place = divmod(number, 80)
        word += letters[place // 5] + vowels[place % 5]
    return word
