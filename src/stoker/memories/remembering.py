"""What the stages mean: how a chunk is asked about, and what its answer becomes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stoker.memories import extraction, lexical
from stoker.memories.merging import Merging
from stoker.memories.ports import MemoryStore
from stoker.memories.recall.recall import Recall
from stoker.memories.recall.vectors import encode
from stoker.memories.records import Answered, ChunkInputs, JudgeInputs, Stage, StageEffect, StageKey
from stoker.memories.settings import MemoriesSettings
from stoker.memories.sources import Document
from stoker.memories.tiles import PlacedSpan, Role, Status, TileId

if TYPE_CHECKING:
    from stoker.memories.recall.vectors import Vectors

Marking = Callable[[Sequence[PlacedSpan]], Sequence[PlacedSpan]]


@dataclass(frozen=True, slots=True)
class _Read:
    """An answer that was checked before its turn, with the vectors of its active tiles."""

    extracted: extraction.Extracted
    vectors: Vectors | None


class Remembering:
    """Implements `ingest.Handler` over the store."""

    def __init__(self, store: MemoryStore, settings: MemoriesSettings, recall: Recall) -> None:
        self._store = store
        self.recall = recall
        self._settings = settings
        self._merging = Merging(store, settings)
        self._ahead: dict[StageKey, _Read] = {}
        self._erasures = 0
        self.guards: Counter[str] = Counter()
        """How often each guard decided, since the start."""

    @property
    def embedder_name(self) -> str:
        embedder = self.recall.embedder
        return "" if embedder is None else embedder.model_id

    async def ask(self, stage: Stage) -> bytes | None:
        match stage.inputs:
            case ChunkInputs() as inputs:
                (chunk,) = await self._chunks([inputs])
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

    async def read_ahead(self, answers: Sequence[Answered]) -> None:
        """Do together what depends on no other answer: reading, the guards, vectors."""
        asked = [
            (one, one.stage.inputs) for one in answers if isinstance(one.stage.inputs, ChunkInputs)
        ]
        erasures = self._erasures
        chunks = await self._chunks([inputs for _, inputs in asked])
        found = await asyncio.to_thread(self._check_all, asked, chunks)
        read = await self._embedded(found)
        self._ahead = read if erasures == self._erasures else {}

    def drop_ahead(self) -> None:
        """Text was erased: read again what is not interpreted yet."""
        self._erasures += 1
        self._ahead = {}

    def _check_all(
        self,
        asked: Sequence[tuple[Answered, ChunkInputs]],
        chunks: Sequence[extraction.Chunk | None],
    ) -> dict[StageKey, extraction.Extracted]:
        found: dict[StageKey, extraction.Extracted] = {}
        for (answered, inputs), chunk in zip(asked, chunks, strict=True):
            # One that breaks is left out, and breaks when its turn comes.
            with suppress(Exception):
                if chunk is not None:
                    key = answered.stage.key
                    found[key] = self._check(key, inputs, chunk, answered.answer)
        return found

    def _check(
        self, key: StageKey, inputs: ChunkInputs, chunk: extraction.Chunk, answer: bytes
    ) -> extraction.Extracted:
        return extraction.interpret(key, inputs, chunk, answer, self._settings, lexical.similarity)

    async def _embedded(
        self, found: Mapping[StageKey, extraction.Extracted]
    ) -> dict[StageKey, _Read]:
        if self.recall.embedder is None:
            return {key: _Read(one, None) for key, one in found.items()}
        statements = {key: _active(one.effect) for key, one in found.items()}
        vectors = await self.recall.embed([text for each in statements.values() for text in each])
        read: dict[StageKey, _Read] = {}
        start = 0
        for key, one in found.items():
            end = start + len(statements[key])
            read[key] = _Read(one, vectors[start:end])
            start = end
        return read

    async def _interpret_chunk(
        self, key: StageKey, inputs: ChunkInputs, answer: bytes
    ) -> StageEffect:
        read = self._ahead.pop(key, None)
        if read is None:
            (chunk,) = await self._chunks([inputs])
            if chunk is None:
                return extraction.erased(key)
            read = _Read(await asyncio.to_thread(self._check, key, inputs, chunk, answer), None)
        self.guards.update(read.extracted.guards)
        return await self.relate(read.extracted.effect, read.vectors)

    async def _chunks(self, asked: Sequence[ChunkInputs]) -> list[extraction.Chunk | None]:
        ids = dict.fromkeys(
            one.span for inputs in asked for one in (*inputs.pieces, *inputs.context)
        )
        spans = await self._store.spans(list(ids))
        shown = sorted({id for one in spans for id in one.injected})
        statements: dict[TileId, str] = {}
        if shown:
            statements = {tile.id: tile.statement for tile in await self._store.tiles(shown)}
        by_id = {one.span.id: one for one in spans}
        return [extraction.chunk_of(inputs, by_id, statements) for inputs in asked]

    async def injections_behind(self, document: Document) -> Marking:
        """How to mark the turns of a conversation that answered under injected tiles."""
        turns = [block.text for block in document.blocks if block.role is Role.USER]
        if not turns:
            return lambda spans: spans
        found = await self._store.injections(turns)
        return lambda spans: _marked(spans, found)

    async def relate(self, effect: StageEffect, vectors: Vectors | None = None) -> StageEffect:
        """Give an effect's tiles vectors, and link them to those that are known."""
        active = [new for new in effect.tiles if new.status is Status.ACTIVE]
        if not active or self.recall.embedder is None:
            return await self._merging.relate(effect)
        if vectors is None:
            vectors = await self.recall.embed(_active(effect))
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


def _active(effect: StageEffect) -> list[str]:
    """The statements that get vectors."""
    return [new.tile.statement for new in effect.tiles if new.status is Status.ACTIVE]


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
