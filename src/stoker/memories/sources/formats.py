"""Which format a file has, by what is in it before what it is called, and who reads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import Enum
from io import BytesIO
from pathlib import PurePosixPath
from zipfile import ZipFile

from stoker.memories.sources.documents import Limits, Reading, SourceError
from stoker.memories.sources.readers.books import read_docx, read_epub
from stoker.memories.sources.readers.chats import read_json, read_jsonl
from stoker.memories.sources.readers.html import read_html
from stoker.memories.sources.readers.mail import read_mail
from stoker.memories.sources.readers.pdf import read_pdf
from stoker.memories.sources.readers.text import read_code, read_markdown, read_text

Reader = Callable[[bytes, str, Limits], Iterator[Reading]]


class Format(Enum):
    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"
    PDF = "pdf"
    DOCX = "docx"
    EPUB = "epub"
    MAIL = "mail"
    MBOX = "mbox"
    JSONL = "jsonl"
    JSON = "json"
    CODE = "code"
    ZIP = "zip"


READERS: dict[Format, Reader] = {
    Format.TEXT: read_text,
    Format.MARKDOWN: read_markdown,
    Format.HTML: read_html,
    Format.PDF: read_pdf,
    Format.DOCX: read_docx,
    Format.EPUB: read_epub,
    Format.MAIL: read_mail,
    Format.JSONL: read_jsonl,
    Format.JSON: read_json,
    Format.CODE: read_code,
}

_SUFFIXES = {
    **dict.fromkeys((".md", ".markdown", ".mdx", ".mkd"), Format.MARKDOWN),
    **dict.fromkeys((".html", ".htm", ".xhtml"), Format.HTML),
    **dict.fromkeys(
        (".txt", ".text", ".rst", ".adoc", ".org", ".log", ".srt", ".vtt"), Format.TEXT
    ),
    **dict.fromkeys((".jsonl", ".ndjson"), Format.JSONL),
    **dict.fromkeys((".eml", ".emlx"), Format.MAIL),
    ".json": Format.JSON,
    ".mbox": Format.MBOX,
    ".mbx": Format.MBOX,
    ".pdf": Format.PDF,
    ".docx": Format.DOCX,
    ".epub": Format.EPUB,
    ".zip": Format.ZIP,
}
CODE_SUFFIXES = frozenset((
    ".bash", ".c", ".cc", ".cfg", ".clj", ".cmake", ".conf", ".cpp", ".cs", ".css", ".csv",
    ".cu", ".cuh", ".dart", ".el", ".erl", ".ex", ".exs", ".f90", ".fs", ".go", ".gradle",
    ".graphql", ".h", ".hcl", ".hpp", ".hs", ".ini", ".java", ".jl", ".js", ".jsx", ".kt",
    ".kts", ".lean", ".less", ".lisp", ".lua", ".m", ".ml", ".mm", ".mojo", ".nim", ".nix",
    ".php", ".pl", ".pm", ".proto", ".ps1", ".py", ".pyi", ".r", ".rb", ".rs", ".scala", ".scm",
    ".scss", ".sh", ".sol", ".sql", ".svelte", ".swift", ".tcl", ".tex", ".tf", ".toml", ".ts",
    ".tsv", ".tsx", ".v", ".vb", ".vhd", ".vue", ".xml", ".yaml", ".yml", ".zig", ".zsh",
))  # fmt: skip
_CODE_NAMES = {"dockerfile", "makefile", "justfile", "rakefile", "gemfile", "cmakelists.txt"}

# Formats that are known, and that nobody here reads: what to do about them.
_FOREIGN = (
    (b"\xd0\xcf\x11\xe0", "an old Office file", "save it as DOCX or PDF"),
    (b"{\\rtf", "RTF", "save it as DOCX or PDF"),
    (b"\x1f\x8b", "a gzip archive", "unpack it and import the folder"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it and import the folder"),
    (b"Rar!", "a RAR archive", "unpack it and import the folder"),
    (b"\x7fELF", "a program", "leave it out"),
)
_FOREIGN_MEMBERS = (
    ("ppt/presentation.xml", "a presentation", "save it as PDF"),
    ("xl/workbook.xml", "a spreadsheet", "save it as CSV"),
    ("content.xml", "an OpenDocument file", "save it as DOCX or PDF"),
)
_HTML_HEAD = re.compile(
    rb"\s*(?:<\?xml[^>]{0,200}\?>\s*)?(?:<!--.{0,500}?-->\s*)?<(?:!doctype html|html)",
    re.IGNORECASE | re.DOTALL,
)
_MAIL_HEAD = re.compile(rb"(?:[\w-]{1,60}:[ \t].{0,998}\r?\n(?:[ \t].{0,998}\r?\n){0,50}){2}")
_MAIL_FIELD = re.compile(rb"^(?:from|subject|date):", re.IGNORECASE | re.MULTILINE)


def format_of(name: str, data: bytes) -> Format:
    """Tell a file's format; `SourceError` for one that is known and cannot be read."""
    for mark, what, advice in _FOREIGN:
        if data.startswith(mark):
            raise _unsupported(what, advice)
    if b"%PDF-" in data[:1024]:
        return Format.PDF
    suffix = PurePosixPath(name.lower()).suffix
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _format_of_zip(data, suffix)
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    if suffix in CODE_SUFFIXES or name.lower() in _CODE_NAMES or data.startswith(b"#!"):
        return Format.CODE
    return _sniff(data)


def read_as(format: Format, data: bytes, uri: str, limits: Limits) -> Iterator[Reading]:
    """Read with the format's reader; whatever it fails with becomes an error of this file."""
    try:
        yield from READERS[format](data, uri, limits)
    except SourceError as error:
        yield error.at(error.uri or uri)
    except MemoryError:
        yield SourceError(
            "reading it takes more RAM than one file may",
            advice="split it into smaller files",
            code="source_too_large",
            uri=uri,
        )
    except Exception as error:  # noqa: BLE001  the parsers meet hostile bytes and raise anything
        detail = " ".join(str(error).split())[:120] or type(error).__name__
        yield SourceError(
            f"it cannot be read as {format.value} ({detail})",
            advice="open it in a program that can, and save it anew",
            code="source_corrupt",
            uri=uri,
        )


def _format_of_zip(data: bytes, suffix: str) -> Format:
    try:
        names = set(ZipFile(BytesIO(data)).namelist())
    except Exception:  # noqa: BLE001  zipfile meets hostile bytes and raises anything
        return _SUFFIXES.get(suffix, Format.ZIP)  # its reader says what is wrong
    if "word/document.xml" in names:
        return Format.DOCX
    if "META-INF/container.xml" in names or suffix == ".epub":
        return Format.EPUB
    for member, what, advice in _FOREIGN_MEMBERS:
        if member in names and "mimetype" in names | {"mimetype" if "/" in member else ""}:
            raise _unsupported(what, advice)
    return Format.ZIP


def _sniff(data: bytes) -> Format:
    """A file without a telling name: standard input, an upload."""
    head = data[:4096]
    if _HTML_HEAD.match(head):
        return Format.HTML
    if head.startswith(b"From ") and b"\nFrom:" in head:
        return Format.MBOX
    if _MAIL_HEAD.match(head) and _MAIL_FIELD.search(head):
        return Format.MAIL
    first, _, rest = data.lstrip().partition(b"\n")
    if first.startswith(b"{") and first.rstrip().endswith(b"}") and b"\n{" in b"\n" + rest[:4096]:
        return Format.JSONL
    if head.lstrip()[:1] in {b"{", b"["} and data.rstrip()[-1:] in {b"}", b"]"}:
        return Format.JSON
    is_marked = re.search(rb"^(?:#{1,3} \w|```|\| ?-{3}|- \[[ x]\])", head, re.MULTILINE)
    return Format.MARKDOWN if is_marked else Format.TEXT


def _unsupported(what: str, advice: str) -> SourceError:
    return SourceError(
        f"this is {what}, which is not read", advice=advice, code="source_unsupported"
    )
