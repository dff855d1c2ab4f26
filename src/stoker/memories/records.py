"""What crosses the memory store's edge: imports, documents, stages of LLM work, and counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NewType

from stoker.memories.merge import Link
from stoker.memories.tiles import (
    PlacedSpan,
    Provenance,
    Source,
    SourceId,
    Span,
    SpanId,
    Status,
    Support,
    Tile,
    TileId,
    TileState,
)

ImportId = NewType("ImportId", str)
StageKey = NewType("StageKey", str)

TILES_AT_ONCE = 64
"""Of one transaction, and at least one answer's. It holds the lock for 40 to 60 ms: those who
import, forget or add wait for it, those who search do not."""


class ImportState(Enum):
    RUNNING = "running"
    PAUSED = "paused"
    """Its spans are found; no more LLM work is begun for it."""
    CANCELLED = "cancelled"
    """Paused for good; what was imported stays."""


class DocumentStatus(Enum):
    IMPORTED = "imported"
    UNCHANGED = "unchanged"
    """The source holds exactly this already: no work at all."""
    SKIPPED = "skipped"
    """It was deleted, and does not come back by itself."""
    FAILED = "failed"
    """It cannot be read; the code says why."""


class StageKind(Enum):
    EXTRACT = "extract"
    JUDGE = "judge"


class StageState(Enum):
    READY = "ready"
    QUEUED = "queued"
    """It is a job now."""
    ANSWERED = "answered"
    """The answer is stored; nobody has interpreted it yet."""
    DONE = "done"
    QUARANTINED = "quarantined"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in _FINAL


_FINAL = frozenset({StageState.DONE, StageState.QUARANTINED, StageState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Piece:
    """A span, or the part of it from `start` to `end` in characters."""

    span: SpanId
    start: int = 0
    end: int | None = None


@dataclass(frozen=True, slots=True)
class ChunkInputs:
    """What an extraction reads: text to extract from, and text before it to understand by."""

    pieces: tuple[Piece, ...]
    context: tuple[Piece, ...] = ()
    variant: str = "extract"
    """Name of the prompt and schema that it is asked with."""


@dataclass(frozen=True, slots=True)
class JudgeInputs:
    """A tile, and those that may say the same or be outdated by it."""

    tile: TileId
    neighbours: tuple[TileId, ...]


@dataclass(frozen=True, slots=True)
class NewStage:
    key: StageKey
    inputs: ChunkInputs | JudgeInputs


@dataclass(frozen=True, slots=True)
class Stage:
    """A piece of LLM work, as it stands."""

    key: StageKey
    kind: StageKind
    state: StageState
    inputs: ChunkInputs | JudgeInputs
    attempts: int
    job_id: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Answered:
    """The next answer to interpret: for which document, and at which place of it."""

    stage: Stage
    answer: bytes
    document: int
    order: str


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document that was read and cut; everything that its import commits."""

    uri: str
    kind: str
    content_hash: str
    bytes_count: int
    importer: str
    observed_at: float | None
    spans: Sequence[PlacedSpan]
    stages: Sequence[NewStage]


@dataclass(frozen=True, slots=True)
class DocumentOutcome:
    uri: str
    status: DocumentStatus
    code: str = ""
    message: str = ""
    source_id: SourceId | None = None
    spans: int = 0
    spans_new: int = 0
    stages_new: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """One more row of a tile's state log."""

    tile_id: TileId
    status: Status
    reason: str
    decided_by: str
    valid_to: float | None = None
    superseded_by: TileId | None = None
    canonical_id: TileId | None = None


@dataclass(frozen=True, slots=True)
class NewTile:
    """A tile with what it rests on, and the state in which it begins."""

    tile: Tile
    provenance: Sequence[Provenance]
    status: Status
    reason: str
    decided_by: str
    vector: bytes | None = None


@dataclass(frozen=True, slots=True)
class StageEffect:
    """Everything that interpreting one answer changes; one transaction."""

    key: StageKey
    state: StageState
    reason: str = ""
    tiles: Sequence[NewTile] = ()
    links: Sequence[Link] = ()
    halves: Sequence[NewStage] = ()
    """What the chunk was split into, because its answer was cut off."""
    judgements: Sequence[NewStage] = ()


Near = Sequence[Sequence[TileId]] | None
"""For each active tile of an effect those whose vectors are nearest, the nearest first; `None`
where there are no vectors."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An answer that was read and checked, and not yet compared with what is known."""

    answered: Answered
    effect: StageEffect
    near: Near = None
    spans: Sequence[SpanId] = ()
    tiles: Sequence[TileId] = ()
    """What was read for it. Where some of that was erased meanwhile, it has to be read again."""


Relate = Callable[[StageEffect, Sequence[Sequence[Tile]]], StageEffect]
"""Adds to an effect how its active tiles relate to those that each of them may say the same as."""


@dataclass(frozen=True, slots=True)
class WorkCounts:
    """How much LLM work there is in each state, and what it has cost."""

    by_state: Mapping[StageState, int]
    prompt_tokens: int
    output_tokens: int
    finished_recently: int = 0
    """Stages answered within the last ten minutes: what an ETA is made from."""
    recent_since: float | None = None
    """When the first of them was answered."""

    @property
    def total(self) -> int:
        return sum(self.by_state.values())

    @property
    def left(self) -> int:
        return sum(count for state, count in self.by_state.items() if not state.is_final)


@dataclass(frozen=True, slots=True)
class ImportView:
    id: ImportId
    label: str
    scope: str
    state: ImportState
    created_at: float
    documents: Mapping[DocumentStatus, int]
    spans: int
    tiles: int
    work: WorkCounts
    is_done: bool


@dataclass(frozen=True, slots=True)
class DocumentView:
    outcome: DocumentOutcome
    work: WorkCounts = field(default_factory=lambda: WorkCounts({}, 0, 0))


@dataclass(frozen=True, slots=True)
class SourceView:
    """A source with its current revision, or a tombstone without one."""

    source: Source
    importer: str | None
    bytes_count: int
    observed_at: float | None
    imported_at: float | None
    spans: int


@dataclass(frozen=True, slots=True)
class SupportView:
    """Words that a tile rests on."""

    span: Span
    uri: str
    quote: str
    support: Support


@dataclass(frozen=True, slots=True)
class TileView:
    tile: Tile
    history: tuple[TileState, ...]
    supports: tuple[SupportView, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A statement or an answer that is kept aside."""

    id: str
    what: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class Stats:
    sources: int
    spans: int
    tiles: Mapping[Status, int]
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Census:
    """How many there were of everything when it was taken."""

    documents: Mapping[DocumentStatus, int]
    documents_open: int
    """Some of their work is not interpreted yet."""
    work: Mapping[StageState, int]
    tiles: Mapping[Status, int]
    refused: Mapping[str, int]
    """Tiles and answers in quarantine, by the code of the reason."""
    without_vector: int
    """Spans and tiles that the embedder in use has not seen yet."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How much was erased."""

    spans: int
    tiles: int
