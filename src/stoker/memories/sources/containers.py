"""Files that hold files: zip archives, and mailboxes, which hold messages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import quote

from stoker.memories.sources.documents import (
    Document,
    Limits,
    Reading,
    SourceError,
    name_of,
)  # fmt: skip
from stoker.memories.sources.formats import Format, format_of
from stoker.memories.sources.ignoring import Ignored
from stoker.memories.sources.isolation import ReaderProcess
from stoker.memories.sources.readers.mail import message_uri
from stoker.memories.sources.unpacking import Budget, Unpacked, open_zip

_MESSAGE_START = re.compile(rb"^From [^\n]{3,300}\n(?=[A-Za-z-]+:)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of some bytes from outside: what they are called and how old they are."""

    uri: str
    observed_at: float | None = None
    """The caller's word; it counts more than any date in the file."""
    modified_at: float | None = None
    """The file's own; it counts where the file has no date in it."""
    container: str = ""


def read_bytes(
    data: bytes, origin: Origin, reader: ReaderProcess, limits: Limits
) -> Iterator[Reading]:
    """Every document in `data`, and an error for each part that cannot be read."""
    budget = Budget(limits.archive_max_bytes)
    yield from _read(data, origin, _Shared(reader, limits, budget), depth=0)


@dataclass(frozen=True, slots=True)
class _Shared:
    reader: ReaderProcess
    limits: Limits
    budget: Budget


def _read(data: bytes, origin: Origin, shared: _Shared, *, depth: int) -> Iterator[Reading]:
    try:
        if len(data) > shared.limits.file_max_bytes:
            raise _file_too_large(len(data), shared.limits)
        format = format_of(name_of(origin.uri), data)
        if format is Format.ZIP:
            yield from _read_zip(data, origin, shared, depth=depth)
            return
    except SourceError as error:
        yield error.at(error.uri or origin.uri)
        return
    parts = _messages(data, origin.uri) if format is Format.MBOX else [(origin.uri, data)]
    one = Format.MAIL if format is Format.MBOX else format
    for uri, part in parts:
        for reading in shared.reader.read(one, part, uri):
            yield _dated(reading, origin) if isinstance(reading, Document) else reading


def _read_zip(data: bytes, origin: Origin, shared: _Shared, *, depth: int) -> Iterator[Reading]:
    if depth >= shared.limits.archive_depth_max:
        raise SourceError(
            f"archives are nested deeper than {shared.limits.archive_depth_max}",
            advice="unpack the inner ones by hand",
            code="source_too_large",
        )
    archive = open_zip(data, shared.limits, shared.budget)
    ignored = Ignored()
    for name in archive.names:
        if ignored.skips(name):
            continue
        uri = f"{origin.uri}!/{quote(name)}"
        try:
            member = archive.read(name)
        except SourceError as error:
            yield error.at(uri)
            if shared.budget.left_bytes < 0:  # each further file would say the same
                return
            continue
        inner = Origin(
            uri, origin.observed_at, _zip_time(archive, name), origin.container or origin.uri
        )
        yield from _read(member, inner, shared, depth=depth + 1)


def _messages(data: bytes, uri: str) -> Iterator[tuple[str, bytes]]:
    data = data.replace(b"\r\n", b"\n")
    starts = [match.span() for match in _MESSAGE_START.finditer(data)]
    ends = [start for start, _ in starts[1:]] + [len(data)]
    if not starts:
        yield uri, data  # the mail reader says what is missing
        return
    for order, ((_, begin), end) in enumerate(zip(starts, ends, strict=True)):
        message = re.sub(rb"^>(>*From )", rb"\1", data[begin:end], flags=re.MULTILINE)
        yield message_uri(uri, message, order), message


def _dated(document: Document, origin: Origin) -> Document:
    is_part = document.uri != origin.uri
    container = origin.container or (origin.uri if is_part else "")
    times = (origin.observed_at, document.observed_at, origin.modified_at)
    observed_at = next((at for at in times if at is not None), None)
    return replace(document, observed_at=observed_at, container=container)


def _zip_time(archive: Unpacked, name: str) -> float | None:
    year, month, day, hour, minute, second = archive.info(name).date_time
    try:
        # 1980 is what a packer writes that knows no time.
        at = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
        return at.timestamp() if year > 1980 else None
    except ValueError:
        return None


def _file_too_large(size: int, limits: Limits) -> SourceError:
    return SourceError(
        f"it has {size:,} bytes, more than the {limits.file_max_bytes:,} allowed",
        advice="split it into smaller files",
        code="source_too_large",
    )
