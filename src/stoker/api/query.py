"""Small inputs: query parameters, headers and small JSON bodies, checked and named."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stoker.api.asgi import read_body
from stoker.core.errors import InvalidRequest

TEXT_MAX = 255
SMALL_BODY_MAX_BYTES = 64 * 1024
_MISSING = re.compile("Object missing required field `(.+)`")
_T = TypeVar("_T")
MakeRoute = Callable[[str, str, Callable[[Request], Awaitable[Response]]], Route]
"""Method, path and handler; made by the application, which turns errors into answers."""


def number(request: Request, name: str, default: float, *, least: float) -> float:
    """A finite number from the query string."""
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value < math.inf:
        raise InvalidRequest(f"{name} must be a number of at least {least:g}", param=name)
    return value


def page_limit(request: Request, default: int, *, most: int) -> int:
    """How many things a page may have: `limit`, as far as is allowed."""
    return int(min(number(request, "limit", default, least=1), most))


def one_of(request: Request, name: str, words: Sequence[str]) -> str:
    """One of these words; the first where the query has none."""
    word = request.query_params.get(name, words[0])
    if word not in words:
        raise InvalidRequest(f"{name} must be {' or '.join(words)}", param=name)
    return word


def flag(request: Request, name: str) -> bool:
    """`true` or `false`; false where the query has neither."""
    return one_of(request, name, ("false", "true")) == "true"


def bounded_text(text: str | None, name: str) -> str | None:
    """A name that a client chose, if it chose one."""
    if text is not None and not 1 <= len(text) <= TEXT_MAX:
        raise InvalidRequest(f"{name} must have 1 to {TEXT_MAX} characters", param=name)
    return text


async def small_body(request: Request, shape: type[_T]) -> _T:
    """A JSON body of a known shape."""
    raw = await read_body(request.scope, request.receive, max_bytes=SMALL_BODY_MAX_BYTES)
    try:
        return msgspec.json.decode(raw, type=shape)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$.")
        param = place.rstrip("`") or None
        missing = _MISSING.fullmatch(problem)
        if missing is not None:
            param = missing[1] if param is None else f"{param}.{missing[1]}"
            problem = "it is missing"
        raise InvalidRequest(f"{param or 'the body'}: {problem}", param=param) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}", code="invalid_json") from None
