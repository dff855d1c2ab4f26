"""Which tiles and spans a question may be answered with: scope, kinds, and both times, as SQL."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from stoker.memories.recall.hits import SearchRequest
from stoker.memories.tiles import TileKind

_IS_ASKED_TILE = """
    (:scope IS NULL OR tiles.scope = :scope)
    AND (:kinds IS NULL OR tiles.kind IN (SELECT value FROM json_each(:kinds)))
"""
_HOLDS_NOW = """
    AND tile_heads.status IN ('active', iif(:with_superseded, 'superseded', 'active'))
"""
# What was known then: the last row of each log that had been written by then.
_HOLDS_THEN = """
    AND EXISTS (
        SELECT 1 FROM tile_states AS then_ WHERE then_.tile = tiles.seq
        AND then_.version = (
            SELECT max(version) FROM tile_states
            WHERE tile = tiles.seq AND (:known_at IS NULL OR at <= :known_at)
        )
        AND (
            then_.status = 'active'
            OR then_.status = 'superseded' AND (:with_superseded OR :as_of IS NOT NULL)
        )
        AND (
            :as_of IS NULL
            OR coalesce(tiles.valid_from, tiles.occurred_from, tiles.said_at, :as_of) <= :as_of
            AND (then_.valid_to IS NULL OR then_.valid_to > :as_of)
        )
    )
"""
# A heading says nothing by itself; what stands below it has it for context, and is found by it.
_IS_ASKED_SPAN = """
    (:scope IS NULL OR spans.scope = :scope) AND spans.kind <> 'heading'
    AND (spans.removed_at IS NULL OR :known_at IS NOT NULL AND spans.removed_at > :known_at)
    AND (:known_at IS NULL OR spans.added_at <= :known_at)
    AND (:as_of IS NULL OR spans.said_at IS NULL OR spans.said_at <= :as_of)
"""


@dataclass(frozen=True, slots=True)
class Side:
    """Tiles or spans: their table, their text index, and who of them is asked for."""

    kind: str
    table: str
    index: str
    joins: str
    condition: str


@dataclass(frozen=True, slots=True)
class Filters:
    """What a request allows."""

    tiles: Side
    spans: Side
    scope: str | None
    values: dict[str, object]
    is_time_travel: bool
    """Whether rows that do not hold now may be asked for."""

    def keep(self, db: sqlite3.Connection, side: Side, rows: Sequence[int]) -> list[int]:
        """Of these rows, in their order, those that are allowed."""
        if not rows:
            return []
        allowed = numbers(
            db,
            f"SELECT {side.table}.seq FROM {side.table} {side.joins}"
            f" WHERE {side.table}.seq IN (SELECT value FROM json_each(:rows)) AND {side.condition}",
            {**self.values, "rows": json.dumps(rows)},
        )
        kept = {row for (row,) in allowed}
        return [row for row in rows if row in kept]


def numbers(
    db: sqlite3.Connection, sql: str, values: Mapping[str, object] | Sequence[object]
) -> Iterator[tuple[int, ...]]:
    """Rows of plain numbers: a search reads some hundreds, and names for them cost half of it."""
    cursor = db.cursor()
    cursor.row_factory = None
    rows: Iterator[tuple[int, ...]] = cursor.execute(sql, values)
    return rows


def filters(request: SearchRequest) -> Filters:
    """Translate a request, once for all lists."""
    kinds = [kind.value for kind in request.kinds if isinstance(kind, TileKind)]
    is_time_travel = request.as_of is not None or request.known_at is not None
    holds = _HOLDS_THEN if is_time_travel else _HOLDS_NOW
    heads = "" if is_time_travel else "JOIN tile_heads ON tile_heads.tile = tiles.seq"
    return Filters(
        Side("tile", "tiles", "tiles_fts", heads, _IS_ASKED_TILE + holds),
        Side("span", "spans", "span_contexts_fts", "", _IS_ASKED_SPAN),
        request.scope,
        {
            "scope": request.scope,
            "kinds": json.dumps(sorted(kinds)) if request.kinds else None,
            "with_superseded": request.with_superseded,
            "as_of": request.as_of,
            "known_at": request.known_at,
        },
        is_time_travel or request.with_superseded,
    )
