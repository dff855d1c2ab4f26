"""Real text to work on: the documentation in Python's own library, or the files of a folder."""

from __future__ import annotations

import codecs
import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from stoker.core.errors import ConfigError

CHARACTERS_MAX = 500
"""About 200 tokens of English: a prompt that a small model on two cores reads in about a second."""
FILES_MAX = 500

MODULES = """
    argparse array ast asyncio base64 bisect calendar cmd codecs collections configparser contextlib
    copy csv dataclasses datetime decimal difflib dis doctest enum fileinput fractions functools
    glob gzip hashlib heapq hmac inspect ipaddress itertools json locale logging math mimetypes
    operator pathlib pickle queue random re sched secrets selectors shelve shutil smtplib socket
    sqlite3 statistics string struct subprocess tempfile textwrap threading timeit zipfile
"""
"""Modules with documentation worth reading that are quick and harmless to import."""


@dataclass(frozen=True, slots=True)
class Document:
    name: str
    text: str


def library_documents() -> list[Document]:
    """The documentation of Python's own modules, each cut to one prompt's length."""
    return [_module_document(name) for name in MODULES.split()]


def folder_documents(folder: Path) -> list[Document]:
    """Every text file below `folder`, in order, cut to a prompt's length. Raises `ConfigError`."""
    if not folder.is_dir():
        raise ConfigError(f"--documents: {folder} is not a folder")
    found = [document for path in sorted(_visible_files(folder)) if (document := _read(path))]
    if not found:
        raise ConfigError(f"--documents: no text files in {folder}")
    return found[:FILES_MAX]


def _module_document(name: str) -> Document:
    module = importlib.import_module(name)
    parts = [f"Python module {name}\n\n{inspect.getdoc(module) or ''}"]
    parts += [f"{name}.{member}\n{text}" for member, text in _documented(module)]
    return Document(name, "\n\n".join(parts)[:CHARACTERS_MAX])


def _documented(module: ModuleType) -> Iterator[tuple[str, str]]:
    """The public functions and classes of a module that say what they do."""
    for name, member in sorted(vars(module).items()):
        if name.startswith("_") or not (inspect.isroutine(member) or inspect.isclass(member)):
            continue
        text = inspect.getdoc(member)
        if text:
            yield name, text


def _visible_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not is_hidden and path.is_file():
            yield path


def _read(path: Path) -> Document | None:
    """The beginning of a file; nothing when it is not text."""
    most = 4 * CHARACTERS_MAX  # UTF-8 needs at most four bytes a character
    with path.open("rb") as file:
        raw = file.read(most)
    decoder = codecs.getincrementaldecoder("utf-8")()  # a cut through a character is no error
    try:
        text = decoder.decode(raw, final=len(raw) < most).strip()[:CHARACTERS_MAX]
    except UnicodeDecodeError:
        return None
    return Document(path.name, text) if text and "\0" not in text else None
