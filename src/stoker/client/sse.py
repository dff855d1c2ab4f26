"""Server-sent events as a client reads them; they may be cut anywhere on the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp


async def data_of(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The `data:` of each event."""
    async for name, value in _fields_of(response):
        if name == b"data":
            yield value


async def events_of(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, bytes]]:
    """Each whole event by its fields (`id`, `event`, `data`); comments are left out."""
    event: dict[str, bytes] = {}
    async for name, value in _fields_of(response):
        if name:
            event[name.decode()] = value
        elif event:
            yield event
            event = {}


async def _fields_of(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[bytes, bytes]]:
    """Field and value of each line; an empty line, the end of an event, is `(b"", b"")`."""
    buffer = b""
    async for piece in response.content.iter_any():
        *lines, buffer = (buffer + piece).split(b"\n")
        for line in lines:
            name, _, value = line.partition(b":")
            if name or not value:  # a line that starts with a colon is a comment
                yield name.strip(), value.strip()
    if buffer:
        name, _, value = buffer.partition(b":")
        yield name.strip(), value.strip()
