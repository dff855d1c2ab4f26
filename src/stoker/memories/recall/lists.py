"""The ranked lists behind a search, each over the whole store: text, vectors, tiles, spans."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from stoker.memories.recall.filters import Filters, Side, numbers

if TYPE_CHECKING:
    from stoker.memories.recall.sync import SyncedIndex
    from stoker.memories.recall.vectors import Vectors

_AHEAD = 2
_AHEAD_IN_TIME = 5  # of another time, often more than half does not hold
"""A list is fetched longer than needed by this factor, so that filters leave enough of it."""
_COUNTS_MAX = 50_000


class TermCounts:
    """How many rows of a text index hold a stem. Kept until the store has grown by a twentieth.

    To count a word that is everywhere takes the index 10 ms at a million rows.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._rows = 0

    def begin(self, rows: int) -> None:
        """Say how large the store is now."""
        if not self._rows <= rows <= self._rows * 1.05 or len(self._counts) > _COUNTS_MAX:
            self._counts.clear()
            self._rows = rows

    def rows_with(self, db: sqlite3.Connection, vocabulary: str, stem: str) -> int:
        known = self._counts.get((vocabulary, stem))
        if known is None:
            row = db.execute(f"SELECT doc FROM {vocabulary} WHERE term = ?", (stem,)).fetchone()
            if row is None:
                return 0  # not kept: the next import may bring it, and has to be found at once
            known = self._counts[vocabulary, stem] = int(row[0])
        return known


def by_text(
    db: sqlite3.Connection, match: str, side: Side, allowed: Filters, length: int
) -> list[int]:
    """Rows by BM25. The plain look-up first; with the filters inside only if they take too much."""
    ahead = length * (_AHEAD_IN_TIME if allowed.is_time_travel else _AHEAD)
    sql = f"SELECT rowid FROM {side.index} WHERE {side.index} MATCH ? ORDER BY rank LIMIT ?"
    found = [row for (row,) in numbers(db, sql, (match, ahead))]
    kept = allowed.keep(db, side, found)
    if len(kept) >= length or len(found) < ahead:
        return kept[:length]
    filtered = numbers(
        db,
        f"SELECT {side.index}.rowid FROM {side.index}"
        f" JOIN {side.table} ON {side.table}.seq = {side.index}.rowid {side.joins}"
        f" WHERE {side.index} MATCH :match AND {side.condition}"
        f" ORDER BY {side.index}.rank LIMIT :length",
        {**allowed.values, "match": match, "length": length},
    )
    return [row for (row,) in filtered]


def by_vector(
    db: sqlite3.Connection,
    index: SyncedIndex,
    query: Vectors,
    *,
    side: Side,
    allowed: Filters,
    length: int,
) -> list[int]:
    """Rows by cosine. Looks further as long as the filters leave too little."""
    ahead = length * (_AHEAD_IN_TIME if allowed.is_time_travel else _AHEAD)
    while True:
        nearest = index.search(
            query, ahead, scope=allowed.scope, with_hidden=allowed.is_time_travel
        )
        kept = allowed.keep(db, side, nearest.owners.tolist())
        if len(kept) >= length or len(nearest.owners) < ahead:
            return kept[:length]
        ahead *= 4


def supports(
    db: sqlite3.Connection, tiles: Sequence[int], spans: Sequence[int], allowed: Filters
) -> list[tuple[int, int]]:
    """Pairs of tile and span, of these tiles or of these spans, in which both are allowed."""
    pairs = list(
        numbers(
            db,
            "SELECT tile, span FROM provenance"
            " WHERE tile IN (SELECT value FROM json_each(:tiles)) UNION"
            " SELECT tile, span FROM provenance"
            " WHERE span IN (SELECT value FROM json_each(:spans))",
            {"tiles": json.dumps(tiles), "spans": json.dumps(spans)},
        )
    )
    # What is in a list was allowed; the rest has to be asked about.
    others = {tile for tile, _ in pairs}.difference(tiles)
    good_tiles = {*tiles, *allowed.keep(db, allowed.tiles, sorted(others))}
    others = {span for _, span in pairs}.difference(spans)
    good_spans = {*spans, *allowed.keep(db, allowed.spans, sorted(others))}
    return [(tile, span) for tile, span in pairs if tile in good_tiles and span in good_spans]


def sessions(db: sqlite3.Connection, spans: Sequence[int]) -> dict[int, tuple[int, str]]:
    """The source and session of each span; the newest place, where it stands in several."""
    rows = db.execute(
        "SELECT span, source, session FROM revision_spans"
        " JOIN revisions ON revisions.seq = revision_spans.revision"
        " WHERE span IN (SELECT value FROM json_each(?)) ORDER BY revision",
        (json.dumps(spans),),
    )
    return {row[0]: (row[1], row[2]) for row in rows}


def of_period(
    db: sqlite3.Connection,
    side: Side,
    rows: Sequence[int],
    since: float | None,
    until: float | None,
) -> Iterator[int]:
    """Of these rows, those that were said, or happened, within a time."""
    happened = "coalesce(tiles.occurred_from, tiles.said_at)" if side.kind == "tile" else "said_at"
    found = db.execute(
        f"SELECT seq FROM {side.table} WHERE seq IN (SELECT value FROM json_each(:rows))"
        f" AND (:since IS NULL OR {happened} >= :since) AND (:until IS NULL OR {happened} < :until)"
        f" AND {happened} IS NOT NULL",
        {"rows": json.dumps(rows), "since": since, "until": until},
    )
    for row in found:
        yield row[0]
