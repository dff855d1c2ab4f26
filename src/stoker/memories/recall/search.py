"""One search over one connection: parse, look up in every list, fuse, choose, read."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING

from stoker.memories.dates import mentions
from stoker.memories.recall import assemble, fusion, lists
from stoker.memories.recall.diversity import Candidate, diverse, tokens_of, within_budget
from stoker.memories.recall.filters import Filters, filters
from stoker.memories.recall.fusion import Lists, Weights, fuse
from stoker.memories.recall.hits import VERBATIM, Hit, SearchAnswer, SearchRequest
from stoker.memories.recall.query import Query, Stemmer, match_expression, parse, rarest

if TYPE_CHECKING:
    from stoker.memories.recall.sync import SyncedIndex
    from stoker.memories.recall.vectors import Vectors

_LENGTH_MIN = 80
"""Rows per list. What is further down has less than an eighth of a first place's points."""
_SPARE = 12
"""So many more hits than asked for are weighed against each other for repetition."""


@dataclass(frozen=True, slots=True)
class Terms:
    """A query with how many rows hold each of its words, in spans and in tiles."""

    query: Query
    stems: Mapping[str, str]
    in_spans: Mapping[str, int]
    in_tiles: Mapping[str, int]
    spans: int

    def weights(self) -> dict[str, float]:
        """How much each word says, for embedders that can use it: 1 for a word that is nowhere."""
        return {
            word: 1 / (1 + 20 * count / max(self.spans, 1)) for word, count in self.in_spans.items()
        }


@dataclass(frozen=True, slots=True)
class Model:
    """One embedder's indexes, and the query as it sees it."""

    tiles: SyncedIndex
    spans: SyncedIndex
    query: Vectors


def look_up(db: sqlite3.Connection, text: str, stemmer: Stemmer, counts: lists.TermCounts) -> Terms:
    """Take a question apart and count its words."""
    query = parse(text)
    spans, tiles = db.execute(
        "SELECT (SELECT coalesce(max(seq), 0) FROM spans),"
        " (SELECT coalesce(max(seq), 0) FROM tiles)"
    ).fetchone()
    counts.begin(spans + tiles)
    stems = dict(zip(query.words, stemmer.stems(query.words), strict=True))
    return Terms(
        query,
        stems,
        {word: counts.rows_with(db, "span_terms", stem) for word, stem in stems.items()},
        {word: counts.rows_with(db, "tile_terms", stem) for word, stem in stems.items()},
        spans,
    )


def search(
    db: sqlite3.Connection,
    request: SearchRequest,
    terms: Terms,
    models: Sequence[Model],
    *,
    weights: Weights,
    now: float,
) -> SearchAnswer:
    """The best hits. `models` may be empty: then text alone decides."""
    allowed = filters(request)
    with_spans = not request.kinds or VERBATIM in request.kinds
    is_verbatim = request.kinds == {VERBATIM}
    length = max(_LENGTH_MIN, 2 * request.limit)
    found = _find(db, terms, models, allowed, length, with_spans=with_spans)
    found = _with_period(db, found, request.query, allowed, now)
    fused = fuse(found, weights)
    listed = frozenset(row for rows in found.tiles.values() for row in rows)
    places = assemble.places(
        fused,
        found.supports,
        listed=frozenset() if is_verbatim else listed,
        with_spans=with_spans,
        limit=request.limit + _SPARE,
    )
    hits = assemble.hits(db, places, allowed, weights)
    return SearchAnswer(
        tuple(_chosen(hits, request, weights)),
        lists=(*found.spans, *found.tiles),
        terms=tuple(dict.fromkeys((*_rare(terms.in_spans), *_rare(terms.in_tiles)))),
        models=tuple(model.tiles.model for model in models),
    )


def _find(
    db: sqlite3.Connection,
    terms: Terms,
    models: Sequence[Model],
    allowed: Filters,
    length: int,
    *,
    with_spans: bool,
) -> Lists:
    spans: dict[str, Sequence[int]] = {}
    tiles: dict[str, Sequence[int]] = {}
    for name, into, side, counts in (
        (fusion.SPANS_TEXT, spans, allowed.spans, terms.in_spans),
        (fusion.TILES_TEXT, tiles, allowed.tiles, terms.in_tiles),
    ):
        match = match_expression(_rare(counts), terms.query.phrases)
        if match is not None:
            into[name] = lists.by_text(db, match, side, allowed, length)
    for model in models:
        for name, into, side, index in (
            (fusion.SPANS_VECTORS, spans, allowed.spans, model.spans),
            (fusion.TILES_VECTORS, tiles, allowed.tiles, model.tiles),
        ):
            into[f"{name}:{index.model}"] = lists.by_vector(
                db, index, model.query, side=side, allowed=allowed, length=length
            )
    rows_of_spans = sorted({row for rows in spans.values() for row in rows})
    rows_of_tiles = sorted({row for rows in tiles.values() for row in rows})
    # Where verbatim text is shown, a statement that nobody found does not take its place.
    pairs = lists.supports(db, rows_of_tiles, () if with_spans else rows_of_spans, allowed)
    all_spans = sorted({*rows_of_spans, *(span for _, span in pairs)})
    return Lists(spans, tiles, pairs, lists.sessions(db, all_spans))


def _rare(counts: Mapping[str, int]) -> tuple[str, ...]:
    return rarest(list(counts), counts)


def _with_period(
    db: sqlite3.Connection, found: Lists, query: str, allowed: Filters, now: float
) -> Lists:
    said = mentions(query, datetime.fromtimestamp(now, UTC).date())
    period = next((mention for mention in said if mention.is_resolved), None)
    if period is None:
        return found
    since, until = _midnight(period.occurred_a), _midnight(period.occurred_b)
    rows_of_spans = sorted(
        {*found.sessions, *(row for rows in found.spans.values() for row in rows)}
    )
    rows_of_tiles = sorted({row for rows in found.tiles.values() for row in rows})
    return Lists(
        found.spans,
        found.tiles,
        found.supports,
        found.sessions,
        frozenset(lists.of_period(db, allowed.spans, rows_of_spans, since, until)),
        frozenset(lists.of_period(db, allowed.tiles, rows_of_tiles, since, until)),
    )


def _midnight(day: date | None) -> float | None:
    return None if day is None else datetime.combine(day, time(), UTC).timestamp()


def _chosen(hits: Sequence[Hit], request: SearchRequest, weights: Weights) -> list[Hit]:
    candidates = [Candidate(hit.statement, hit.score) for hit in hits]
    order = [hits[at] for at in diverse(candidates, request.limit, weights.repetition)]
    sizes = [
        tokens_of(hit.statement, "" if hit.quote == hit.statement else hit.quote) for hit in order
    ]
    return [order[at] for at in within_budget(sizes, request.token_budget)]
