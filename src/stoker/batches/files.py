"""Uploaded and written files: contents in one folder, each under its id; all else in the store.

A name that a client gave never becomes part of a path. A content is written under a hidden row and
shown when it is whole and synced, so that a crash at any moment leaves no half file to be seen.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from stoker.batch_ports import BatchStore
from stoker.core.batches import StoredFile
from stoker.core.errors import DiskFull, NotFound, StoreError
from stoker.ports import Clock
from stoker.runtime.ids import Ids

_BUFFER_BYTES = 1 << 20


class Files:
    """Every file of a service."""

    def __init__(self, store: BatchStore, folder: Path, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._folder = folder
        self._clock = clock
        self._ids = ids
        self._under_way: set[str] = set()

    @asynccontextmanager
    async def receiving(self, tenant: str = "") -> AsyncGenerator[IncomingFile]:
        """A new content to write. Unless it was shown in the block, nothing is left of it.

        Raises `DiskFull`, `StoreError`.
        """
        id = self._ids.file()
        known = StoredFile(id, tenant, "", "", 0, created_at=self._clock.wall())
        self._under_way.add(id)
        try:
            await self._store.add_file(known)
            # Not in a thread: nobody would close what it opened for a task that is gone.
            with _create(self.path(id)) as file:
                yield IncomingFile(known, file)
        finally:
            await self._discard(id)
            self._under_way.remove(id)

    async def show(self, file: StoredFile) -> None:
        """Let everybody see a sealed file."""
        await self._store.show_file(file)

    async def get(self, id: str, *, tenant: str | None = "") -> StoredFile:
        """What is known of a file. Raises `NotFound`."""
        return await self._store.file(id, tenant=tenant)

    async def page(
        self,
        *,
        tenant: str | None = "",
        purpose: str | None = None,
        limit: int = 10_000,
        after: str | None = None,
        is_ascending: bool = False,
    ) -> list[StoredFile]:
        """A page of files in order of upload. Raises `NotFound` for an unknown `after`."""
        return await self._store.list_files(
            tenant=tenant, purpose=purpose, limit=limit, after=after, is_ascending=is_ascending
        )

    async def content(self, id: str, *, tenant: str | None = "") -> tuple[StoredFile, Path]:
        """A file and where its content lies. Raises `NotFound`."""
        file = await self.get(id, tenant=tenant)
        path = self.path(file.id)
        if not await asyncio.to_thread(path.is_file):
            raise NotFound(f"the content of {file.id} is gone from the data folder")
        return file, path

    async def delete(self, id: str, *, tenant: str | None = "") -> None:
        """Remove it. Raises `NotFound`, and `Conflict` while a batch reads it."""
        await self._store.hide_file(id, tenant=tenant)
        await self._discard(id)

    async def expire(self) -> None:
        """Remove those whose time has passed."""
        for id in await self._store.hide_expired(now=self._clock.wall()):
            await self._discard(id)

    async def recover(self) -> None:
        """Remove what an earlier process left half-written or half-deleted."""
        for id in await self._store.hidden_files():
            if id not in self._under_way:
                await self._discard(id)

    def path(self, id: str) -> Path:
        """Where the content of one of our own ids lies."""
        return self._folder / id

    async def _discard(self, id: str) -> None:
        """Remove a hidden file, its content first; one that is shown stays."""
        if await self._store.is_hidden(id):
            await asyncio.to_thread(self.path(id).unlink, missing_ok=True)
            await self._store.drop_file(id)


class IncomingFile:
    """A content that is being written."""

    def __init__(self, known: StoredFile, file: IO[bytes]) -> None:
        self.bytes = 0
        self._known = known
        self._file = file
        self._buffer = bytearray()

    @property
    def created_at(self) -> float:
        return self._known.created_at

    async def write(self, data: bytes) -> None:
        """Append. Raises `DiskFull`, `StoreError`."""
        self._buffer += data
        self.bytes += len(data)
        if len(self._buffer) >= _BUFFER_BYTES:
            await asyncio.to_thread(self._flush)

    async def sealed(
        self, *, filename: str, purpose: str, expires_at: float | None = None
    ) -> StoredFile:
        """Bring it to the disk, to be shown. Raises `DiskFull`, `StoreError`."""
        await asyncio.to_thread(self._sync)
        return replace(
            self._known,
            filename=filename,
            purpose=purpose,
            bytes=self.bytes,
            expires_at=expires_at,
        )

    def _flush(self) -> None:
        data, self._buffer = self._buffer, bytearray()
        try:
            view = memoryview(data)
            while view:  # a disk that is nearly full takes a part, and says no the next time
                view = view[self._file.write(view) :]
        except OSError as error:
            raise file_error(error) from error

    def _sync(self) -> None:
        self._flush()
        try:
            os.fsync(self._file.fileno())
            _sync_folder(Path(self._file.name).parent)
        except OSError as error:
            raise file_error(error) from error


def file_error(error: OSError) -> StoreError:
    """What an error of the file system means, and what to do."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return DiskFull(
            f"the disk is full ({error.strerror}): nothing of this file was kept; free some space "
            "in the data folder, for example by deleting old files, and send it again"
        )
    return StoreError(f"the data folder cannot be used: {error.strerror or error}")


def _create(path: Path) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("xb", buffering=0)
    except OSError as error:
        raise file_error(error) from error


def _sync_folder(folder: Path) -> None:
    """A new name is on the disk when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
