"""HTML: its text in blocks, without scripts, navigation and markup.

The standard library's parser is a stream: no nesting makes it recurse, and no library is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import PurePosixPath

from stoker.memories.sources.dates import wall_time
from stoker.memories.sources.decoding import decode
from stoker.memories.sources.documents import Block, Document, Limits, Reading, name_of
from stoker.memories.sources.writing import finish
from stoker.memories.tiles import SpanKind

_SILENT = {
    "script", "style", "noscript", "template", "svg", "math", "iframe", "object", "nav", "footer",
    "button", "select", "textarea", "dialog",
}  # fmt: skip
_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
_BREAKS = _HEADINGS | {
    "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details",
    "div", "dl", "dt", "fieldset", "figcaption", "figure", "form", "head", "header", "hr", "html",
    "li", "main", "ol", "p", "pre", "section", "summary", "table", "title", "ul",
}  # fmt: skip
_DATE_NAMES = (
    "article:modified_time", "article:published_time", "dcterms.modified", "dcterms.date",
    "dc.date", "last-modified", "date",
)  # fmt: skip
_CHARSET = re.compile(rb"charset\s{0,5}=\s{0,5}[\"']?([\w.:-]{2,40})")


def read_html(data: bytes, uri: str, limits: Limits) -> Iterator[Reading]:
    """One document; its title and date come from the head."""
    charset = _CHARSET.search(data[:4096])
    page = html_blocks(decode(data, charset[1].decode() if charset else None))
    dates = (wall_time(page.meta[name]) for name in _DATE_NAMES if name in page.meta)
    title = page.title or page.first_heading or PurePosixPath(name_of(uri)).stem
    observed_at = next((at for at in dates if at is not None), None)
    yield finish(
        Document(uri, "html", title, tuple(page.blocks), "html/1", observed_at=observed_at),
        empty_advice="if a script writes the page, save it from a browser once it is shown",
    )


def html_blocks(text: str) -> Page:
    """Read a page, or a part of one: its blocks in order, its title, its named dates."""
    page = Page()
    page.feed(text)
    page.close()
    page.end_block()
    return page


class Page(HTMLParser):
    """Collects text between the tags that end a block."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[Block] = []
        self.meta: dict[str, str] = {}
        self.title = ""
        self.first_heading = ""
        self._chapter = ""
        self._text: list[str] = []
        self._open = ""  # the innermost tag that gives the text its kind
        self._silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a block, or a part that is not read."""
        if tag == "meta":
            self._note(dict(attrs))
        elif tag in _SILENT:
            self._silent.append(tag)
        elif tag == "tr" or tag in _BREAKS:
            if not (tag == "p" and self._open == "tr"):
                self.end_block()
                self._open = tag
        elif tag == "br":
            self._text.append("\n")
        elif tag in {"td", "th"} and self._open == "tr" and self._text:
            self._text.append(" | ")

    def handle_endtag(self, tag: str) -> None:
        """End a block; an end without a beginning changes nothing."""
        if tag in self._silent:
            while self._silent.pop() != tag:
                pass
        elif tag == "tr" or (tag in _BREAKS and self._open != "tr"):
            self.end_block()
            self._open = ""

    def handle_data(self, data: str) -> None:
        """Collect text that a reader would see."""
        if not self._silent:
            self._text.append(data)

    def end_block(self) -> None:
        """Make a block of the text so far."""
        raw, self._text = "".join(self._text), []
        text = " ".join(raw.split())
        if not text:
            return
        if self._open == "title":
            self.title = self.title or text
        elif self._open in _HEADINGS:
            self._chapter = text
            self.first_heading = self.first_heading or text
            self.blocks.append(Block(text, SpanKind.HEADING, session=text))
        elif self._open == "pre":
            self.blocks.append(Block(raw, SpanKind.CODE, session=self._chapter))
        else:
            kind = SpanKind.TABLE if self._open == "tr" else SpanKind.PARAGRAPH
            self.blocks.append(Block(text, kind, session=self._chapter))

    def _note(self, attrs: dict[str, str | None]) -> None:
        name = attrs.get("property") or attrs.get("name") or attrs.get("http-equiv")
        if name and (content := attrs.get("content")):
            self.meta.setdefault(name.lower(), content)
