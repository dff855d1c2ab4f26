"""Paths, globs, folders and standard input, as documents. One bad file never ends an import."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from stoker.memories.sources.containers import Origin, read_bytes
from stoker.memories.sources.documents import Limits, Reading, SourceError
from stoker.memories.sources.ignoring import Ignored
from stoker.memories.sources.isolation import ReaderProcess


def read_paths(
    paths: Iterable[str],
    *,
    observed_at: float | None = None,
    limits: Limits | None = None,
    stdin: BinaryIO | None = None,
) -> Iterator[Reading]:
    """Every document under `paths` (files, folders, globs, `-`), or an error for each that fails.

    `observed_at` says when the text was true; else each file's own date does.
    """
    limits = limits or Limits()
    with ReaderProcess(limits) as reader:
        for found in find(paths, limits):
            if isinstance(found, SourceError):
                yield found
            elif str(found) == "-":
                data = stdin.read(limits.file_max_bytes + 1) if stdin else b""
                origin = Origin("stdin:", observed_at)
                yield from read_bytes(data, origin, reader, limits)
            else:
                yield from _read_file(found, reader, limits, observed_at)


def read_upload(
    data: bytes,
    uri: str,
    *,
    observed_at: float | None = None,
    limits: Limits | None = None,
) -> Iterator[Reading]:
    """Every document in bytes that came over the network; the end of `uri` tells what they are."""
    limits = limits or Limits()
    with ReaderProcess(limits) as reader:
        yield from read_bytes(data, Origin(uri, observed_at), reader, limits)


def find(paths: Iterable[str], limits: Limits) -> Iterator[Path | SourceError]:
    """The files that `paths` mean, each once; errors for paths that mean none."""
    seen: set[str] = set()
    for path in paths:
        for found in [Path("-")] if path == "-" else _expand(path):
            if isinstance(found, Path):
                key = os.path.realpath(found)
                if key in seen:
                    continue
                seen.add(key)
                if len(seen) > limits.files_max:
                    yield _too_many(path, limits)
                    return
            yield found


def _expand(path: str) -> Iterator[Path | SourceError]:
    place = Path(path).expanduser()
    if place.is_dir():
        yield from _walk(place)
    elif place.exists() or place.is_symlink():
        yield place
    else:
        matches = sorted(glob.glob(str(place), recursive=True)) if glob.has_magic(path) else []  # noqa: PTH207  (absolute patterns)
        for match in matches:
            yield from _walk(Path(match)) if Path(match).is_dir() else [Path(match)]
        if not matches:
            yield SourceError(
                "there is nothing",
                advice="check the path",
                code="source_not_found",
                uri=_shown(path),
            )


def _walk(top: Path) -> Iterator[Path | SourceError]:
    """The files below a folder in a stable order, but for what is ignored; links stay inside."""
    ignored = Ignored()
    errors: list[OSError] = []
    real_top = os.path.realpath(top)
    # Folders that are links are not entered: that ends every loop.
    for folder, folders, names in os.walk(top, onerror=errors.append):
        inside = Path(folder).relative_to(top).as_posix().removeprefix(".")
        if ".gitignore" in names:
            ignored.add(inside, _text_of(Path(folder) / ".gitignore"))
        prefix = f"{inside}/" if inside else ""
        folders[:] = sorted(
            name for name in folders if not ignored.skips(prefix + name, is_folder=True)
        )
        for name in sorted(names):
            if ignored.skips(prefix + name):
                continue
            path = Path(folder) / name
            if path.is_symlink() and not _is_below(os.path.realpath(path), real_top):
                yield _leads_out(path)
            else:
                yield path
    yield from (_unreadable(Path(str(error.filename)), error) for error in errors)


def _read_file(
    path: Path, reader: ReaderProcess, limits: Limits, observed_at: float | None
) -> Iterator[Reading]:
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            yield _not_regular(path)
            return
        if about.st_size > limits.file_max_bytes:
            yield _too_large(path, about.st_size, limits)
            return
        with path.open("rb") as file:
            data = file.read(limits.file_max_bytes + 1)  # it may grow meanwhile
    except OSError as error:
        yield _unreadable(path, error)
        return
    origin = Origin(_uri(path), observed_at, about.st_mtime)
    yield from read_bytes(data, origin, reader, limits)


def _uri(path: Path) -> str:
    return path.absolute().resolve().as_uri()


def _shown(path: str) -> str:
    """What was typed, as text that can be stored: a file's name may be any bytes."""
    return path.encode("utf-8", "replace").decode()


def _text_of(path: Path) -> str:
    try:
        return path.read_bytes()[: 1 << 20].decode("utf-8", "replace") if path.is_file() else ""
    except OSError:
        return ""


def _is_below(path: str, top: str) -> bool:
    return os.path.commonpath((path, top)) == top


def _too_many(path: str, limits: Limits) -> SourceError:
    return SourceError(
        f"there are more than {limits.files_max:,} files",
        advice="import its folders one by one",
        code="source_too_large",
        uri=_shown(path),
    )


def _leads_out(path: Path) -> SourceError:
    return SourceError(
        "this link leads out of the folder",
        advice="import what it points to by its own name",
        code="source_unsafe",
        uri=path.absolute().as_uri(),
    )


def _not_regular(path: Path) -> SourceError:
    return SourceError(
        "this is no regular file",
        advice="leave it out",
        code="source_unsupported",
        uri=path.absolute().as_uri(),
    )


def _unreadable(path: Path, error: OSError) -> SourceError:
    return SourceError(
        f"the system does not give it ({error.strerror or error})",
        advice="check its permissions and its disk",
        code="source_unreadable",
        uri=path.absolute().as_uri(),
    )


def _too_large(path: Path, size: int, limits: Limits) -> SourceError:
    return SourceError(
        f"it has {size:,} bytes, more than the {limits.file_max_bytes:,} allowed",
        advice="split it into smaller files",
        code="source_too_large",
        uri=path.absolute().as_uri(),
    )
