"""From a document that was read to what its import commits: spans, and extractions to ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stoker.memories import extract
from stoker.memories.extract import Line
from stoker.memories.planning import ImportPlan, plan
from stoker.memories.records import ChunkInputs, NewDocument, NewStage, Piece, StageKey
from stoker.memories.settings import MemoriesSettings
from stoker.memories.sources import Document
from stoker.memories.tiles import PlacedSpan, Role, SpanId, SpanKind, stage_key

EXTRACT = "extract"
_CONTEXT_PIECES_MAX = 4
_WORDS_MIN = 3


def variant_of(settings: MemoriesSettings) -> extract.Variant:
    """Which prompt and schema a model is asked with."""
    return extract.SMALL if settings.is_small else extract.FULL


def variant_named(name: str) -> extract.Variant:
    """The variant of a stage that was planned earlier."""
    return {one.name: one for one in (extract.FULL, extract.SMALL)}[name]


def extraction_key(
    settings: MemoriesSettings, variant: extract.Variant, pieces: Sequence[Piece]
) -> StageKey:
    """The same text, asked of the same model in the same words, is the same work.

    What stands before it is no part of the key: an edit asks only for the chunk that it is in.
    """
    inputs = [f"{one.span}[{one.start}:{one.end}]" for one in pieces]
    prompt, model = extract.fingerprint(variant), settings.model or ""
    return StageKey(stage_key(EXTRACT, extract.VERSION, prompt, model, inputs=inputs))


def prepare(
    document: Document,
    scope: str,
    settings: MemoriesSettings,
    injected: Callable[[Sequence[PlacedSpan]], Sequence[PlacedSpan]] = lambda spans: spans,
) -> NewDocument:
    """Cut it and plan its work. `injected` notes which spans were said under injected tiles."""
    planned = plan(document, scope=scope)
    spans = injected(planned.spans)
    return NewDocument(
        uri=document.uri,
        kind=document.kind,
        content_hash=planned.content_hash,
        bytes_count=sum(len(one.span.text.encode()) for one in spans),
        importer=document.importer,
        observed_at=document.observed_at,
        spans=spans,
        stages=_stages(planned, settings) if settings.does_extract else (),
    )


def _stages(planned: ImportPlan, settings: MemoriesSettings) -> list[NewStage]:
    by_id = {one.span.id: one for one in planned.spans}
    variant = variant_of(settings)
    stages: dict[StageKey, NewStage] = {}
    before: tuple[SpanId, ...] = ()
    for chunk in planned.chunks:
        spans = [by_id[id] for id in chunk.span_ids]
        if any(_is_worth_asking(one, settings) for one in spans) and extract.is_worth_asking(
            [Line(one.span.id, one.span.text, one.span.author) for one in spans], variant
        ):
            pieces = tuple(Piece(id) for id in chunk.span_ids)
            context = tuple(Piece(id) for id in before[-_CONTEXT_PIECES_MAX:])
            key = extraction_key(settings, variant, pieces)
            inputs = ChunkInputs(pieces, context, variant.name)
            stages.setdefault(key, NewStage(key, inputs))
        before = chunk.span_ids
    return list(stages.values())


def _is_worth_asking(placed: PlacedSpan, settings: MemoriesSettings) -> bool:
    """Whether anything may be extracted from it: headings and code are found as they are."""
    span = placed.span
    if span.kind in {SpanKind.HEADING, SpanKind.CODE} or span.role in {Role.SYSTEM, Role.TOOL}:
        return False
    if span.role is Role.ASSISTANT and not settings.has_assistants:
        return False
    return len(span.text.split()) >= _WORDS_MIN
