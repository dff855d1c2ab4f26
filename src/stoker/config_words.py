"""How configuration keys are put into words: the strings under fields, types, defaults."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

from msgspec import Meta


def docs_of(cls: type) -> dict[str, str]:
    """The line under each field of a class, by the field's name."""
    source = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(source, ast.ClassDef)
    docs: dict[str, str] = {}
    for before, after in zip(source.body, source.body[1:], strict=False):
        if not isinstance(before, ast.AnnAssign) or not isinstance(before.target, ast.Name):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            docs[before.target.id] = " ".join(str(after.value.value).split())
    return docs


def default_text(value: object) -> str:
    """A default as the reference page has it."""
    if value is MISSING:
        return "~/.local/share/stoker"
    if value is None:
        return "not set"
    if value == ():
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def in_words(hint: object) -> str:
    """A type in words: `an integer from 0 to 65535`."""
    options = [option for option in get_args(hint) if option is not type(None)]
    if get_origin(hint) is Annotated:
        return _annotated(options[0], options[1])
    if get_origin(hint) is Mapping:
        return f"a table of names, each with {in_words(options[1])}"
    if get_origin(hint) is tuple:
        return "a list of texts"
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(str(option) for option in options)
    if options:
        return in_words(options[0])
    return _WORDS[hint]


_WORDS: dict[object, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
    Path: "a path",
}


def _annotated(type_: object, meta: Meta) -> str:
    words = in_words(type_)
    if meta.min_length is not None:
        return "text that is not empty"
    if meta.gt is not None:
        words += f" above {meta.gt:g}"
    if meta.lt is not None:
        words += f" and below {meta.lt:g}"
    if meta.ge is not None:
        words += f" of at least {meta.ge:g}"
    return words if meta.le is None else f"{words} and at most {meta.le:g}"
