"""Whole answers in JSON, as the routes that Starlette calls give them, and the pages of lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, Protocol, Self, TypeVar

import msgspec
from starlette.responses import Response

from stoker.api.wire import encode

JSON = "application/json"


class Named(Protocol):
    """A document that a list names its pages by."""

    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=Named)


class Page(msgspec.Struct, Generic[T]):
    """A list as OpenAI has it: the next page begins after `last_id`, if there is one."""

    data: list[T]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: str = "list"

    @classmethod
    def of(cls, documents: Sequence[T], *, limit: int) -> Self:
        """The first `limit` of these; one more than that says that there are more."""
        data = [*documents[:limit]]
        first_id, last_id = (data[0].id, data[-1].id) if data else (None, None)
        return cls(data, len(documents) > limit, first_id, last_id)


def json_answer(
    value: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer with this value as its body."""
    return Response(encode(value), status, headers, media_type=JSON)
