"""The way back: embeds in a thread of its own, and searches on the store's reading connection."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import structlog

from stoker.core.errors import StokerError
from stoker.memories.recall import embedding
from stoker.memories.recall.embedders import Embedder, of_model
from stoker.memories.recall.fusion import Weights
from stoker.memories.recall.hits import SearchAnswer, SearchRequest
from stoker.memories.recall.lists import TermCounts
from stoker.memories.recall.query import Stemmer
from stoker.memories.recall.search import Model, Terms, look_up, search
from stoker.memories.tiles import TileId

if TYPE_CHECKING:
    # numpy comes with the extra `memories`; without an embedder nothing here needs it.
    from stoker.memories.recall.sync import SyncedIndex
    from stoker.memories.recall.vectors import Vectors

FOLDER = "vectors"
_BATCH = 256
_DROPPED_AT_ONCE = 2_000
_NEAREST_MAX = 32
"""Ten are compared (`linking`); the others are for those that are merged meanwhile."""

_log = structlog.get_logger("stoker.memories")

T = TypeVar("T")


class Lanes(Protocol):
    """The store's two connections."""

    async def read(self, operation: Callable[[sqlite3.Connection], T]) -> T: ...

    async def write(self, operation: Callable[[sqlite3.Connection], T]) -> T: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A tile whose neighbours are wanted."""

    tile_id: TileId
    scope: str
    vector: Vectors


@dataclass(frozen=True, slots=True)
class _Shelf:
    """One model: its embedder and its two indexes."""

    embedder: Embedder
    tiles: SyncedIndex
    spans: SyncedIndex

    @property
    def indexes(self) -> tuple[SyncedIndex, SyncedIndex]:
        return self.tiles, self.spans

    def close(self) -> None:
        for index in self.indexes:
            index.close()
        self.embedder.close()


class Recall:
    """Search, neighbours and embedding over one store. Without an embedder, text alone is searched.

    Where the model was changed, the old one is read beside the new one until everything has a
    vector of the new one; then its vectors are dropped.
    """

    def __init__(
        self,
        store: Lanes,
        folder: Path,
        embedder: Embedder | None,
        *,
        weights: Weights | None = None,
        find_old: Callable[[str], Embedder | None] = of_model,
    ) -> None:
        self._store = store
        self._folder = folder / FOLDER
        self._embedder = embedder
        self._weights = weights or Weights()
        self._find_old = find_old
        self._stemmer = Stemmer()
        self._counts = TermCounts()
        self._shelf: _Shelf | None = None
        self._old: list[_Shelf] = []
        self._unreadable: list[str] = []
        self._after = dict.fromkeys(embedding.KINDS, 0)

    @property
    def embedder(self) -> Embedder | None:
        return self._embedder

    async def open(self) -> None:
        """Open the indexes; what is new to them is read from the store."""
        if self._embedder is None:
            return
        model, dim = self._embedder.model_id, self._embedder.dim
        await self._store.write(lambda db: embedding.register(db, model, dim))
        self._shelf = self._open_shelf(self._embedder)
        for old, _ in await self._store.read(embedding.models):
            if old == model:
                continue
            found = self._find_old(old)
            if found is None:
                self._unreadable.append(old)
            else:
                self._old.append(self._open_shelf(found))
        await self._store.read(self._refresh)

    async def close(self) -> None:
        """Write the indexes down. A process that dies instead reads a little more at its start."""
        for shelf in self._shelves():
            shelf.close()
        self._stemmer.close()

    async def search(self, request: SearchRequest, *, now: float) -> SearchAnswer:
        """The best hits for a question. Raises `StoreError`."""
        terms = await self._store.read(
            lambda db: look_up(db, request.query, self._stemmer, self._counts)
        )
        shelves = self._shelves()
        queries = [await _as_query(shelf, terms) for shelf in shelves]

        def work(db: sqlite3.Connection) -> SearchAnswer:
            self._refresh(db)
            models = [
                Model(shelf.tiles, shelf.spans, query)
                for shelf, query in zip(shelves, queries, strict=True)
                if query is not None
            ]
            return search(db, request, terms, models, weights=self._weights, now=now)

        return await self._store.read(work)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of the current model, off the event loop. Needs an embedder."""
        embedder = self._embedder
        assert embedder is not None
        return await embedder.embed(texts)

    async def neighbours(self, asked: Sequence[Asked]) -> list[list[TileId]]:
        """For each the nearest active tiles: of the store, and of those asked before it.

        By vectors alone, and more than are compared in the end: some may not be active any more
        when their turn comes.
        """
        shelf = self._shelf
        if shelf is None:
            return [[] for _ in asked]

        def work(db: sqlite3.Connection) -> list[list[TileId]]:
            self._refresh(db)
            return _nearest(db, shelf.tiles, asked)

        return await self._store.read(work)

    async def embed_missing(self, limit: int = _BATCH) -> int:
        """Give vectors to the next rows without one; returns how many. 0: all have one.

        For a background loop: one batch a call, so that its caller decides about the pace.
        """
        if self._shelf is None:
            return 0
        model = self._shelf.embedder.model_id
        for kind in embedding.KINDS:
            rows = await self._embed_kind(model, kind, limit)
            if rows:
                return rows
        return await self._drop_old()

    async def _embed_kind(self, model: str, kind: str, limit: int) -> int:
        after = self._after[kind]
        batch = await self._store.read(lambda db: embedding.missing(db, model, kind, after, limit))
        if not batch.rows:
            return 0
        vectors = await self.embed(batch.texts)
        await self._store.write(lambda db: embedding.keep(db, model, kind, batch.rows, vectors))
        self._after[kind] = batch.rows[-1]
        return len(batch.rows)

    async def _drop_old(self) -> int:
        """The new model has all that there is: the old one's vectors go, a few at a time."""
        models = [*(shelf.embedder.model_id for shelf in self._old), *self._unreadable]
        for model in models:
            if count := await self._store.write(
                lambda db, model=model: embedding.drop(db, model, _DROPPED_AT_ONCE)  # type: ignore[misc]
            ):
                return count
        for shelf in self._old:
            shelf.close()
        self._old, self._unreadable = [], []
        return 0

    def _open_shelf(self, embedder: Embedder) -> _Shelf:
        from stoker.memories.recall.sync import SyncedIndex  # noqa: PLC0415

        model, dim = embedder.model_id, embedder.dim
        return _Shelf(
            embedder,
            SyncedIndex(self._folder, model, dim, "tile"),
            SyncedIndex(self._folder, model, dim, "span"),
        )

    def _shelves(self) -> list[_Shelf]:
        return [] if self._shelf is None else [self._shelf, *self._old]

    def _refresh(self, db: sqlite3.Connection) -> None:
        for shelf in self._shelves():
            for index in shelf.indexes:
                index.refresh(db)


async def _as_query(shelf: _Shelf, terms: Terms) -> Vectors | None:
    """`None` if the embedder cannot just now: then the other lists answer."""
    try:
        return await shelf.embedder.embed_query(terms.query.text, terms.weights())
    except StokerError as error:
        _log.warning("question not embedded", model=shelf.embedder.model_id, error=str(error))
        return None


def _nearest(
    db: sqlite3.Connection, index: SyncedIndex, asked: Sequence[Asked]
) -> list[list[TileId]]:
    near: dict[int, list[TileId]] = {}
    for scope in dict.fromkeys(one.scope for one in asked):
        places = [place for place, one in enumerate(asked) if one.scope == scope]
        found = _nearest_of(db, index, [asked[place] for place in places], scope)
        near |= zip(places, found, strict=True)
    return [near[place] for place in range(len(asked))]


def _nearest_of(
    db: sqlite3.Connection, index: SyncedIndex, asked: Sequence[Asked], scope: str
) -> list[list[TileId]]:
    from stoker.memories.recall.vectors import among, by_cosine, stacked  # noqa: PLC0415

    vectors = stacked([one.vector for one in asked])
    found = index.search_all(vectors, _NEAREST_MAX, scope=scope)
    owners = sorted({owner for each in found for owner in each.owners.tolist()})
    rows = db.execute(
        "SELECT tiles.seq, tile_id FROM json_each(?) CROSS JOIN tiles ON tiles.seq = value"
        " CROSS JOIN tile_heads ON tile_heads.tile = value WHERE status = 'active' AND scope = ?",
        (json.dumps(owners), scope),
    )
    names = {seq: TileId(id) for seq, id in rows}
    ids: list[TileId | None] = [one.tile_id for one in asked]
    near: list[list[TileId]] = []
    for place, (each, cosines) in enumerate(zip(found, among(vectors), strict=True)):
        both = [names.get(owner) for owner in each.owners.tolist()] + ids[:place]
        order = by_cosine(each.cosines, cosines[:place])
        near.append([id for at in order if (id := both[at]) is not None][:_NEAREST_MAX])
    return near
