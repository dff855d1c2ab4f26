"""What a search is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from stoker.memories.tiles import SourceId, SpanId, Status, TileId, TileKind

VERBATIM = "verbatim"
"""Beside the kinds of tiles, the kind that asks for text as it was imported."""


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A question, and what may answer it."""

    query: str
    scope: str | None = None
    """`None`: everything that there is."""
    limit: int = 10
    token_budget: int | None = None
    """At most about so many tokens of statements and quotes; the first hit comes in any case."""
    kinds: frozenset[TileKind | str] = frozenset()
    """Empty: all of them, and `VERBATIM`."""
    as_of: float | None = None
    """What was true of the world then (wall seconds), superseded since or not."""
    known_at: float | None = None
    """What was in the store then, as it was judged then."""
    with_superseded: bool = False


@dataclass(frozen=True, slots=True)
class Vote:
    """Why a hit is where it is: which list had it, at which place from 1, and what that counted."""

    list: str
    rank: int
    points: float


@dataclass(frozen=True, slots=True)
class Hit:
    """One statement, or one piece of verbatim text, with where it is from and when it held."""

    id: TileId | SpanId
    kind: TileKind | None
    """`None`: verbatim text."""
    statement: str
    quote: str
    span_id: SpanId | None
    source_id: SourceId | None
    uri: str | None
    session: str
    author: str
    said_at: float | None
    valid_from: float | None
    valid_to: float | None
    status: Status
    level: int
    entities: tuple[str, ...]
    score: float
    votes: tuple[Vote, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    hits: tuple[Hit, ...]
    lists: tuple[str, ...] = ()
    """Which lists took part: without an embedder there are only those of text."""
    terms: tuple[str, ...] = ()
    """What was looked up in the text index."""
    models: tuple[str, ...] = field(default=())
    took_ms: float = 0.0
