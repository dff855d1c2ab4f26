"""Short ways to fill a store, shared by the suites."""

from __future__ import annotations

from stoker.memories.records import (
    Answered,
    ChunkInputs,
    DocumentOutcome,
    Draft,
    ImportId,
    NewDocument,
    NewStage,
    NewTile,
    Piece,
    StageEffect,
    StageKey,
    StageState,
)
from stoker.memories.tiles import (
    DEFAULT_SCOPE,
    PlacedSpan,
    Provenance,
    Role,
    Span,
    SpanId,
    SpanKind,
    Status,
    Support,
    Tile,
    TileKind,
    content_hash,
    span_id,
    tile_id,
)

IMPORT = ImportId("imp_1")


def span(text: str, scope: str = DEFAULT_SCOPE) -> Span:
    id = span_id(scope, text, SpanKind.PARAGRAPH, role=Role.DOCUMENT, author="", said_at=None)
    return Span(id, scope, text, SpanKind.PARAGRAPH, Role.DOCUMENT, "", None)


def document(uri: str, *texts: str, stages: bool = True) -> NewDocument:
    """A document of one chunk per paragraph."""
    spans = [PlacedSpan(span(text), order, 0, len(text)) for order, text in enumerate(texts)]
    joined = "\n".join(texts).encode()
    return NewDocument(
        uri=uri,
        kind="text",
        content_hash=content_hash(joined),
        bytes_count=len(joined),
        importer="text/1",
        observed_at=None,
        spans=spans,
        stages=[stage(one.span.id) for one in spans] if stages else [],
    )


def stage(*spans: SpanId) -> NewStage:
    return NewStage(
        StageKey("stg_" + "+".join(spans)), ChunkInputs(tuple(Piece(one) for one in spans))
    )


def tile(statement: str, *spans: Span, status: Status = Status.ACTIVE) -> NewTile:
    """A tile that rests on the whole of each span."""
    id = tile_id(DEFAULT_SCOPE, statement, subject="", kind=TileKind.FACT, valid_from=None)
    supports = [
        Provenance(id, one.id, one.text, 0, len(one.text), Support.VERBATIM) for one in spans
    ]
    new = Tile(id, DEFAULT_SCOPE, statement, TileKind.FACT, subject="")
    return NewTile(new, supports, status, "found", "test")


async def imported(store, *documents: NewDocument, id: ImportId = IMPORT) -> list[DocumentOutcome]:
    """Begin the import if it is not there, and commit the documents."""
    if id not in {one.id for one in await store.imports(100, now=0.0)}:
        await store.create_import(id, "test", DEFAULT_SCOPE, now=1.0)
    return [await store.add_document(id, one, now=2.0) for one in documents]


async def answered(store, *, answer: bytes = b"{}") -> int:
    """Let every ready stage become a job and be answered; returns how many."""
    ready = await store.ready_stages(1000)
    await store.mark_queued([(one.key, f"job-{one.key}") for one in ready])
    for one in ready:
        await store.store_answer(one.key, answer, usage=None, now=3.0)
    return len(ready)


async def taken_in(store, one: Answered, *, embedder: str = "none", **effect: object) -> int:
    """Let an answer bring this, related to nothing else."""
    draft = Draft(one, StageEffect(one.stage.key, StageState.DONE, **effect))
    return await store.apply([draft], lambda effect, _: effect, embedder=embedder, now=5.0)
