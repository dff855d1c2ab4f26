"""From ranked rows to hits: one for each place in a source, with the statement made of it."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from stoker.memories.recall.filters import Filters
from stoker.memories.recall.fusion import Fused, Ranked, Weights
from stoker.memories.recall.hits import Hit
from stoker.memories.tiles import SourceId, SpanId, Status, TileId, TileKind

_TILES = """
    SELECT tiles.*, then_.status, then_.valid_to FROM tiles
    JOIN tile_states AS then_ ON then_.tile = tiles.seq AND then_.version = (
        SELECT max(version) FROM tile_states
        WHERE tile = tiles.seq AND (:known_at IS NULL OR at <= :known_at)
    )
    WHERE tiles.seq IN (SELECT value FROM json_each(:rows))
"""
_SPANS = """
    SELECT spans.*, sources.source_id, sources.uri, revision_spans.session FROM spans
    LEFT JOIN revision_spans ON revision_spans.span = spans.seq
    LEFT JOIN revisions ON revisions.seq = revision_spans.revision
    LEFT JOIN sources ON sources.seq = revisions.source
    WHERE spans.seq IN (SELECT value FROM json_each(:rows)) ORDER BY revision_spans.revision
"""


@dataclass(frozen=True, slots=True)
class Place:
    """What a hit will show: a tile, a span, or a tile where it stands in a span."""

    tile: int | None
    span: int | None
    ranked: Ranked


def places(
    fused: Fused,
    supports: Iterable[tuple[int, int]],
    *,
    listed: frozenset[int],
    with_spans: bool,
    limit: int,
) -> list[Place]:
    """The best `limit`: one for each span and each tile.

    A span is shown by the best tile that was itself found (`listed`), by its own text otherwise;
    each tile once. With `with_spans` off, there are only tiles.
    """
    tiles_of: dict[int, list[int]] = defaultdict(list)
    spans_of: dict[int, list[int]] = defaultdict(list)
    for tile, span in supports:
        if tile in listed or not with_spans:
            tiles_of[span].append(tile)
            spans_of[tile].append(span)
    place_of_tile = {ranked.row: place for place, ranked in enumerate(fused.tiles)}
    shown: set[int] = set()
    found: list[Place] = []
    for ranked in fused.spans:
        fit = [tile for tile in tiles_of.get(ranked.row, ()) if tile not in shown]
        if fit:
            best = min(fit, key=place_of_tile.__getitem__)
            shown.add(best)
            found.append(Place(best, ranked.row, ranked))
        elif with_spans:
            found.append(Place(None, ranked.row, ranked))
        if len(found) == limit:
            break
    alone = (
        ranked
        for ranked in fused.tiles
        if ranked.row not in shown and (ranked.row in listed or not with_spans)
    )
    place_of_span = {ranked.row: place for place, ranked in enumerate(fused.spans)}
    for ranked in islice(alone, limit):
        nearest = min(spans_of.get(ranked.row, ()), key=place_of_span.__getitem__, default=None)
        found.append(Place(ranked.row, nearest, ranked))
    return sorted(found, key=lambda place: -place.ranked.score)[:limit]


def hits(
    db: sqlite3.Connection, chosen: Sequence[Place], allowed: Filters, weights: Weights
) -> list[Hit]:
    """Read what they show, in their order."""
    tiles = _by_row(db, _TILES, allowed, [place.tile for place in chosen if place.tile is not None])
    spans = _by_row(db, _SPANS, allowed, [place.span for place in chosen if place.span is not None])
    quotes = _quotes(db, list(tiles))
    return [
        _span_hit(place, spans[place.span], weights)
        if place.tile is None and place.span is not None
        else _tile_hit(place, _Rows(tiles, spans, quotes), weights)
        for place in chosen
    ]


@dataclass(frozen=True, slots=True)
class _Rows:
    tiles: Mapping[int, sqlite3.Row]
    spans: Mapping[int, sqlite3.Row]
    quotes: Mapping[tuple[int, int], str]


def _tile_hit(place: Place, rows: _Rows, weights: Weights) -> Hit:
    assert place.tile is not None
    tile = rows.tiles[place.tile]
    span = None if place.span is None else rows.spans[place.span]
    return Hit(
        id=TileId(tile["tile_id"]),
        kind=TileKind(tile["kind"]),
        statement=tile["statement"],
        quote="" if place.span is None else rows.quotes.get((place.tile, place.span), ""),
        span_id=None if span is None else SpanId(span["span_id"]),
        source_id=_source(span),
        uri=None if span is None else span["uri"],
        session="" if span is None else span["session"] or "",
        author="" if span is None else span["author"],
        said_at=tile["said_at"],
        valid_from=tile["valid_from"],
        valid_to=tile["valid_to"],
        status=Status(tile["status"]),
        level=tile["level"],
        entities=tuple(json.loads(tile["entities"])),
        score=place.ranked.score,
        votes=place.ranked.votes(weights),
    )


def _span_hit(place: Place, span: sqlite3.Row, weights: Weights) -> Hit:
    return Hit(
        id=SpanId(span["span_id"]),
        kind=None,
        statement=span["text"],
        quote=span["text"],
        span_id=SpanId(span["span_id"]),
        source_id=_source(span),
        uri=span["uri"],
        session=span["session"] or "",
        author=span["author"],
        said_at=span["said_at"],
        valid_from=span["said_at"],
        valid_to=None,
        status=Status.ACTIVE,
        level=0,
        entities=(),
        score=place.ranked.score,
        votes=place.ranked.votes(weights),
    )


def _source(span: sqlite3.Row | None) -> SourceId | None:
    return None if span is None or span["source_id"] is None else SourceId(span["source_id"])


def _by_row(
    db: sqlite3.Connection, sql: str, allowed: Filters, rows: Sequence[int]
) -> dict[int, sqlite3.Row]:
    values = {**allowed.values, "rows": json.dumps(rows)}
    return {row["seq"]: row for row in db.execute(sql, values)}


def _quotes(db: sqlite3.Connection, tiles: Sequence[int]) -> dict[tuple[int, int], str]:
    rows = db.execute(
        "SELECT tile, span, quote FROM provenance WHERE tile IN (SELECT value FROM json_each(?))",
        (json.dumps(tiles),),
    )
    return {(row["tile"], row["span"]): row["quote"] for row in rows}
