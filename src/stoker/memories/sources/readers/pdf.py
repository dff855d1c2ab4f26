"""PDF: the text of its pages, as paragraphs, without running heads. Pictures of text have none."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from stoker.memories.sources.documents import Block, Document, Limits, Reading, SourceError, name_of
from stoker.memories.sources.writing import finish

if TYPE_CHECKING:
    from pypdf import PdfReader

_ENDS = re.compile(r"[.!?:;…][\"'”’)]*$")
_DIGITS = re.compile(r"\d+")


def read_pdf(data: bytes, uri: str, limits: Limits) -> Iterator[Reading]:
    """One document; a block's session is its page."""
    try:
        import pypdf  # noqa: PLC0415  (an extra)
    except ImportError:
        raise SourceError(
            "PDF needs a library that is not installed",
            advice="install `stoker[memories]`",
            code="source_needs_extra",
        ) from None
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it tells of every repaired flaw
    reader = pypdf.PdfReader(BytesIO(data))
    # Many PDFs have only an owner's password: they open with the empty one.
    if reader.is_encrypted and not reader.decrypt(""):
        raise SourceError(
            "the PDF is encrypted",
            advice="save it without a password (`qpdf --decrypt`) and import it again",
            code="source_encrypted",
        )
    if len(reader.pages) > limits.pages_max:
        raise SourceError(
            f"it has {len(reader.pages):,} pages, more than the {limits.pages_max:,} allowed",
            advice="split it into smaller files",
            code="source_too_large",
        )
    pages = [page.extract_text().split("\n") for page in reader.pages]
    title, observed_at = _head(reader)
    yield finish(
        Document(
            uri,
            "pdf",
            title or PurePosixPath(name_of(uri)).stem,
            tuple(_blocks(pages)),
            "pdf/1",
            observed_at=observed_at,
        ),
        empty_advice="it holds pictures of text; run OCR over it first (`ocrmypdf in.pdf out.pdf`)",
    )


def _head(reader: PdfReader) -> tuple[str, float | None]:
    try:
        info = reader.metadata
        at = info and (info.modification_date or info.creation_date)
        return str((info and info.title) or ""), at.timestamp() if at else None
    except (AttributeError, ValueError, TypeError, KeyError):  # a malformed date loses no text
        return "", None


def _blocks(pages: list[list[str]]) -> Iterator[Block]:
    running = _running_heads(pages)
    for number, lines in enumerate(pages, start=1):
        own = [line.strip() for line in lines if _pattern(line) not in running]
        for text in _paragraphs(own):
            yield Block(text, session=f"page {number}")


def _running_heads(pages: list[list[str]]) -> set[str]:
    """What stands first or last on most pages, whatever its page number."""
    edges = Counter(
        pattern
        for lines in pages
        for pattern in {_pattern(line) for line in (*lines[:2], *lines[-2:]) if line.strip()}
    )
    return {pattern for pattern, count in edges.items() if count >= max(3, 0.6 * len(pages))}


def _pattern(line: str) -> str:
    return _DIGITS.sub("0", line.strip())


def _paragraphs(lines: list[str]) -> Iterator[str]:
    """Join lines to paragraphs: one ends at an empty line, or where a sentence ends early."""
    width = max(map(len, lines), default=0)
    text = ""
    for line in lines:
        if text.endswith("-") and line[:1].islower():
            text = text[:-1] + line
        else:
            text = f"{text} {line}" if text and line else text + line
        if not line or (_ENDS.search(line) and len(line) < 0.85 * width):
            yield text
            text = ""
    yield text
