"""The shape of the store of batches and files. What a batch's lines go through is in `ports.py`.

A file's row comes before its content and goes after it: a row that is hidden says that the content
under its id is not to be relied on, and at the next start both are removed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from stoker.core.batches import Batch, BatchStatus, StoredFile
from stoker.core.jobs import JobError, JobState
from stoker.core.work import JobId, Usage


@dataclass(frozen=True, slots=True)
class LineEnd:
    """What became of one line's job."""

    key: str
    job_id: JobId
    state: JobState
    deadline_at: float | None
    error: JobError | None
    usage: Usage | None
    result: bytes | None


class BatchStore(Protocol):
    """Durable like the jobs, and beside them. Methods raise `StoreError`.

    Those that take a `tenant` know its things only; `None` is for those of all.
    """

    async def add_file(self, file: StoredFile) -> None:
        """Add a hidden row, before its content is written."""

    async def show_file(self, file: StoredFile) -> None:
        """Its content is whole and on the disk: what is known of it now, for everybody.

        Raises `NotFound` for one that was dropped.
        """

    async def file(self, id: str, *, tenant: str | None) -> StoredFile:
        """Raises `NotFound`."""

    async def list_files(
        self,
        *,
        tenant: str | None,
        purpose: str | None,
        limit: int,
        after: str | None,
        is_ascending: bool,
    ) -> list[StoredFile]:
        """In order of upload; page by passing the last id as `after`. Raises `NotFound`."""

    async def hide_file(self, id: str, *, tenant: str | None) -> None:
        """Before its content goes. Raises `NotFound`, and `Conflict` while a batch reads it."""

    async def hide_expired(self, *, now: float) -> list[str]:
        """Hide the files whose time has passed and that no batch reads; return their ids."""

    async def hidden_files(self) -> list[str]:
        """Every hidden file."""

    async def is_hidden(self, id: str) -> bool:
        """Whether it is, after all writes that were asked before."""

    async def drop_file(self, id: str) -> None:
        """Remove a hidden row, after its content."""

    async def add_batch(self, batch: Batch) -> None:
        """Raises `NotFound` when its input file is not there."""

    async def batch(self, id: str, *, tenant: str | None) -> Batch:
        """Raises `NotFound`."""

    async def list_batches(
        self, *, tenant: str | None, limit: int, after: str | None
    ) -> list[Batch]:
        """Newest first; page by passing the last id as `after`. Raises `NotFound`."""

    async def open_batches(self) -> list[Batch]:
        """Those that are not final, oldest first."""

    async def change_batch(
        self, id: str, change: Callable[[Batch], Batch], *, files: Sequence[StoredFile] = ()
    ) -> Batch:
        """Put `change(batch)` in its place and show `files`, in one transaction.

        `change` is pure: it runs inside the transaction. Raises `NotFound`.
        """

    async def batch_counts(self) -> Mapping[BatchStatus, int]:
        """Batches per status; every status is present."""

    async def line_ends(self, keys: Sequence[str], *, batch: str) -> list[LineEnd]:
        """The jobs of a batch that have these keys, with their results."""

    async def cancel_waiting(self, batch: str, *, now: float, limit: int) -> list[JobId]:
        """Cancel up to `limit` jobs of a batch that wait; return their ids."""
