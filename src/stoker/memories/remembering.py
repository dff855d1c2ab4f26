"""What the stages mean: how a chunk is asked about, and what its answer becomes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from stoker.memories import extraction, lexical
from stoker.memories.merging import Merging
from stoker.memories.ports import MemoryStore
from stoker.memories.recall.recall import Recall
from stoker.memories.recall.vectors import encode
from stoker.memories.records import Answered, ChunkInputs, JudgeInputs, Stage, StageEffect, StageKey
from stoker.memories.settings import MemoriesSettings
from stoker.memories.sources import Document
from stoker.memories.tiles import PlacedSpan, Role, Status, TileId

Marking = Callable[[Sequence[PlacedSpan]], Sequence[PlacedSpan]]


class Remembering:
    """Implements `ingest.Handler` over the store."""

    def __init__(self, store: MemoryStore, settings: MemoriesSettings, recall: Recall) -> None:
        self._store = store
        self.recall = recall
        self._settings = settings
        self._merging = Merging(store, settings)
        self.guards: Counter[str] = Counter()
        """How often each guard decided, since the start."""

    @property
    def embedder_name(self) -> str:
        embedder = self.recall.embedder
        return "" if embedder is None else embedder.model_id

    async def ask(self, stage: Stage) -> bytes | None:
        match stage.inputs:
            case ChunkInputs() as inputs:
                chunk = await self._chunk(inputs)
                return None if chunk is None else extraction.ask(chunk, inputs, self._settings)
            case JudgeInputs() as inputs:
                return await self._merging.ask(inputs)

    async def interpret(self, answered: Answered) -> StageEffect:
        key = answered.stage.key
        match answered.stage.inputs:
            case ChunkInputs() as inputs:
                return await self._interpret_chunk(key, inputs, answered.answer)
            case JudgeInputs() as inputs:
                return await self._merging.interpret(key, inputs, answered.answer)

    async def _interpret_chunk(
        self, key: StageKey, inputs: ChunkInputs, answer: bytes
    ) -> StageEffect:
        chunk = await self._chunk(inputs)
        if chunk is None:
            return extraction.erased(key)
        extracted = await asyncio.to_thread(
            extraction.interpret, key, inputs, chunk, answer, self._settings, lexical.similarity
        )
        self.guards.update(extracted.guards)
        return await self.relate(extracted.effect)

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

    async def relate(self, effect: StageEffect) -> StageEffect:
        """Give an effect's tiles vectors, and link them to those that are known."""
        active = [new for new in effect.tiles if new.status is Status.ACTIVE]
        if not active or self.recall.embedder is None:
            return await self._merging.relate(effect)
        vectors = await self.recall.embed([new.tile.statement for new in active])
        found = await self.recall.neighbours(vectors, scope=active[0].tile.scope)
        near = [[one.tile_id for one in group] for group in found]
        codes = {
            new.tile.id: code.tobytes() for new, code in zip(active, encode(vectors), strict=True)
        }
        tiles = [replace(new, vector=codes.get(new.tile.id)) for new in effect.tiles]
        return await self._merging.relate(replace(effect, tiles=tiles), near)

    async def embed_missing(self) -> int:
        """Give vectors to the next spans and tiles without one; returns how many."""
        return await self.recall.embed_missing()


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
