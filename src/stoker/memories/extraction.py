"""An extraction from first to last: the request for a chunk, and the tiles in its answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

import msgspec

from stoker.memories import answers, extract
from stoker.memories.extract import Line
from stoker.memories.guards import GuardRules, Verdict, judge
from stoker.memories.importing import extraction_key, variant_named
from stoker.memories.records import (
    ChunkInputs,
    NewStage,
    NewTile,
    Piece,
    StageEffect,
    StageKey,
    StageState,
)
from stoker.memories.settings import MemoriesSettings
from stoker.memories.tiles import (
    PlacedSpan,
    Provenance,
    SpanId,
    Status,
    Tile,
    TileId,
    TileKind,
    tile_id,
)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk's text, as extraction and guards read it."""

    lines: tuple[Line, ...]
    before: tuple[Line, ...]
    spans: Mapping[SpanId, PlacedSpan]


@dataclass(frozen=True, slots=True)
class Extracted:
    """What an answer gave, before it is compared with what is known."""

    effect: StageEffect
    guards: Counter[str]
    """How often each guard decided."""


def chunk_of(
    inputs: ChunkInputs,
    by_id: Mapping[SpanId, PlacedSpan],
    statements: Mapping[TileId, str],
) -> Chunk | None:
    """Read a chunk; `None` where all of its text was erased.

    `statements`: of the tiles that were injected behind its spans.
    """

    def line(piece: Piece) -> Line:
        placed = by_id[piece.span]
        span = placed.span
        return Line(
            span.id,
            span.text[piece.start : piece.end],
            span.author,
            span.role,
            tuple(statements[id] for id in placed.injected if id in statements),
            _day(_said_at(placed)),
            piece.start,
        )

    lines = tuple(line(one) for one in inputs.pieces if one.span in by_id)
    before = tuple(line(one) for one in inputs.context if one.span in by_id)
    spans = {id: by_id[id] for one in inputs.pieces if (id := one.span) in by_id}
    return Chunk(lines, before, spans) if lines else None


def ask(chunk: Chunk, inputs: ChunkInputs, settings: MemoriesSettings) -> bytes:
    """The request body."""
    return msgspec.json.encode(
        extract.request(
            chunk.lines,
            chunk.before,
            model=settings.model,
            variant=variant_named(inputs.variant),
            is_strict_openai=settings.is_strict_openai,
        )
    )


def interpret(
    key: StageKey,
    inputs: ChunkInputs,
    chunk: Chunk,
    answer: bytes,
    settings: MemoriesSettings,
    similarity: Callable[[str, str], float],
) -> Extracted:
    """Take the tiles out of an answer: what the guards let pass, and what they keep aside."""
    text, finish_reason = message(answer)
    variant = variant_named(inputs.variant)
    claims, parsed = extract.read(text, chunk.lines, variant, finish_reason=finish_reason)
    rules = GuardRules(has_assistants=settings.has_assistants)
    verdicts = judge(claims, chunk.lines, chunk.before, rules=rules, similarity=similarity)
    tiles = [
        _tile(key, chunk, verdict)
        for verdict in verdicts
        if verdict.guard.is_accepted or verdict.guard.is_quarantined
    ]
    state, reason = StageState.DONE, parsed.outcome.value
    halves: tuple[NewStage, ...] = ()
    match parsed.next_step(sum(len(line.text) for line in chunk.lines)):
        case answers.NextStep.SPLIT:
            halves = _halves(inputs, chunk, settings)
        case answers.NextStep.GIVE_UP if not parsed.entries:
            state, reason = StageState.QUARANTINED, _unusable(finish_reason)
        case _:
            pass
    effect = StageEffect(key, state, reason, tiles=_unique(tiles), halves=halves)
    return Extracted(effect, Counter(verdict.guard.value for verdict in verdicts))


def erased(key: StageKey) -> StageEffect:
    """What follows from an answer about text that was erased meanwhile."""
    return StageEffect(key, StageState.CANCELLED, "its text was erased")


def _tile(key: StageKey, chunk: Chunk, verdict: Verdict) -> NewTile:
    claim = verdict.claim
    statement = verdict.statement or claim.statement
    placed = chunk.spans.get(SpanId(verdict.span_id))
    scope = next(iter(chunk.spans.values())).span.scope
    said_at = None if placed is None else _said_at(placed)
    occurred_from, occurred_to = _interval(verdict)
    valid_from = occurred_from if occurred_from is not None else said_at
    id = tile_id(
        scope, statement, subject=claim.subject, kind=claim.kind, valid_from=_identity_of(verdict)
    )
    tile = Tile(
        id=id,
        scope=scope,
        statement=statement,
        kind=claim.kind,
        subject=claim.subject,
        said_at=said_at,
        occurred_from=occurred_from,
        occurred_to=occurred_to,
        valid_from=valid_from,
        extractor=key,
    )
    if not verdict.guard.is_accepted:
        reason = (
            f"{verdict.guard.value}: {verdict.detail}" if verdict.detail else verdict.guard.value
        )
        return NewTile(tile, (), Status.QUARANTINED, reason, f"guard:{verdict.guard.value}")
    rests_on = Provenance(
        id,
        SpanId(verdict.span_id),
        verdict.quote,
        verdict.quote_a,
        verdict.quote_b,
        verdict.support,
    )
    return NewTile(tile, (rests_on,), Status.ACTIVE, "extracted", key)


def _identity_of(verdict: Verdict) -> float | None:
    """An event on another day is another event; a fact said again on another day is the same."""
    return _interval(verdict)[0] if verdict.claim.kind is TileKind.EVENT else None


def _interval(verdict: Verdict) -> tuple[float | None, float | None]:
    when = verdict.when
    return (
        (None, None) if when is None else (_midnight(when.occurred_a), _midnight(when.occurred_b))
    )


def _unique(tiles: Sequence[NewTile]) -> list[NewTile]:
    found: dict[TileId, NewTile] = {}
    for new in tiles:
        first = found.setdefault(new.tile.id, new)
        if first is not new and first.status is not Status.ACTIVE:
            found[new.tile.id] = new
    return list(found.values())


def _halves(inputs: ChunkInputs, chunk: Chunk, settings: MemoriesSettings) -> tuple[NewStage, ...]:
    parts = extract.split(chunk.lines)
    if parts is None:
        return ()
    variant = variant_named(inputs.variant)
    halves = []
    context = inputs.context
    for part in parts:
        pieces = tuple(
            Piece(SpanId(line.span_id), line.at, line.at + len(line.text)) for line in part
        )
        if extract.is_worth_asking(part, variant):
            new = replace(inputs, pieces=pieces, context=context)
            halves.append(NewStage(extraction_key(settings, variant, pieces), new))
        context = pieces
    return tuple(halves)


def message(answer: bytes) -> tuple[str, str | None]:
    """The text of a chat completion, and why it ended. Anything else is an empty answer."""
    try:
        choice = msgspec.json.decode(answer, type=_Completion).choices[0]
    except (msgspec.DecodeError, IndexError):
        return "", None
    return choice.message.content or "", choice.finish_reason


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]


def _unusable(finish_reason: str | None) -> str:
    if finish_reason == "length":
        return "truncated: the answer was cut off before its first entry was whole"
    return "not_json: the answer holds no list of entries"


def _said_at(placed: PlacedSpan) -> float | None:
    """When it was said; a document says all of itself when it was true."""
    own = placed.span.said_at
    return own if own is not None else placed.observed_at


def _day(at: float | None) -> date | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).date()


def _midnight(day: date | None) -> float | None:
    return None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
