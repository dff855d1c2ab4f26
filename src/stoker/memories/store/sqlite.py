"""One file beside the jobs: a writer with group commit, and readers that never wait for it.

What is done in a transaction is in the modules beside this one, by subject; each takes the
connection, so that several of them can be one commit.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import TypeVar

from stoker.core.work import Usage
from stoker.memories.records import (
    Answered,
    Census,
    Change,
    DocumentOutcome,
    DocumentView,
    Draft,
    Forgotten,
    ImportId,
    ImportState,
    ImportView,
    Near,
    NewDocument,
    NewTile,
    Refusal,
    Relate,
    SourceView,
    Stage,
    StageEffect,
    StageKey,
    StageState,
    Stats,
    TileView,
    WorkCounts,
)
from stoker.memories.store import (
    census,
    documents,
    effects,
    forgetting,
    groups,
    imports,
    injections,
    portable,
    reads,
    stages,
    states,
)
from stoker.memories.store.candidates import KnownTiles
from stoker.memories.tiles import PlacedSpan, SourceId, SpanId, Tile, TileId, TileState
from stoker.store import database
from stoker.store.lanes import Lane, start_both, stop_both
from stoker.store.queries import migrations
from stoker.store.transactions import group_commit, one_by_one

MEMORIES_FILE = "memories.sqlite3"

SCHEMA = database.Schema(
    label="memories",
    application_id=0x53746F4D,  # `StoM`
    migrations=migrations(resources.files("stoker.memories.store") / "sql"),
    is_folder_owner=False,  # the job store of the same folder holds the lock
)

_GROUP_MAX = 64
"""Transactions of an import are large; few are worth waiting for."""

T = TypeVar("T")


class SqliteMemoryStore:
    """Implements `memories.ports.MemoryStore`; the methods are described there."""

    def __init__(self, path: Path, *, busy_timeout_s: float = 5.0) -> None:
        self.path = path
        self.changes = 0
        """How many writes there were."""
        self._busy_timeout_s = busy_timeout_s
        self._known = KnownTiles()
        self._writer = Lane(
            "stoker-memories-writer",
            lambda: database.writer_session(path, SCHEMA, busy_timeout_s),
            group_commit(path, SCHEMA.label),
            group_max=_GROUP_MAX,
        )
        self._reader = Lane(
            "stoker-memories-reader",
            lambda: database.reader_session(path, SCHEMA, busy_timeout_s),
            one_by_one(path, SCHEMA.label),
            group_max=_GROUP_MAX,
        )

    async def open(self) -> None:
        """Open and migrate. Raises `StoreError`."""
        await start_both(self._writer, self._reader)

    async def close(self) -> None:
        await stop_both(self._writer, self._reader)

    async def write(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run it in a transaction, all or nothing; on the disk when this returns."""
        try:
            return await self._writer.submit(operation)
        finally:
            self.changes += 1

    async def read(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run it on the reading connection."""
        return await self._reader.submit(operation)

    async def create_import(self, id: ImportId, label: str, scope: str, *, now: float) -> None:
        await self.write(lambda db: imports.create(db, id, label, scope, now=now))

    async def imports(self, limit: int, *, now: float) -> list[ImportView]:
        return await self.read(lambda db: imports.list_imports(db, limit, now=now))

    async def get_import(self, id: ImportId, *, now: float) -> ImportView:
        return await self.read(lambda db: imports.show(db, id, now=now))

    async def documents(
        self, id: ImportId, *, limit: int, offset: int, now: float
    ) -> list[DocumentView]:
        return await self.read(
            lambda db: imports.documents(db, id, limit=limit, offset=offset, now=now)
        )

    async def set_import_state(self, id: ImportId, state: ImportState, *, now: float) -> list[str]:
        return await self.write(lambda db: imports.set_state(db, id, state, now=now))

    async def retry(self, id: ImportId | None) -> int:
        return await self.write(lambda db: imports.retry(db, id))

    async def work(self, *, now: float) -> WorkCounts:
        return await self.read(lambda db: imports.work_in_all(db, now=now))

    async def add_document(
        self, id: ImportId, document: NewDocument, *, now: float, is_revived: bool = False
    ) -> DocumentOutcome:
        return await self.write(
            lambda db: documents.add_document(db, id, document, now=now, is_revived=is_revived)
        )

    async def add_failure(
        self, id: ImportId, uri: str, *, code: str, message: str
    ) -> DocumentOutcome:
        return await self.write(
            lambda db: documents.add_failure(db, id, uri, code=code, message=message)
        )

    async def ready_stages(self, limit: int) -> list[Stage]:
        return await self.read(lambda db: stages.ready(db, limit))

    async def stages_in_jobs(self) -> list[Stage]:
        return await self.read(stages.in_jobs)

    async def mark_queued(self, jobs: Sequence[tuple[StageKey, str]]) -> None:
        await self.write(lambda db: stages.mark_queued(db, jobs))

    async def mark_ready(self, keys: Sequence[StageKey]) -> None:
        await self.write(lambda db: stages.mark_ready(db, keys))

    async def store_answer(
        self, key: StageKey, answer: bytes, *, usage: Usage | None, now: float
    ) -> None:
        await self.write(lambda db: stages.store_answer(db, key, answer, usage=usage, now=now))

    async def give_up(self, key: StageKey, state: StageState, reason: str, *, now: float) -> None:
        await self.write(lambda db: stages.give_up(db, key, state, reason, now=now))

    async def next_answers(self, limit: int) -> list[Answered]:
        return await self.read(lambda db: stages.next_answers(db, limit))

    async def apply(
        self, drafts: Sequence[Draft], relate: Relate, *, embedder: str, now: float
    ) -> int:
        relating = effects.Relating(relate, self._known)
        return await self.write(
            lambda db: effects.apply(db, drafts, relating, embedder=embedder, now=now)
        )

    async def spans(self, ids: Sequence[SpanId]) -> list[PlacedSpan]:
        return await self.read(lambda db: reads.spans(db, ids))

    async def tiles(self, ids: Sequence[TileId]) -> list[Tile]:
        return await self.read(lambda db: reads.tiles(db, ids))

    async def get_tile(self, id: TileId) -> TileView:
        return await self.read(lambda db: reads.tile(db, id))

    async def add_tile(self, new: NewTile, *, now: float) -> bool:
        return await self.write(lambda db: states.add_tile(db, new, now=now))

    async def append(self, change: Change, *, now: float, expected: int | None = None) -> TileState:
        return await self.write(lambda db: states.append(db, change, now=now, expected=expected))

    async def undo(self, id: TileId, *, now: float) -> TileState:
        return await self.write(lambda db: groups.undo_last(db, id, now=now))

    async def record_injection(
        self, request_id: str, turn: str, tiles: Sequence[TileId], *, now: float
    ) -> None:
        await self.write(lambda db: injections.record(db, request_id, turn, tiles, now=now))

    async def injections(self, turns: Sequence[str]) -> dict[str, tuple[TileId, ...]]:
        return await self.read(lambda db: injections.behind(db, turns))

    async def sources(self, scope: str | None, *, limit: int, offset: int) -> list[SourceView]:
        return await self.read(lambda db: reads.sources(db, scope, limit=limit, offset=offset))

    async def quarantine(self, *, limit: int, offset: int) -> list[Refusal]:
        return await self.read(lambda db: reads.quarantine(db, limit=limit, offset=offset))

    async def stats(self) -> Stats:
        return await self.read(reads.stats)

    async def census(self, model: str) -> Census:
        return await asyncio.to_thread(self._census, model)

    def _census(self, model: str) -> Census:
        # On a connection of its own: a search must not wait for it.
        with database.reading_only(self.path, SCHEMA, self._busy_timeout_s) as db:
            return census.take(db, model)

    async def export_page(
        self, table: str, scope: str | None, after: int, limit: int
    ) -> tuple[list[portable.Line], int | None]:
        return await self.read(lambda db: portable.export_page(db, table, scope, after, limit))

    async def restore(self, lines: Sequence[portable.Line], *, now: float) -> int:
        return await self.write(lambda db: portable.restore(db, lines, now=now))

    async def add_note(
        self,
        id: ImportId,
        document: NewDocument,
        effect: StageEffect,
        near: Near,
        relate: Relate,
        *,
        now: float,
    ) -> DocumentOutcome:
        relating = effects.Relating(relate, self._known)
        return await self.write(
            lambda db: effects.add_note(db, id, document, effect, near, relating, now=now)
        )

    async def forget_source(self, id: SourceId, *, now: float) -> Forgotten:
        return await self.write(lambda db: forgetting.forget_source(db, id, now=now))

    async def forget_span(self, id: SpanId, *, now: float) -> Forgotten:
        return await self.write(lambda db: forgetting.forget_span(db, id, now=now))

    async def forget_tile(self, id: TileId, *, now: float) -> Forgotten:
        return await self.write(lambda db: forgetting.forget_tile(db, id, now=now))
