"""Whole answers in JSON, as the routes that Starlette calls give them."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from stoker.api.wire import encode

JSON = "application/json"


def json_answer(
    value: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer with this value as its body."""
    return Response(encode(value), status, headers, media_type=JSON)
