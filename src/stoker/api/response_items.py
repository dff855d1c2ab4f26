"""What a background Response was asked, as OpenAI lists it: one item after the other, with ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from stoker.core.errors import NotFound
from stoker.core.work import JobId

ITEMS_DEFAULT, ITEMS_MAX = 20, 100
Item = dict[str, Any]


class ItemList(msgspec.Struct):
    """Some of them; each keeps the fields that it came with."""

    data: list[Item]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: str = "list"


def input_items(id: JobId, body: bytes) -> list[Item]:
    """The items in order. Those that came without an id get one that stays."""
    asked = msgspec.json.decode(body, type=_Asked).input
    items = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    suffix = id.rpartition("_")[2]
    return [
        _item(item, f"msg_{suffix}_{index}") for index, item in enumerate(items) if item is not None
    ]


def items_page(items: Sequence[Item], limit: int, after: str | None) -> ItemList:
    """The first `limit` of them behind the one that is called `after`. Raises `NotFound`."""
    if after is not None:
        ids = [item["id"] for item in items]
        if after not in ids:
            raise NotFound(f"no item {after[:80]} in this Response")
        items = items[ids.index(after) + 1 :]
    data = [*items[:limit]]
    first_id, last_id = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return ItemList(data, len(items) > limit, first_id, last_id)


class _Asked(msgspec.Struct):
    input: str | list[Any]


def _item(asked: Any, id: str) -> Item:  # noqa: ANN401 - whatever the client sent
    item: Item = asked if isinstance(asked, dict) else {"role": "user", "content": str(asked)}
    if not isinstance(item.get("id"), str):
        item = {**item, "id": id}
    if "role" not in item:
        return item
    content = item.get("content")
    if isinstance(content, str):
        kind = "output_text" if item["role"] == "assistant" else "input_text"
        content = [{"type": kind, "text": content}]
    return {"type": "message", "status": "completed", **item, "content": content}
