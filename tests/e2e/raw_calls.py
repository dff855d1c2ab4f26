"""Calls on sockets of their own, so that a test decides when and how they are hung up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Call:
    path: str
    is_stream: bool
    max_tokens: int

    def to_bytes(self) -> bytes:
        body = json.dumps(
            {
                "messages": [{"role": "user", "content": "Tell me about the sea."}],
                "max_tokens": self.max_tokens,
                "stream": self.is_stream,
                "ignore_eos": True,
            }
        ).encode()
        head = f"POST {self.path} HTTP/1.1\r\nhost: stoker\r\ncontent-length: {len(body)}\r\n\r\n"
        return head.encode() + body


@asynccontextmanager
async def called(
    url: str, call: Call, *, is_polite: bool = True
) -> AsyncGenerator[asyncio.StreamReader]:
    """The answer's reader; leaving the block hangs up, with a FIN or a RST."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(call.to_bytes())
        yield reader
    finally:
        if is_polite:
            writer.close()
        else:
            writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()
