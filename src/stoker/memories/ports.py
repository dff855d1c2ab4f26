"""The memory server's own ports: its store, and the background work that it asks for.

SQLite implements the store today; nothing here knows of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from stoker.core.work import JobId, Usage
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
from stoker.memories.tiles import PlacedSpan, SourceId, SpanId, Tile, TileId, TileState
from stoker.ports import Job

TENANT = "stoker:memories"
"""Under this name the scheduler counts the memory server's share of background work."""


class MemoryStore(Protocol):
    """What is kept. Every write is one transaction; `now` is wall seconds from the caller.

    Methods raise `StoreError` when the database cannot be used.
    """

    async def open(self) -> None:
        """Open and migrate."""

    async def close(self) -> None: ...

    async def create_import(self, id: ImportId, label: str, scope: str, *, now: float) -> None:
        """Begin an import. Raises `Conflict` for an id that is used."""

    async def imports(self, limit: int, *, now: float) -> list[ImportView]:
        """Newest first."""

    async def get_import(self, id: ImportId, *, now: float) -> ImportView:
        """Raises `NotFound`."""

    async def documents(
        self, id: ImportId, *, limit: int, offset: int, now: float
    ) -> list[DocumentView]:
        """An import's documents with their progress, in order of arrival. Raises `NotFound`."""

    async def set_import_state(self, id: ImportId, state: ImportState, *, now: float) -> list[str]:
        """Pause, resume or cancel it; returns the jobs to be cancelled with it.

        Raises `NotFound`, `Conflict`.
        """

    async def retry(self, id: ImportId | None) -> int:
        """Let quarantined work be asked again, of one import or of all; returns how many."""

    async def work(self, *, now: float) -> WorkCounts:
        """All LLM work that there is, over all imports."""

    async def add_document(
        self, id: ImportId, document: NewDocument, *, now: float, is_revived: bool = False
    ) -> DocumentOutcome:
        """Commit one document: its spans are found from here on. `is_revived` lifts a tombstone."""

    async def add_failure(
        self, id: ImportId, uri: str, *, code: str, message: str
    ) -> DocumentOutcome:
        """Note a document that cannot be read; the rest of its import goes on."""

    async def ready_stages(self, limit: int) -> list[Stage]:
        """What may become jobs now: of running imports, what others wait for first."""

    async def stages_in_jobs(self) -> list[Stage]:
        """What is a job now and has no answer here yet."""

    async def mark_queued(self, jobs: Sequence[tuple[StageKey, str]]) -> None:
        """These are jobs now, with their ids."""

    async def mark_ready(self, keys: Sequence[StageKey]) -> None:
        """Their jobs are of no use; they are to be asked again, as other jobs."""

    async def store_answer(
        self, key: StageKey, answer: bytes, *, usage: Usage | None, now: float
    ) -> None:
        """Keep an answer, before anybody reads it."""

    async def give_up(self, key: StageKey, state: StageState, reason: str, *, now: float) -> None:
        """It gets no answer: quarantined, to be tried again by a person, or cancelled."""

    async def next_answers(self, limit: int) -> list[Answered]:
        """Answers whose turn it is to be interpreted."""

    async def apply(
        self, drafts: Sequence[Draft], relate: Relate, *, embedder: str, now: float
    ) -> int:
        """Relate, write and finish answers in their order, in one transaction; how many of them.

        Those behind, if any, have to wait: for work that has come before them, for their text to
        be read again, or for the next transaction. What one of them raises ends the transaction
        before it; if it is the first, it is raised here.
        """

    async def spans(self, ids: Sequence[SpanId]) -> list[PlacedSpan]:
        """Spans by id, in the order of the ids; those that were erased are left out."""

    async def tiles(self, ids: Sequence[TileId]) -> list[Tile]:
        """Tiles by id, in the order of the ids; those that were erased are left out."""

    async def get_tile(self, id: TileId) -> TileView:
        """A tile, its log, and the words that it rests on. Raises `NotFound`."""

    async def add_tile(self, new: NewTile, *, now: float) -> bool:
        """Insert a tile with its support; true if it is new."""

    async def append(self, change: Change, *, now: float, expected: int | None = None) -> TileState:
        """Add a row to a tile's log, if it is at that version. Raises `NotFound`, `Conflict`."""

    async def undo(self, id: TileId, *, now: float) -> TileState:
        """Take back the last decision about a tile. Raises `NotFound`, `Conflict`."""

    async def record_injection(
        self, request_id: str, turn: str, tiles: Sequence[TileId], *, now: float
    ) -> None:
        """These tiles were put before the answer to a user's turn; only its hash is kept."""

    async def injections(self, turns: Sequence[str]) -> dict[str, tuple[TileId, ...]]:
        """The tiles behind the answers to these turns, for those that had any."""

    async def sources(self, scope: str | None, *, limit: int, offset: int) -> list[SourceView]:
        """By URI; tombstones too."""

    async def quarantine(self, *, limit: int, offset: int) -> list[Refusal]:
        """What guards and the engine refused, newest first, with the reasons."""

    async def stats(self) -> Stats:
        """How much there is."""

    @property
    def changes(self) -> int:
        """How many writes there were since it was opened; the same number: nothing is different."""

    async def census(self, model: str) -> Census:
        """The same for metrics, with all that is counted; `model`: whose vectors are wanted."""

    async def export_page(
        self, table: str, scope: str | None, after: int, limit: int
    ) -> tuple[list[dict[str, Any]], int | None]:
        """The next lines of `sources`, `spans` or `tiles`, and where to go on; `None`: the end."""

    async def restore(self, lines: Sequence[dict[str, Any]], *, now: float) -> int:
        """Read exported lines; returns how many were new. Raises `InvalidRequest`."""

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
        """Commit a document together with tiles that a person stated themselves."""

    async def forget_source(self, id: SourceId, *, now: float) -> Forgotten:
        """Erase a source's text and all that rests on it alone. Raises `NotFound`."""

    async def forget_span(self, id: SpanId, *, now: float) -> Forgotten:
        """Erase one span wherever it stands, and all that rests on it alone. Raises `NotFound`."""

    async def forget_tile(self, id: TileId, *, now: float) -> Forgotten:
        """Erase one statement; it is not extracted again. Raises `NotFound`."""


@dataclass(frozen=True, slots=True)
class NewWork:
    """One call to a model, to be run when there is room for it."""

    key: str
    body: bytes


class BackgroundJobs(Protocol):
    """Durable background work, as the fabric has it; the memory server has no queue of its own."""

    async def submit(self, work: Sequence[NewWork]) -> list[JobId]:
        """Store them, all or none; the same key is the same job. Raises `StokerError`."""

    async def get(self, id: JobId) -> Job:
        """Raises `NotFound` for one that was deleted after its retention."""

    async def result(self, id: JobId) -> bytes | None:
        """The engine's answer, verbatim; `None` unless completed. Raises `NotFound`."""

    async def cancel(self, id: JobId) -> None:
        """Cancel it if it is not over; never an error."""

    def on_change(self, callback: Callable[[Iterable[JobId]], None]) -> None:
        """Call it with the ids of jobs that have changed."""
