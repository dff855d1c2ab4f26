"""The memory server as its shells see it: import, watch, search, add, forget, undo.

`Fabric.memories` is one of these. It has no thread and no queue of its own: what models are asked
for are background jobs of the fabric.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress

from stoker.core.errors import Conflict, InvalidRequest
from stoker.core.work import JobId
from stoker.memories import portability
from stoker.memories.importing import prepare
from stoker.memories.ingest import Ingest
from stoker.memories.meters import Meters
from stoker.memories.notes import Note, records_of
from stoker.memories.ports import BackgroundJobs, MemoryStore
from stoker.memories.recall.hits import SearchAnswer, SearchRequest
from stoker.memories.records import (
    DocumentOutcome,
    DocumentView,
    Forgotten,
    ImportId,
    ImportState,
    ImportView,
    Refusal,
    SourceView,
    StageEffect,
    StageKey,
    StageState,
    Stats,
    TileView,
    WorkCounts,
)
from stoker.memories.remembering import Remembering
from stoker.memories.settings import MemoriesSettings
from stoker.memories.sources import Document, Reading, SourceError, read_paths, read_upload
from stoker.memories.tiles import DEFAULT_SCOPE, SourceId, SpanId, TileId, TileState, content_hash
from stoker.ports import Clock

_NAME_MAX = 200


class Memories:
    """Import text, let it become tiles, find it again."""

    def __init__(
        self,
        store: MemoryStore,
        jobs: BackgroundJobs,
        clock: Clock,
        settings: MemoriesSettings,
        remembering: Remembering,
    ) -> None:
        self.store = store
        self._jobs = jobs
        self._clock = clock
        self._settings = settings
        self._remembering = remembering
        self.meters = Meters()
        self._ingest = Ingest(
            store,
            jobs,
            remembering,
            clock,
            ahead_max=settings.jobs_ahead_max,
            meters=self.meters,
        )

    async def run(self) -> None:
        """Keep LLM work moving, and vectors coming, until cancelled."""
        await self._ingest.run()

    async def count(self) -> None:
        """Keep the census of `meters` fresh until cancelled."""
        remembering = self._remembering
        await self.meters.count(self.store, self._clock, lambda: remembering.embedder_name)

    async def collect(self) -> None:
        """Take over the answers that there are: what finished may be deleted afterwards."""
        await self._ingest.collect_all()

    # ------------------------------------------------------------------ imports and their work

    async def begin_import(
        self, label: str = "", *, scope: str = DEFAULT_SCOPE, id: ImportId | None = None
    ) -> ImportView:
        """Begin an import, to which documents are then added. Raises `Conflict` for a used id."""
        id = id or ImportId(f"imp_{secrets.token_hex(8)}")
        now = self._clock.wall()
        _check_name(scope, "scope")
        await self.store.create_import(id, label[:_NAME_MAX], scope, now=now)
        return await self.store.get_import(id, now=now)

    async def add_upload(
        self,
        id: ImportId,
        data: bytes,
        uri: str,
        *,
        observed_at: float | None = None,
        is_revived: bool = False,
    ) -> list[DocumentOutcome]:
        """Read bytes and commit every document in them; the end of `uri` tells what they are.

        What cannot be read is an outcome like the others, and loses nothing else.
        """
        view = await self.store.get_import(id, now=self._clock.wall())
        readings = read_upload(data, uri, observed_at=observed_at)
        return await self._add_all(view, readings, is_revived=is_revived)

    async def add_paths(
        self,
        id: ImportId,
        paths: Sequence[str],
        *,
        observed_at: float | None = None,
        is_revived: bool = False,
    ) -> list[DocumentOutcome]:
        """The same for files, folders and globs on this machine."""
        view = await self.store.get_import(id, now=self._clock.wall())
        return await self._add_all(
            view, read_paths(paths, observed_at=observed_at), is_revived=is_revived
        )

    async def _add_all(
        self, view: ImportView, readings: Iterator[Reading], *, is_revived: bool
    ) -> list[DocumentOutcome]:
        outcomes: list[DocumentOutcome] = []
        while True:
            reading = await asyncio.to_thread(next, readings, None)
            if reading is None:
                return outcomes
            outcomes.append(await self.add_reading(view, reading, is_revived=is_revived))

    async def add_reading(
        self, view: ImportView, reading: Reading, *, is_revived: bool = False
    ) -> DocumentOutcome:
        """Commit a document that was read already, or the error that it gave."""
        match reading:
            case SourceError():
                message = f"{reading.problem}; {reading.advice}"
                return await self.store.add_failure(
                    view.id, reading.uri, code=reading.code, message=message
                )
            case Document():
                return await self._add_document(view, reading, is_revived=is_revived)

    async def _add_document(
        self, view: ImportView, document: Document, *, is_revived: bool
    ) -> DocumentOutcome:
        injected = await self._remembering.injections_behind(document)
        new = await asyncio.to_thread(prepare, document, view.scope, self._settings, injected)
        outcome = await self.store.add_document(
            view.id, new, now=self._clock.wall(), is_revived=is_revived
        )
        self._ingest.nudge()
        return outcome

    async def imports(self, limit: int = 100) -> list[ImportView]:
        """Newest first."""
        return await self.store.imports(limit, now=self._clock.wall())

    async def get_import(self, id: ImportId) -> ImportView:
        """How far it is. Raises `NotFound`."""
        return await self.store.get_import(id, now=self._clock.wall())

    async def documents(
        self, id: ImportId, *, limit: int = 1000, offset: int = 0
    ) -> list[DocumentView]:
        """Its documents with their progress. Raises `NotFound`."""
        return await self.store.documents(id, limit=limit, offset=offset, now=self._clock.wall())

    async def pause(self, id: ImportId) -> ImportView:
        """Begin no more work for it; what was imported is found all the same."""
        return await self._set_state(id, ImportState.PAUSED)

    async def resume(self, id: ImportId) -> ImportView:
        return await self._set_state(id, ImportState.RUNNING)

    async def cancel(self, id: ImportId) -> ImportView:
        """Give up what is not done yet; what was imported and extracted stays."""
        return await self._set_state(id, ImportState.CANCELLED)

    async def _set_state(self, id: ImportId, state: ImportState) -> ImportView:
        jobs = await self.store.set_import_state(id, state, now=self._clock.wall())
        for job in jobs:
            await self._jobs.cancel(JobId(job))
        self._ingest.nudge()
        return await self.get_import(id)

    async def retry(self) -> int:
        """Ask again for everything that was refused; returns how many answers."""
        count = await self.store.retry(None)
        self._ingest.nudge()
        return count

    async def retry_import(self, id: ImportId) -> ImportView:
        """The same for one import. Raises `NotFound`."""
        await self.store.retry(id)
        self._ingest.nudge()
        return await self.get_import(id)

    async def work(self) -> WorkCounts:
        """All LLM work, over all imports."""
        return await self.store.work(now=self._clock.wall())

    def eta_s(self, work: WorkCounts) -> float | None:
        """When the work is done at the pace of the last ten minutes; unknown without a pace."""
        if not work.left:
            return 0.0
        if work.finished_recently < 2 or work.recent_since is None:
            return None
        pace = work.finished_recently / max(1.0, self._clock.wall() - work.recent_since)
        return work.left / pace

    @property
    def guards(self) -> Mapping[str, int]:
        """How often each guard decided, since the start."""
        return self._remembering.guards

    async def search(self, request: SearchRequest) -> SearchAnswer:
        """The best hits; no model is asked. Raises `StoreError`."""
        began = self._clock.monotonic()
        answer = await self._remembering.recall.search(request, now=self._clock.wall())
        self.meters.searched(self._clock.monotonic() - began)
        return answer

    async def note_injection(
        self, request_id: str, turn: str, ids: Sequence[TileId | SpanId]
    ) -> None:
        """Remember which tiles were put before a turn; only a hash of its words is kept."""
        tiles = [TileId(id) for id in ids if id.startswith("til_")]
        if tiles:
            now = self._clock.wall()
            await self.store.record_injection(request_id, turn, tiles, now=now)

    async def wait_import(self, id: ImportId, *, poll_s: float = 0.2) -> ImportView:
        """Return when all of its answers are interpreted, or it was cancelled."""
        while True:
            view = await self.get_import(id)
            if view.is_done or view.state is ImportState.CANCELLED:
                return view
            await asyncio.sleep(poll_s)

    # ------------------------------------------------------------------ what is kept

    async def sources(
        self, scope: str | None = None, *, limit: int = 1000, offset: int = 0
    ) -> list[SourceView]:
        """By URI; deleted ones too, as tombstones."""
        return await self.store.sources(scope, limit=limit, offset=offset)

    async def get_tile(self, id: TileId) -> TileView:
        """A tile, its log, and the words that it rests on. Raises `NotFound`."""
        return await self.store.get_tile(id)

    async def add(self, note: Note) -> TileView:
        """Remember a statement as it is. Raises `InvalidRequest`."""
        document, new = records_of(note)
        _check_name(note.scope, "scope")
        id = ImportId(f"imp_notes_{content_hash(note.scope.encode())[:16]}")
        now = self._clock.wall()
        with suppress(Conflict):
            await self.store.create_import(id, "notes", note.scope, now=now)
        effect, near = await self._remembering.with_near(
            StageEffect(StageKey(""), StageState.DONE, tiles=[new])
        )
        relate = self._remembering.relate
        await self.store.add_note(id, document, effect, near, relate, now=now)
        self._ingest.nudge()
        return await self.store.get_tile(new.tile.id)

    def export(self, *, scope: str | None = None, format: str = "jsonl") -> AsyncIterator[bytes]:
        """Everything, in pages: JSON lines that `restore` reads, or Markdown for people."""
        return portability.export(self.store, scope=scope, format=format)

    async def restore(self, data: bytes) -> int:
        """Read an export in JSON lines; returns how many records were new."""
        count = await portability.restore(self.store, data, now=self._clock.wall())
        self._ingest.nudge()
        return count

    async def undo(self, id: TileId) -> TileState:
        """Take back the last decision about a tile. Raises `NotFound`, `Conflict`."""
        state = await self.store.undo(id, now=self._clock.wall())
        self._ingest.nudge()
        return state

    async def forget(self, id: str) -> Forgotten:
        """Erase a source, a span or a tile by its id, for good. Raises `NotFound`."""
        now = self._clock.wall()
        match id.partition("_")[0]:
            case "src":
                forgotten = await self.store.forget_source(SourceId(id), now=now)
            case "spn":
                forgotten = await self.store.forget_span(SpanId(id), now=now)
            case "til":
                forgotten = await self.store.forget_tile(TileId(id), now=now)
            case _:
                raise InvalidRequest(
                    f"{id[:60]!r} is no id of a source (src_), a span (spn_) or a tile (til_)",
                    param="id",
                )
        self._remembering.drop_read()
        self._ingest.nudge()
        return forgotten

    async def quarantine(self, *, limit: int = 100, offset: int = 0) -> Sequence[Refusal]:
        """What guards and the engine refused, newest first, with the reasons."""
        return await self.store.quarantine(limit=limit, offset=offset)

    async def stats(self) -> Stats:
        return await self.store.stats()


def _check_name(name: str, param: str) -> None:
    if not 1 <= len(name) <= _NAME_MAX:
        raise InvalidRequest(f"{param} must have 1 to {_NAME_MAX} characters", param=param)
