"""Export and import of everything: JSON lines for programs, Markdown for people."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from stoker.core.errors import InvalidRequest
from stoker.memories.ports import MemoryStore

FORMATS = ("jsonl", "markdown")
_PAGE = 500
_RESTORED_AT_ONCE = 2000


async def export(store: MemoryStore, *, scope: str | None, format: str) -> AsyncIterator[bytes]:
    """Pages of an export. Raises `InvalidRequest` for a format that there is not."""
    match format:
        case "jsonl":
            async for lines in _pages(store, scope, ("sources", "spans", "tiles")):
                yield b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        case "markdown":
            yield b"# Memories\n"
            subject: str | None = None
            async for lines in _pages(store, scope, ("tiles",)):
                text, subject = _markdown(lines, subject)
                yield text
        case _:
            raise InvalidRequest(f"format must be one of {', '.join(FORMATS)}", param="format")


async def restore(store: MemoryStore, data: bytes, *, now: float) -> int:
    """Read an export in JSON lines; returns how many records were new. Raises `InvalidRequest`."""
    try:
        lines = [
            msgspec.json.decode(line, type=dict[str, Any]) for line in data.splitlines() if line
        ]
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise InvalidRequest(f"the body is not JSON lines: {error}", code="invalid_json") from None
    count = 0
    for start in range(0, len(lines), _RESTORED_AT_ONCE):
        count += await store.restore(lines[start : start + _RESTORED_AT_ONCE], now=now)
    return count


async def _pages(
    store: MemoryStore, scope: str | None, tables: Sequence[str]
) -> AsyncIterator[list[dict[str, Any]]]:
    for table in tables:
        after: int | None = 0
        while after is not None:
            lines, after = await store.export_page(table, scope, after, _PAGE)
            yield lines


def _markdown(lines: Sequence[dict[str, Any]], subject: str | None) -> tuple[bytes, str | None]:
    """Active statements as a list, under a heading wherever the subject changes."""
    parts: list[str] = []
    for line in lines:
        if line["type"] != "tile" or line["history"][-1]["status"] != "active":
            continue
        if line["subject"] != subject:
            subject = line["subject"]
            parts.append(f"\n## {subject or 'General'}\n\n")
        since = "" if line["valid_from"] is None else f", since {_day(line['valid_from'])}"
        parts.append(f"- {line['statement']} ({line['kind']}{since})\n")
    return "".join(parts).encode(), subject


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()
