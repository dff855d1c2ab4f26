"""From rows to the plain types."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from stoker.memories.records import (
    ChunkInputs,
    JudgeInputs,
    Piece,
    Stage,
    StageKey,
    StageKind,
    StageState,
)
from stoker.memories.tiles import (
    Role,
    Source,
    SourceId,
    Span,
    SpanId,
    SpanKind,
    Status,
    Tile,
    TileId,
    TileKind,
    TileState,
)

STANDING = "('active', 'merged', 'superseded')"
"""The states in which a tile is compared with others."""
# Dictionaries, for they are four times as fast as the classes, and rows are many.
_TILE_KINDS = {kind.value: kind for kind in TileKind}
_SPAN_KINDS = {kind.value: kind for kind in SpanKind}
_ROLES = {role.value: role for role in Role}


def as_json(value: object) -> str:
    """A list of ids as a parameter for `json_each`, or as it is kept: a tenth of `json.dumps`."""
    return msgspec.json.encode(value).decode()


def tile_ids(text: str) -> tuple[TileId, ...]:
    return tuple(map(TileId, _strings(text)))


def _strings(text: str) -> tuple[str, ...]:
    return () if text == "[]" else msgspec.json.decode(text, type=tuple[str, ...])


def to_source(row: sqlite3.Row) -> Source:
    return Source(
        SourceId(row["source_id"]),
        row["uri"],
        row["kind"],
        row["scope"],
        row["added_at"],
        row["deleted_at"],
    )


def to_span(row: sqlite3.Row) -> Span:
    return Span(
        SpanId(row["span_id"]),
        row["scope"],
        row["text"],
        _SPAN_KINDS[row["kind"]],
        _ROLES[row["role"]],
        row["author"],
        row["said_at"],
    )


def to_tile(row: sqlite3.Row) -> Tile:
    return Tile(
        id=TileId(row["tile_id"]),
        scope=row["scope"],
        statement=row["statement"],
        kind=_TILE_KINDS[row["kind"]],
        subject=row["subject"],
        predicate=row["predicate"],
        object=row["object"],
        entities=_strings(row["entities"]),
        said_at=row["said_at"],
        occurred_from=row["occurred_from"],
        occurred_to=row["occurred_to"],
        valid_from=row["valid_from"],
        confidence=row["confidence"],
        level=row["level"],
        extractor=row["extractor"],
        language=row["language"],
    )


def to_state(row: sqlite3.Row) -> TileState:
    return TileState(
        TileId(row["tile_id"]),
        row["version"],
        Status(row["status"]),
        row["valid_to"],
        None if row["superseded_by"] is None else TileId(row["superseded_by"]),
        None if row["canonical_id"] is None else TileId(row["canonical_id"]),
        row["reason"],
        row["decided_by"],
        row["at"],
    )


def to_stage(row: sqlite3.Row) -> Stage:
    kind = StageKind(row["kind"])
    return Stage(
        StageKey(row["stage_key"]),
        kind,
        StageState(row["state"]),
        _inputs(kind, row["inputs"]),
        row["attempts"],
        row["job_id"],
        row["reason"],
    )


def from_inputs(inputs: ChunkInputs | JudgeInputs) -> str:
    """The JSON in which inputs are kept."""
    match inputs:
        case ChunkInputs(pieces=pieces, context=context, variant=variant):
            plain = {"pieces": _plain(pieces), "context": _plain(context), "variant": variant}
            return as_json(plain)
        case JudgeInputs(tile=tile, neighbours=neighbours):
            return as_json({"tile": tile, "neighbours": neighbours})


def _inputs(kind: StageKind, text: str) -> ChunkInputs | JudgeInputs:
    raw = msgspec.json.decode(text)
    if kind is StageKind.EXTRACT:
        return ChunkInputs(_pieces(raw["pieces"]), _pieces(raw["context"]), raw["variant"])
    return JudgeInputs(TileId(raw["tile"]), tuple(TileId(id) for id in raw["neighbours"]))


def _plain(pieces: Sequence[Piece]) -> list[list[object]]:
    return [[one.span, one.start, one.end] for one in pieces]


def _pieces(raw: Sequence[tuple[str, int, int | None]]) -> tuple[Piece, ...]:
    return tuple(Piece(SpanId(id), start, end) for id, start, end in raw)
