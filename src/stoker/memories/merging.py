"""New tiles beside those that are known: code links them, a model is asked what it left open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from stoker.memories import answers, extraction, merge
from stoker.memories.lexical import similarity
from stoker.memories.merge import LEXICAL, Decision, Neighbour
from stoker.memories.ports import MemoryStore
from stoker.memories.records import (
    JudgeInputs,
    NewStage,
    StageEffect,
    StageKey,
    StageState,
)
from stoker.memories.settings import MemoriesSettings
from stoker.memories.tiles import Status, Tile, stage_key

JUDGE = "judge"


class Merging:
    """Relates tiles over one store."""

    def __init__(self, store: MemoryStore, settings: MemoriesSettings) -> None:
        self._store = store
        self._settings = settings

    def relate(self, effect: StageEffect, known: Sequence[Sequence[Tile]]) -> StageEffect:
        """Add to an effect how its active tiles relate to each other and to what is known.

        `known`: for each of them, those that it may say the same as, or replace.
        """
        fresh = [new.tile for new in effect.tiles if new.status is Status.ACTIVE]
        decisions = _decide(fresh, known)
        links = [link for decision in decisions for link in decision.links]
        judgements: list[NewStage] = []
        if self._asks_judge:
            for tile, decision in zip(fresh, decisions, strict=True):
                judgements += self._question(tile, decision)
        return replace(effect, links=links, judgements=judgements)

    @property
    def _asks_judge(self) -> bool:
        # A model that gets lost in long instructions would merge what it should not.
        return self._settings.does_extract and not self._settings.is_small

    def _question(self, tile: Tile, decision: Decision) -> list[NewStage]:
        if not decision.open:
            return []
        neighbours = tuple(each.tile.id for each in decision.open)
        model = self._settings.model or ""
        inputs = (tile.id, *neighbours)
        key = stage_key(JUDGE, merge.VERSION, merge.fingerprint(), model, inputs=inputs)
        return [NewStage(StageKey(key), JudgeInputs(tile.id, neighbours))]

    async def ask(self, inputs: JudgeInputs) -> bytes | None:
        """The body of a question; `None` where one of its tiles was erased."""
        (found,) = await self._tiles([inputs])
        if found is None:
            return None
        tile, neighbours = found
        return msgspec.json.encode(
            merge.question(
                tile,
                neighbours,
                model=self._settings.model,
                is_strict_openai=self._settings.is_strict_openai,
            )
        )

    async def read(self, asked: Sequence[tuple[StageKey, JudgeInputs, bytes]]) -> list[StageEffect]:
        """The links in judges' answers, in their order; no answer is a no."""
        found = await self._tiles([inputs for _, inputs, _ in asked])
        return [
            extraction.erased(key) if tiles is None else _judged(key, *tiles, answer)
            for (key, _, answer), tiles in zip(asked, found, strict=True)
        ]

    async def _tiles(
        self, asked: Sequence[JudgeInputs]
    ) -> list[tuple[Tile, list[Neighbour]] | None]:
        """What each is about; `None` where some of it was erased."""
        if not asked:
            return []
        ids = dict.fromkeys(id for one in asked for id in (one.tile, *one.neighbours))
        tiles = {tile.id: tile for tile in await self._store.tiles(list(ids))}
        return [
            (tiles[one.tile], [_neighbour(tiles[one.tile], tiles[id]) for id in one.neighbours])
            if tiles.keys() >= {one.tile, *one.neighbours}
            else None
            for one in asked
        ]


def _neighbour(tile: Tile, other: Tile) -> Neighbour:
    return Neighbour(other, similarity(tile.statement, other.statement))


def _judged(
    key: StageKey, tile: Tile, neighbours: Sequence[Neighbour], answer: bytes
) -> StageEffect:
    text, _ = extraction.message(answer)
    said = answers.parse_object(text)
    links = merge.honour(tile, neighbours, said, decided_by=key)
    return StageEffect(
        key, StageState.DONE, "unreadable: taken for a no" if said is None else "", links=links
    )


def _decide(fresh: Sequence[Tile], known: Sequence[Sequence[Tile]]) -> list[Decision]:
    """Each tile against those that are known, and against those before it in the same answer."""
    decisions: list[Decision] = []
    for place, tile in enumerate(fresh):
        others = {other.id: other for other in (*fresh[:place], *known[place])}
        neighbours = [_neighbour(tile, other) for other in merge.comparable(tile, others.values())]
        decisions.append(merge.decide(tile, neighbours, LEXICAL))
    return decisions
