"""The file of keys in the data folder: read whenever it has changed, and replaced as a whole.

The commands write it and a running service reads it, so a key works, or stops working, at the next
request. Digests only: whoever reads the file has no key.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import structlog

from stoker.access.keys import Key, digest_of, id_of, new_secret, opens
from stoker.core.errors import ConfigError, Conflict, NotFound, Unauthorized

FILE = "keys.json"
_LOCK = "keys.lock"

log = structlog.get_logger("stoker.access")


class _Content(msgspec.Struct):
    keys: list[Key]
    version: int = 1


class KeyFile:
    """The keys of one data folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._keys: dict[str, Key] = {}
        self._stamp: tuple[int, int, int] | None = None
        self._stamp, self._keys = _stamp(self._path), _read(self._path)

    def all(self) -> list[Key]:
        """Every key that was ever created, in that order; revoked ones too."""
        self._refresh()
        return list(self._keys.values())

    def find(self, secret: str, now: float) -> Key:
        """The key that a secret opens. Raises `Unauthorized`."""
        self._refresh()
        key = self._keys.get(id_of(secret) or "")
        if key is None or not opens(key, secret):
            raise Unauthorized("this API key is not known here; `stoker keys create` makes one")
        if not key.is_valid(now):
            raise Unauthorized(f"the API key {key.id} ({key.name}) is {key.status(now)}")
        return key

    def _refresh(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        try:
            keys = _read(self._path)
        except ConfigError as error:
            # Those that are known stay: a slip of a hand must not open the door, nor close it.
            log.error("keys_unreadable", error=str(error))
        else:
            self._keys = keys
        self._stamp = stamp


def create(folder: Path, key: Key) -> tuple[Key, str]:
    """Add a key, with an id and a secret that are made here. Raises `Conflict`, `ConfigError`."""
    id, secret = new_secret()
    made = replace(key, id=id, digest=digest_of(secret))

    def add(keys: dict[str, Key]) -> None:
        if any(one.name == key.name and one.revoked_at is None for one in keys.values()):
            raise Conflict(
                f"a key named {key.name!r} exists already; revoke it, or use another name"
            )
        keys[id] = made

    _change(folder, add)
    return made, secret


def revoke(folder: Path, id_or_name: str, now: float) -> Key:
    """End a key; it stays in the list. Raises `NotFound`, `ConfigError`."""
    found: list[Key] = []

    def end(keys: dict[str, Key]) -> None:
        found.extend(
            replace(key, revoked_at=now)
            for key in keys.values()
            if id_or_name in {key.id, key.name} and key.revoked_at is None
        )
        if not found:
            raise NotFound(f"no key {id_or_name!r} that is not revoked; `stoker keys list` has all")
        keys.update({key.id: key for key in found})

    _change(folder, end)
    return found[0]


def _change(folder: Path, change: Callable[[dict[str, Key]], None]) -> None:
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / _LOCK):
            keys = _read(path)
            change(keys)
            _write(path, keys)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error


@contextmanager
def _locked(path: Path) -> Generator[None]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _read(path: Path) -> dict[str, Key]:
    try:
        content = msgspec.json.decode(path.read_bytes(), type=_Content)
    except (FileNotFoundError, NotADirectoryError):  # the folder is the store's to complain of
        return {}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: not a file of keys: {error}; restore a backup") from error
    return {key.id: key for key in content.keys}


def _write(path: Path, keys: dict[str, Key]) -> None:
    content = msgspec.json.format(msgspec.json.encode(_Content([*keys.values()])), indent=1)
    fresh = path.with_suffix(".new")
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(path)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
