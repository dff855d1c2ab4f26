"""DOCX and EPUB: zip archives of XML, with a known structure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from datetime import UTC
from io import BytesIO
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote
from xml.etree import ElementTree

from stoker.memories.sources.dates import wall_time
from stoker.memories.sources.decoding import decode
from stoker.memories.sources.documents import Block, Document, Limits, Reading, SourceError, name_of
from stoker.memories.sources.readers.html import html_blocks
from stoker.memories.sources.unpacking import Unpacked, open_zip
from stoker.memories.sources.writing import finish
from stoker.memories.tiles import SpanKind

if TYPE_CHECKING:
    from docx.document import Document as Docx

_CONTAINER = "META-INF/container.xml"


def read_docx(data: bytes, uri: str, limits: Limits) -> Iterator[Reading]:
    """One document; headings give the chapter, tables are read row by row."""
    try:
        from docx import Document as open_docx  # noqa: PLC0415  (an extra)
    except ImportError:
        raise SourceError(
            "DOCX needs a library that is not installed",
            advice="install `stoker[memories]`",
            code="source_needs_extra",
        ) from None
    archive = open_zip(data, limits)
    for name in archive.names:
        if name.endswith((".xml", ".rels")):
            _refuse_entities(archive.read(name))
    docx = open_docx(BytesIO(data))
    about = docx.core_properties
    at = about.modified or about.created
    title = about.title or PurePosixPath(name_of(uri)).stem
    observed_at = at.replace(tzinfo=at.tzinfo or UTC).timestamp() if at else None
    blocks = tuple(_docx_blocks(docx))
    yield finish(Document(uri, "docx", title, blocks, "docx/1", observed_at=observed_at))


def _docx_blocks(docx: Docx) -> Iterator[Block]:
    chapter = ""
    for part in docx.iter_inner_content():
        if hasattr(part, "rows"):
            for row in part.rows:
                cells = dict.fromkeys(" ".join(cell.text.split()) for cell in row.cells)
                yield Block(" | ".join(cells), SpanKind.TABLE, session=chapter)
        elif part.style is not None and str(part.style.name).startswith(("Heading", "Title")):
            chapter = part.text
            yield Block(part.text, SpanKind.HEADING, session=chapter)
        else:
            yield Block(part.text, session=chapter)


def read_epub(data: bytes, uri: str, limits: Limits) -> Iterator[Reading]:
    """One document: the chapters in the order of the book's spine."""
    archive = open_zip(data, limits)
    if "META-INF/encryption.xml" in archive.names and b"rights" in b"".join(
        name.encode() for name in archive.names
    ):
        raise SourceError(
            "the book is locked by its shop (DRM)",
            advice="import a copy without it",
            code="source_encrypted",
        )
    book_path = next(
        (part.get("full-path", "") for part in _xml(archive, _CONTAINER) if part.get("full-path")),
        "",
    )
    book = list(_xml(archive, book_path))
    texts = {
        part.get("id"): posixpath.normpath(
            posixpath.join(posixpath.dirname(book_path), unquote(part.get("href", "")))
        )
        for part in book
        if _name(part) == "item" and "html" in part.get("media-type", "")
    }
    spine = [texts[ref] for part in book if (ref := part.get("idref")) in texts]
    blocks: list[Block] = []
    for path in spine:
        if path in archive.names:
            blocks += html_blocks(decode(archive.read(path))).blocks
    title = _field(book, "title") or PurePosixPath(name_of(uri)).stem
    observed_at = wall_time(_field(book, "date"))
    yield finish(Document(uri, "epub", title, tuple(blocks), "epub/1", observed_at=observed_at))


def _field(book: list[ElementTree.Element], name: str) -> str:
    return next((part.text.strip() for part in book if _name(part) == name and part.text), "")


def _name(part: ElementTree.Element) -> str:
    return part.tag.rpartition("}")[2]


def _xml(archive: Unpacked, name: str) -> Iterator[ElementTree.Element]:
    if name not in archive.names:
        raise SourceError(
            f"it is no EPUB: {name or 'the book file'} is missing",
            advice="save the book anew, or import its chapters as HTML",
            code="source_corrupt",
        )
    data = archive.read(name)
    _refuse_entities(data)
    return ElementTree.fromstring(data).iter()


def _refuse_entities(data: bytes) -> None:
    """A few lines of entities can unfold to gigabytes; no office program writes any."""
    text = data if b"\0" not in data[:64] else data.replace(b"\0", b"")  # UTF-16 hides nothing
    if b"<!ENTITY" in text:
        raise SourceError(
            "its XML defines entities, as only an attack does",
            advice="save it anew with an office program, or leave it out",
            code="source_unsafe",
        )
