"""The JSON shapes of `/v1/memories`, and how records become them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from stoker.memories.recall.hits import Hit, SearchAnswer
from stoker.memories.records import (
    DocumentOutcome,
    DocumentView,
    ImportView,
    Refusal,
    SourceView,
    StageState,
    Stats,
    TileView,
    WorkCounts,
)
from stoker.memories.tiles import DEFAULT_SCOPE, Tile, TileState

Json = dict[str, Any]
_Name = Annotated[str, Meta(min_length=1, max_length=200)]
_Query = Annotated[str, Meta(min_length=1, max_length=10_000)]


class SearchBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a search may be asked."""

    query: _Query
    scope: _Name | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 10
    token_budget: Annotated[int, Meta(ge=1)] | None = None
    kinds: list[str] = []
    as_of: float | str | None = None
    known_at: float | str | None = None
    with_superseded: bool = False
    explain: bool = False


class AddBody(msgspec.Struct, forbid_unknown_fields=True):
    """A statement that somebody wants to be remembered."""

    statement: Annotated[str, Meta(min_length=1, max_length=2000)]
    scope: _Name = DEFAULT_SCOPE
    kind: str = "fact"
    subject: Annotated[str, Meta(max_length=200)] = ""
    entities: Annotated[list[_Name], Meta(max_length=50)] = []
    valid_from: float | str | None = None
    observed_at: float | str | None = None
    author: Annotated[str, Meta(max_length=200)] = ""


class ForgetBody(msgspec.Struct, forbid_unknown_fields=True):
    """A source, a span or a tile to erase."""

    id: _Name


def import_document(view: ImportView, *, eta_s: float | None) -> Json:
    """An import and how far it is."""
    return {
        "id": view.id,
        "object": "memories.import",
        "label": view.label,
        "scope": view.scope,
        "state": view.state.value,
        "is_done": view.is_done,
        "created_at": view.created_at,
        "documents": {status.value: count for status, count in view.documents.items()},
        "spans": view.spans,
        "tiles": view.tiles,
        "work": work_document(view.work, eta_s=eta_s),
    }


def work_document(work: WorkCounts, *, eta_s: float | None) -> Json:
    """LLM work: how much in each state, what it has cost, when it will be done."""
    return {
        "total": work.total,
        "left": work.left,
        **{state.value: work.by_state.get(state, 0) for state in StageState},
        "prompt_tokens": work.prompt_tokens,
        "output_tokens": work.output_tokens,
        "eta_s": eta_s,
    }


def outcome_document(outcome: DocumentOutcome) -> Json:
    """What became of one document."""
    error = {"code": outcome.code, "message": outcome.message} if outcome.code else None
    return {
        "uri": outcome.uri,
        "status": outcome.status.value,
        "source_id": outcome.source_id,
        "spans": outcome.spans,
        "error": error,
    }


def progress_document(view: DocumentView) -> Json:
    """One document of an import with its own progress."""
    return {**outcome_document(view.outcome), "work": work_document(view.work, eta_s=None)}


def source_document(view: SourceView) -> Json:
    source = view.source
    return {
        "id": source.id,
        "object": "memories.source",
        "uri": source.uri,
        "kind": source.kind,
        "scope": source.scope,
        "added_at": source.added_at,
        "deleted_at": source.deleted_at,
        "importer": view.importer,
        "bytes": view.bytes_count,
        "observed_at": view.observed_at,
        "imported_at": view.imported_at,
        "spans": view.spans,
    }


def tile_document(view: TileView) -> Json:
    """A tile with its log and the words that it rests on."""
    return {
        **_tile(view.tile),
        "status": view.history[-1].status.value,
        "history": [state_document(state) for state in view.history],
        "quotes": [
            {
                "quote": one.quote,
                "span_id": one.span.id,
                "text": one.span.text,
                "author": one.span.author,
                "said_at": one.span.said_at,
                "uri": one.uri,
                "support": one.support.value,
            }
            for one in view.supports
        ],
    }


def _tile(tile: Tile) -> Json:
    return {
        "id": tile.id,
        "object": "memories.tile",
        "scope": tile.scope,
        "statement": tile.statement,
        "kind": tile.kind.value,
        "subject": tile.subject,
        "entities": list(tile.entities),
        "said_at": tile.said_at,
        "occurred_from": tile.occurred_from,
        "occurred_to": tile.occurred_to,
        "valid_from": tile.valid_from,
        "confidence": tile.confidence,
        "level": tile.level,
        "extractor": tile.extractor,
    }


def state_document(state: TileState) -> Json:
    """One decision about a tile."""
    return {
        "version": state.version,
        "status": state.status.value,
        "valid_to": state.valid_to,
        "superseded_by": state.superseded_by,
        "canonical_id": state.canonical_id,
        "reason": state.reason,
        "decided_by": state.decided_by,
        "at": state.at,
    }


def hit_document(hit: Hit, *, is_explained: bool) -> Json:
    """One hit: statement, quote, source, validity."""
    document: Json = {
        "id": hit.id,
        "kind": "verbatim" if hit.kind is None else hit.kind.value,
        "statement": hit.statement,
        "quote": hit.quote,
        "source": {"id": hit.source_id, "uri": hit.uri, "span_id": hit.span_id},
        "author": hit.author,
        "said_at": hit.said_at,
        "valid_from": hit.valid_from,
        "valid_to": hit.valid_to,
        "status": hit.status.value,
        "score": hit.score,
    }
    if is_explained:
        document["votes"] = [
            {"list": vote.list, "rank": vote.rank, "points": vote.points} for vote in hit.votes
        ]
    return document


def answer_document(answer: SearchAnswer, *, is_explained: bool) -> Json:
    """All hits, with how they were found if that was asked."""
    document: Json = {
        "object": "list",
        "data": [hit_document(hit, is_explained=is_explained) for hit in answer.hits],
    }
    if is_explained:
        document["explain"] = {
            "lists": list(answer.lists),
            "terms": list(answer.terms),
            "models": list(answer.models),
        }
    return document


def refusal_document(refusal: Refusal) -> Json:
    return {
        "id": refusal.id,
        "what": refusal.what,
        "reason": refusal.reason,
        "at": refusal.at,
    }


def stats_document(stats: Stats, work: WorkCounts, guards: dict[str, int]) -> Json:
    """How much there is, and how far the work on it is."""
    return {
        "object": "memories.stats",
        "sources": stats.sources,
        "spans": stats.spans,
        "tiles": {status.value: count for status, count in stats.tiles.items()},
        "scopes": list(stats.scopes),
        "work": work_document(work, eta_s=None),
        "guards": guards,
    }
