"""One Stoker per data folder, held by the kernel: a crash of any kind lets go of it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stoker.core.errors import StoreError

LOCK_FILE = "stoker.lock"


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold the data folder, made if it is missing. Raises `StoreError` if it cannot be had."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        message = f"data folder {folder}: cannot be written ({error.strerror})"
        raise StoreError(f"{message}; make it writable or name another with --data") from error
    try:
        _lock(lock, folder)
        yield
        # The file stays: to unlink it would let a third process lock a name nobody else sees.
        os.ftruncate(lock, 0)
    finally:
        os.close(lock)


def _lock(lock: int, folder: Path) -> None:
    try:
        # `flock` belongs to the open file, not to the process as `lockf` does: it also stops a
        # second store in this very process.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 20, 0).decode(errors="replace").strip() or "unknown"
        message = f"data folder {folder}: in use by another Stoker (pid {holder})"
        raise StoreError(f"{message}; stop it, or name another folder with --data") from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
