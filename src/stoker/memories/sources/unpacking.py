"""Zip archives that can be trusted: names, sizes and ratios are checked, also while reading."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from io import BytesIO
from zipfile import ZipFile, ZipInfo

from stoker.memories.sources.documents import MIB, Limits, SourceError

_STEP_BYTES = 1 * MIB
_ADVICE_BOMB = "it looks like a zip bomb; unpack it by hand if you trust it"


@dataclass(slots=True)
class Budget:
    """How much may still be unpacked, over an archive and all archives in it."""

    left_bytes: int


class Unpacked:
    """The files of an archive by name, each read on demand."""

    def __init__(self, archive: ZipFile, limits: Limits, budget: Budget) -> None:
        self._archive = archive
        self._limits = limits
        self._budget = budget
        files = [info for info in archive.infolist() if not info.filename.endswith("/")]
        self._infos = {info.filename: info for info in files if info.filename}
        self.names = tuple(self._infos)

    def info(self, name: str) -> ZipInfo:
        """The entry of the archive's directory."""
        return self._infos[name]

    def read(self, name: str) -> bytes:
        """The bytes of one file, or `SourceError`."""
        info = self._infos[name]
        self._check(info)
        parts, size = [], 0
        try:
            with self._archive.open(info) as file:
                # The directory may lie about the size, so what really comes out is counted.
                while part := file.read(_STEP_BYTES):
                    parts.append(part)
                    size += len(part)
                    self._count(info, size, len(part))
        except SourceError:
            raise
        except Exception as error:  # zipfile meets hostile bytes and raises anything
            raise SourceError(
                f"the archive is damaged there ({error})",
                advice="pack it again",
                code="source_corrupt",
            ) from error
        return b"".join(parts)

    def _check(self, info: ZipInfo) -> None:
        if is_outside(info.filename):
            raise SourceError(
                "its path leads out of the archive",
                advice="pack it again with plain relative paths",
                code="source_unsafe",
            )
        if info.flag_bits & 0x1:
            raise SourceError(
                "it is encrypted",
                advice="unpack it with its password and import the files",
                code="source_encrypted",
            )
        self._count(info, info.file_size, 0)

    def _count(self, info: ZipInfo, size: int, more: int) -> None:
        self._budget.left_bytes -= more
        if size > self._limits.file_max_bytes or self._budget.left_bytes < 0:
            raise SourceError(
                "it unpacks to too much", advice=_ADVICE_BOMB, code="source_too_large"
            )
        if size > MIB and size > self._limits.archive_ratio_max * max(1, info.compress_size):
            raise SourceError(
                f"it unpacks to more than {self._limits.archive_ratio_max} times its size",
                advice=_ADVICE_BOMB,
                code="source_too_large",
            )


def open_zip(data: bytes, limits: Limits, budget: Budget | None = None) -> Unpacked:
    """Open an archive in memory; `SourceError` if it is none, or has too many files."""
    try:
        archive = ZipFile(BytesIO(data))
    except Exception as error:  # the same
        raise SourceError(
            f"it is no readable zip archive ({error})",
            advice="pack it again",
            code="source_corrupt",
        ) from error
    if len(archive.infolist()) > limits.files_max:
        raise SourceError(
            f"it holds more than {limits.files_max:,} files",
            advice="split the archive",
            code="source_too_large",
        )
    return Unpacked(archive, limits, budget or Budget(limits.archive_max_bytes))


def is_outside(name: str) -> bool:
    """Whether a path in an archive is absolute or climbs out of it."""
    path = posixpath.normpath(name.replace("\\", "/"))
    return path.startswith(("/", "../")) or path == ".." or path[1:2] == ":"
