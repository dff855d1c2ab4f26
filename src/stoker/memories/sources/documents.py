"""What a reader gives back: documents made of blocks, or an error that names the file.

A document's text is its blocks joined by an empty line; a block's place is counted in bytes of that
text. How a format is read is the business of the readers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote

from stoker.core.errors import StokerError
from stoker.memories.tiles import Role, SpanKind

MIB = 1024 * 1024
BLOCK_GAP = "\n\n"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one import may cost. Whatever goes over a limit becomes an error of that file alone."""

    file_max_bytes: int = 256 * MIB
    line_max_bytes: int = 8 * MIB
    """Of one JSONL record; of text, where a longer line is no prose."""
    archive_max_bytes: int = 1024 * MIB
    """What an archive may hold once unpacked, with the archives inside it."""
    archive_ratio_max: int = 200
    """Unpacked to packed, for members over a MiB: text stays under 20, a bomb is over 1,000."""
    archive_depth_max: int = 3
    files_max: int = 200_000
    pages_max: int = 10_000
    read_max_s: float = 60.0
    """For one file in the reading process."""
    read_max_ram_bytes: int = 2048 * MIB


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, a heading, a turn, a piece of code: the unit that chunks are cut between."""

    text: str
    kind: SpanKind = SpanKind.PARAGRAPH
    role: Role = Role.DOCUMENT
    author: str = ""
    said_at: float | None = None
    session: str = ""
    """The part of the document it stands in: a chapter, a page."""


@dataclass(frozen=True, slots=True)
class Document:
    """One text with one place of origin: a file, a message of a mailbox, a chat of an export."""

    uri: str
    kind: str
    title: str
    blocks: tuple[Block, ...]
    importer: str
    """Reader and version, such as `markdown/1`."""
    observed_at: float | None = None
    """When the text was true (wall seconds); None where nothing says so."""
    container: str = ""
    """URI of the file that it is a part of; empty for a file of its own."""
    secrets_count: int = 0
    """How many keys and passwords were taken out."""

    @property
    def text(self) -> str:
        return BLOCK_GAP.join(block.text for block in self.blocks)

    def places(self) -> Iterator[tuple[int, int]]:
        """Where each block stands in the UTF-8 bytes of `text`, in order."""
        at = 0
        for block in self.blocks:
            end = at + len(block.text.encode())
            yield at, end
            at = end + len(BLOCK_GAP)


class SourceError(StokerError):
    """One file, or a part of it, cannot be read; everything else goes on.

    `uri` names it, `problem` says what is wrong, `advice` what to do.
    """

    code = "source_corrupt"

    def __init__(self, problem: str, *, advice: str, code: str, uri: str = "") -> None:
        super().__init__(f"{uri or 'input'}: {problem}; {advice}")
        self.problem = problem
        self.advice = advice
        self.code = code
        self.uri = uri

    def at(self, uri: str) -> SourceError:
        """The same error, naming the file."""
        return SourceError(self.problem, advice=self.advice, code=self.code, uri=uri)


Reading = Document | SourceError


def name_of(uri: str) -> str:
    """The file's name in a URI or a path inside an archive."""
    return PurePosixPath(unquote(uri.partition("#")[0])).name
