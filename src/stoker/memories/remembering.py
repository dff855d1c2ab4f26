"""What the stages mean: how a chunk is asked about, and what its answer becomes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from stoker.memories import extraction, lexical
from stoker.memories.ports import MemoryStore
from stoker.memories.records import Answered, ChunkInputs, Stage, StageEffect
from stoker.memories.settings import MemoriesSettings
from stoker.memories.sources import Document
from stoker.memories.tiles import PlacedSpan, Role, TileId

Marking = Callable[[Sequence[PlacedSpan]], Sequence[PlacedSpan]]


class Remembering:
    """Implements `ingest.Handler` over the store."""

    def __init__(self, store: MemoryStore, settings: MemoriesSettings) -> None:
        self._store = store
        self._settings = settings

    @property
    def embedder_name(self) -> str:
        return "none"

    async def ask(self, stage: Stage) -> bytes | None:
        inputs = stage.inputs
        assert isinstance(inputs, ChunkInputs)
        chunk = await self._chunk(inputs)
        return None if chunk is None else extraction.ask(chunk, inputs, self._settings)

    async def interpret(self, answered: Answered) -> StageEffect:
        inputs = answered.stage.inputs
        assert isinstance(inputs, ChunkInputs)
        chunk = await self._chunk(inputs)
        if chunk is None:
            return extraction.erased(answered.stage.key)
        extracted = await asyncio.to_thread(
            extraction.interpret,
            answered.stage.key,
            inputs,
            chunk,
            answered.answer,
            self._settings,
            lexical.similarity,
        )
        return extracted.effect

    async def _chunk(self, inputs: ChunkInputs) -> extraction.Chunk | None:
        ids = [one.span for one in (*inputs.pieces, *inputs.context)]
        spans = await self._store.spans(ids)
        shown = sorted({id for one in spans for id in one.injected})
        statements: dict[TileId, str] = {}
        if shown:
            statements = {tile.id: tile.statement for tile in await self._store.tiles(shown)}
        return extraction.chunk_of(inputs, spans, statements)

    async def injections_behind(self, document: Document) -> Marking:
        """How to mark the turns of a conversation that answered under injected tiles."""
        turns = [block.text for block in document.blocks if block.role is Role.USER]
        if not turns:
            return lambda spans: spans
        found = await self._store.injections(turns)
        return lambda spans: _marked(spans, found)

    async def note_changed(self) -> None:
        """Something was erased or undone."""


def _marked(spans: Sequence[PlacedSpan], found: dict[str, tuple[TileId, ...]]) -> list[PlacedSpan]:
    """Everything from the injected turn to the user's next one was said knowing the tiles."""
    marked: list[PlacedSpan] = []
    shown: tuple[TileId, ...] = ()
    for placed in spans:
        if placed.span.role is Role.USER:
            # What the user says next may repeat what the answer showed.
            before, shown = shown, found.get(placed.span.text, ())
            marked.append(replace(placed, injected=before) if before else placed)
        else:
            marked.append(replace(placed, injected=shown) if shown else placed)
    return marked
