"""Several ranked lists to one: weighted reciprocal ranks, and votes between tiles and their spans.

Pure arithmetic over row numbers. No list gates another: whoever is in one of them is in the result.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass

from stoker.memories.recall.hits import Vote

SPANS_TEXT = "spans_text"
SPANS_VECTORS = "spans_vectors"
TILES_TEXT = "tiles_text"
TILES_VECTORS = "tiles_vectors"
SESSION = "session"
PERIOD = "period"


@dataclass(frozen=True, slots=True)
class Weights:
    """How much a place in each list counts.

    Tuned on LoCoMo's conversations 0 to 4 for the recall at 10 and 50, reported on 5 to 9:
    benchmarks/README.md.
    """

    spans_text: float = 1.4
    spans_vectors: float = 1.0
    tiles_text: float = 0.5
    tiles_vectors: float = 1.0
    session: float = 1.2
    """For the place of the session, ranked by its best spans: neighbours of what was found."""
    period: float = 0.5
    """For being of the time that the question names."""
    repetition: float = 0.2
    """What a copy of a better hit loses, as a share of the best hit's points."""
    session_spans: int = 5
    """How many of its best spans speak for a session."""
    k: float = 10.0
    """Points for place r are weight / (k + r). 60, the usual, was worse: it flattens the top."""

    def points(self, name: str, rank: int) -> float:
        """What a place counts in a list, whichever model it is of: `tiles_vectors:MODEL`."""
        return self.of(name) / (self.k + rank)

    def of(self, name: str) -> float:
        """The weight of a list."""
        weight: float = getattr(self, name.partition(":")[0])
        return weight


@dataclass(frozen=True, slots=True)
class Lists:
    """What was found, by row number, best first, and how the rows hang together."""

    spans: Mapping[str, Sequence[int]]
    tiles: Mapping[str, Sequence[int]]
    supports: Collection[tuple[int, int]]
    """Pairs of a tile and a span that it rests on."""
    sessions: Mapping[int, Hashable]
    """The session of each span; spans that are missing here belong to none."""
    spans_of_period: Collection[int] = ()
    tiles_of_period: Collection[int] = ()


@dataclass(frozen=True, slots=True)
class Ranked:
    row: int
    score: float
    ranks: Mapping[str, int]
    """Its place in each list, from 1."""

    def votes(self, weights: Weights) -> tuple[Vote, ...]:
        """The same with what each place counted, the most first."""
        votes = [Vote(name, rank, weights.points(name, rank)) for name, rank in self.ranks.items()]
        return tuple(sorted(votes, key=lambda vote: (-vote.points, vote.list)))


@dataclass(frozen=True, slots=True)
class Fused:
    spans: tuple[Ranked, ...]
    tiles: tuple[Ranked, ...]


def fuse(lists: Lists, weights: Weights) -> Fused:
    """Rank spans and tiles by all lists at once; ties by row number."""
    scale = _scale(lists, weights)
    own_spans = _own_ranks(lists.spans)
    own_tiles = _own_ranks(lists.tiles)
    _add_period(own_spans, lists.spans_of_period, scale)
    _add_period(own_tiles, lists.tiles_of_period, scale)
    spans = {span: dict(ranks) for span, ranks in own_spans.items()}
    tiles = {tile: dict(ranks) for tile, ranks in own_tiles.items()}
    for tile, span in lists.supports:
        _improve(spans.setdefault(span, {}), own_tiles.get(tile))
    _add_sessions(spans, lists.sessions, scale, weights.session_spans)
    for tile, span in lists.supports:
        # Only what the span has of its own: a tile does not vote for another by way of their span.
        _improve(tiles.setdefault(tile, {}), own_spans.get(span))
        _improve(tiles[tile], {SESSION: spans[span][SESSION]} if SESSION in spans[span] else None)
    return Fused(_ranked(spans, scale), _ranked(tiles, scale))


_Ranks = dict[str, int]
_Scale = Mapping[str, float]
_K = "k"


def _scale(lists: Lists, weights: Weights) -> _Scale:
    """The weight of each list by its full name, looked up once rather than for each row."""
    names = (*lists.spans, *lists.tiles, SESSION, PERIOD)
    return {_K: weights.k, **{name: weights.of(name) for name in names}}


def _own_ranks(lists: Mapping[str, Sequence[int]]) -> dict[int, _Ranks]:
    ranks: dict[int, _Ranks] = defaultdict(dict)
    for name, rows in lists.items():
        for rank, row in enumerate(rows, start=1):
            ranks[row].setdefault(name, rank)
    return ranks


def _improve(ranks: _Ranks, others: Mapping[str, int] | None) -> None:
    """From each list the better place: many tiles of one span do not add up."""
    for name, rank in (others or {}).items():
        if rank < ranks.get(name, rank + 1):
            ranks[name] = rank


def _add_period(ranks: dict[int, _Ranks], rows: Collection[int], scale: _Scale) -> None:
    """A time is no list of its own: it ranks what others found."""
    inside = sorted(
        (row for row in ranks if row in rows), key=lambda row: _order(row, ranks, scale)
    )
    for rank, row in enumerate(inside, start=1):
        ranks[row][PERIOD] = rank


def _add_sessions(
    spans: dict[int, _Ranks], sessions: Mapping[int, Hashable], scale: _Scale, depth: int
) -> None:
    points: dict[Hashable, list[float]] = defaultdict(list)
    for span in sorted(spans):
        if span in sessions:
            points[sessions[span]].append(_points(spans[span], scale))
    best = {session: sum(sorted(each, reverse=True)[:depth]) for session, each in points.items()}
    # `best` keeps the order of the spans' rows, so equal sessions come in the order of arrival.
    order = sorted(best, key=lambda session: -best[session])
    place = {session: rank for rank, session in enumerate(order, start=1)}
    for span, ranks in spans.items():
        if span in sessions:
            ranks[SESSION] = place[sessions[span]]


def _points(ranks: Mapping[str, int], scale: _Scale) -> float:
    total = 0.0
    for name, rank in ranks.items():
        total += scale[name] / (scale[_K] + rank)
    return total


def _order(row: int, ranks: Mapping[int, _Ranks], scale: _Scale) -> tuple[float, int]:
    return -_points(ranks[row], scale), row


def _ranked(found: Mapping[int, _Ranks], scale: _Scale) -> tuple[Ranked, ...]:
    rows = [Ranked(row, _points(ranks, scale), ranks) for row, ranks in found.items()]
    return tuple(sorted(rows, key=lambda ranked: (-ranked.score, ranked.row)))
