"""What the stages mean: how a chunk is asked about, and what its answer becomes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import structlog

from stoker.memories import extraction, lexical
from stoker.memories.extraction import Extracted
from stoker.memories.ingest import broken
from stoker.memories.merging import Merging
from stoker.memories.ports import MemoryStore
from stoker.memories.recall.recall import Asked, Recall
from stoker.memories.records import (
    TILES_AT_ONCE,
    Answered,
    ChunkInputs,
    Draft,
    JudgeInputs,
    Near,
    NewTile,
    Stage,
    StageEffect,
    StageKey,
    StageState,
)
from stoker.memories.settings import MemoriesSettings
from stoker.memories.sources import Document
from stoker.memories.tiles import PlacedSpan, Role, SpanId, Status, Tile, TileId

if TYPE_CHECKING:
    from stoker.memories.recall.vectors import Vectors

log = structlog.get_logger("stoker.memories")

_READ_MAX = 128
"""Answers that are kept read: four times as many as are read at once."""

Marking = Callable[[Sequence[PlacedSpan]], Sequence[PlacedSpan]]


@dataclass(frozen=True, slots=True)
class _Read:
    """What an answer gave by itself, with the vectors of its active tiles and what it rests on."""

    answer: bytes
    effect: StageEffect
    vectors: Vectors | None = None
    spans: Sequence[SpanId] = ()
    tiles: Sequence[TileId] = ()


class Remembering:
    """Implements `ingest.Handler` over the store."""

    def __init__(self, store: MemoryStore, settings: MemoriesSettings, recall: Recall) -> None:
        self._store = store
        self.recall = recall
        self._settings = settings
        self._merging = Merging(store, settings)
        self._read: dict[StageKey, _Read] = {}
        """Answers that were read and not taken in yet: they are before their turn."""
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

    async def read(self, answers: Sequence[Answered]) -> list[Draft]:
        """Do together what depends on no other answer: reading, the guards, vectors.

        Returns as many of the answers as one transaction takes; the others are read all the same.
        """
        erasures = self._erasures
        known = {
            one.stage.key: read
            for one in answers
            if (read := self._read.get(one.stage.key)) is not None and read.answer == one.answer
        }
        fresh = [one for one in answers if one.stage.key not in known]
        known |= await self._read_chunks(fresh)
        known |= await self._read_judgements(fresh)
        self._keep(known if erasures == self._erasures else {})
        sizes = accumulate(len(known[one.stage.key].effect.tiles) for one in answers)
        answers = answers[: max(1, sum(size <= TILES_AT_ONCE for size in sizes))]
        reads = [known[one.stage.key] for one in answers]
        near = await self._near([(read.effect, read.vectors) for read in reads])
        return [
            Draft(one, read.effect, others, read.spans, read.tiles)
            for one, read, others in zip(answers, reads, near, strict=True)
        ]

    def relate(self, effect: StageEffect, known: Sequence[Sequence[Tile]]) -> StageEffect:
        return self._merging.relate(effect, known)

    def drop_read(self) -> None:
        """Text was erased: read again what is not taken in yet."""
        self._erasures += 1
        self._read = {}

    def _keep(self, read: dict[StageKey, _Read]) -> None:
        # Those that were read before wait for a judge's answer; those taken in are let go in time.
        is_long = len(self._read) + len(read) > _READ_MAX
        self._read = read if is_long else self._read | read

    async def _read_chunks(self, answers: Sequence[Answered]) -> dict[StageKey, _Read]:
        asked = [
            (one, one.stage.inputs) for one in answers if isinstance(one.stage.inputs, ChunkInputs)
        ]
        if not asked:
            return {}
        chunks = await self._chunks([inputs for _, inputs in asked])
        found = await asyncio.to_thread(self._check_all, asked, chunks)
        vectors = await self._embedded([one.effect for one in found])
        read: dict[StageKey, _Read] = {}
        for (answered, _), chunk, one, own in zip(asked, chunks, found, vectors, strict=True):
            self.guards.update(one.guards)
            spans = () if chunk is None else tuple(chunk.spans)
            read[answered.stage.key] = _Read(
                answered.answer, _with_vectors(one.effect, own), own, spans
            )
        return read

    def _check_all(
        self,
        asked: Sequence[tuple[Answered, ChunkInputs]],
        chunks: Sequence[extraction.Chunk | None],
    ) -> list[Extracted]:
        return [
            self._check(answered.stage.key, inputs, chunk, answered.answer)
            for (answered, inputs), chunk in zip(asked, chunks, strict=True)
        ]

    def _check(
        self, key: StageKey, inputs: ChunkInputs, chunk: extraction.Chunk | None, answer: bytes
    ) -> Extracted:
        if chunk is None:
            return Extracted(extraction.erased(key), Counter())
        try:
            return extraction.interpret(
                key, inputs, chunk, answer, self._settings, lexical.similarity
            )
        except Exception as error:  # one strange answer must not stop all others
            log.exception("memories_answer_failed", stage=key)
            return Extracted(broken(key, error), Counter())

    async def _embedded(self, effects: Sequence[StageEffect]) -> list[Vectors | None]:
        if self.recall.embedder is None:
            return [None] * len(effects)
        statements = [_active(effect) for effect in effects]
        vectors = await self.recall.embed([text for each in statements for text in each])
        ends = list(accumulate(len(each) for each in statements))
        return [vectors[start:end] for start, end in pairwise([0, *ends])]

    async def _read_judgements(self, answers: Sequence[Answered]) -> dict[StageKey, _Read]:
        asked = [
            (one.stage.key, one.stage.inputs, one.answer)
            for one in answers
            if isinstance(one.stage.inputs, JudgeInputs)
        ]
        effects = await self._merging.read(asked)
        return {
            key: _Read(
                answer,
                effect,
                tiles=(inputs.tile, *inputs.neighbours) if effect.state is StageState.DONE else (),
            )
            for (key, inputs, answer), effect in zip(asked, effects, strict=True)
        }

    async def _near(self, read: Sequence[tuple[StageEffect, Vectors | None]]) -> list[Near]:
        """For the active tiles of each: the nearest that are known, and of those before them."""
        asked = [
            Asked(new.tile.id, new.tile.scope, vector)
            for effect, vectors in read
            if vectors is not None
            for new, vector in zip(_active_tiles(effect), vectors, strict=True)
        ]
        near = iter(await self.recall.neighbours(asked)) if asked else iter(())
        return [
            None if vectors is None else [next(near) for _ in _active_tiles(effect)]
            for effect, vectors in read
        ]

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

    async def with_near(self, effect: StageEffect) -> tuple[StageEffect, Near]:
        """An effect with vectors, and what is near to each of its active tiles."""
        (vectors,) = await self._embedded([effect])
        (near,) = await self._near([(effect, vectors)])
        return _with_vectors(effect, vectors), near

    async def embed_missing(self) -> int:
        """Give vectors to the next spans and tiles without one; returns how many."""
        return await self.recall.embed_missing()


def _active_tiles(effect: StageEffect) -> list[NewTile]:
    """Those that get vectors."""
    return [new for new in effect.tiles if new.status is Status.ACTIVE]


def _active(effect: StageEffect) -> list[str]:
    return [new.tile.statement for new in _active_tiles(effect)]


def _with_vectors(effect: StageEffect, vectors: Vectors | None) -> StageEffect:
    if vectors is None or not len(vectors):
        return effect
    from stoker.memories.recall.vectors import encode  # noqa: PLC0415

    active = (new.tile.id for new in _active_tiles(effect))
    codes = {id: code.tobytes() for id, code in zip(active, encode(vectors), strict=True)}
    tiles = [replace(new, vector=codes.get(new.tile.id)) for new in effect.tiles]
    return replace(effect, tiles=tiles)


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
