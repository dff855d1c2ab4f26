"""Plain text, Markdown, source code: what is read as lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from markdown_it import MarkdownIt

from stoker.memories.sources.canonical import canonical_text
from stoker.memories.sources.dates import wall_time
from stoker.memories.sources.decoding import decode
from stoker.memories.sources.documents import Block, Document, Limits, Reading, SourceError, name_of
from stoker.memories.sources.scrub import scrub
from stoker.memories.sources.writing import finish
from stoker.memories.tiles import SpanKind

_PARAGRAPHS = re.compile(r"\n[ \t]*\n")
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.{0,20000}?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FRONT_LINE = re.compile(r"^([A-Za-z_]\w{0,40}):[ \t]*(.{1,300})$", re.MULTILINE)
_DATE_FIELDS = ("observed_at", "updated", "date", "modified", "lastmod", "created")
# A line that begins at the margin after an empty line begins something new: a function, a class.
_DEFINITIONS = re.compile(r"\n[ \t]*\n+(?=[^\s)\]}])")
_CODE_KINDS = {"fence": SpanKind.CODE, "code_block": SpanKind.CODE, "table_open": SpanKind.TABLE}


def read_text(data: bytes, uri: str, limits: Limits) -> Iterator[Reading]:
    """One document; a paragraph ends at an empty line."""
    text, secrets_count = _clean(data, limits)
    blocks = tuple(Block(part) for part in _PARAGRAPHS.split(text))
    yield finish(Document(uri, "text", _stem(uri), blocks, "text/1", secrets_count=secrets_count))


def read_code(data: bytes, uri: str, limits: Limits) -> Iterator[Reading]:
    """One document; a block is what stands together at the margin."""
    text, secrets_count = _clean(data, limits)
    name = name_of(uri)
    blocks = tuple(Block(part, SpanKind.CODE) for part in _DEFINITIONS.split(text))
    yield finish(Document(uri, "code", name, blocks, "code/1", secrets_count=secrets_count))


def read_markdown(data: bytes, uri: str, limits: Limits) -> Iterator[Reading]:
    """One document; front matter gives title and date, headings give the chapter."""
    text, secrets_count = _clean(data, limits)
    fields: dict[str, str] = {}
    if front := _FRONT_MATTER.match(text):
        fields = {
            name.lower(): value.strip().strip("\"'")
            for name, value in _FRONT_LINE.findall(front[1])
        }
        text = text[front.end() :]
    blocks = tuple(markdown_blocks(text))
    title = fields.get("title") or _first_heading(blocks) or _stem(uri)
    dates = (wall_time(fields[name]) for name in _DATE_FIELDS if name in fields)
    yield finish(
        Document(
            uri,
            "markdown",
            title,
            blocks,
            "markdown/1",
            observed_at=next((at for at in dates if at is not None), None),
            secrets_count=secrets_count,
        )
    )


def markdown_blocks(text: str) -> Iterator[Block]:
    """Cut Markdown at its outermost blocks, long lists at their items; the source text is kept."""
    lines = text.split("\n")
    # Only blocks: inline markup is text to us, and costs most of the time.
    parser = MarkdownIt("commonmark").enable("table")
    parser.core.ruler.enableOnly(["normalize", "block"])
    chapter = ""
    list_depth = 0
    for token in parser.parse(text):
        list_depth += token.nesting if token.type.endswith("_list_open") else 0
        list_depth += token.nesting if token.type.endswith("_list_close") else 0
        is_item = token.type == "list_item_open" and list_depth == 1 and token.level == 1
        is_block = token.level == 0 and not token.type.endswith("_list_open")
        if token.map is None or token.nesting < 0 or not (is_block or is_item):
            continue
        source = "\n".join(lines[token.map[0] : token.map[1]])
        if token.type == "heading_open":
            chapter = _heading_text(source)
            yield Block(chapter, SpanKind.HEADING, session=chapter)
        else:
            yield Block(source, _CODE_KINDS.get(token.type, SpanKind.PARAGRAPH), session=chapter)


def _heading_text(source: str) -> str:
    first = source.strip().split("\n", maxsplit=1)[0]
    return re.sub(r"^#{1,6}[ \t]*|[ \t]+#+$", "", first).strip()


def _first_heading(blocks: tuple[Block, ...]) -> str:
    return next((block.text for block in blocks if block.kind is SpanKind.HEADING), "")


def _stem(uri: str) -> str:
    return PurePosixPath(name_of(uri)).stem


def _clean(data: bytes, limits: Limits) -> tuple[str, int]:
    text = canonical_text(decode(data))
    longest = max(map(len, text.split("\n")), default=0)
    if longest > limits.line_max_bytes:
        raise SourceError(
            f"one line has {longest:,} characters, more than the {limits.line_max_bytes:,} allowed",
            advice="break the line, or leave the file out if it is no prose",
            code="source_too_large",
        )
    # On the whole text, before it is cut: a private key has many lines.
    return scrub(text)
