"""The memory server over HTTP: the same things that `Fabric.memories` can do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stoker.client.http import Client

Document = dict[str, Any]
_AT = "/v1/memories"


class MemoriesClient:
    """`Client.memories`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def begin_import(self, label: str = "", *, scope: str | None = None) -> Document:
        """Begin an import, to which files are then added."""
        query = {"label": label or None, "scope": scope}
        return await self._client.call("POST", f"{_AT}/imports", query=query)

    async def upload(
        self,
        data: bytes,
        uri: str,
        *,
        import_id: str | None = None,
        scope: str | None = None,
        observed_at: str | float | None = None,
        is_revived: bool = False,
    ) -> Document:
        """Send one file, to an import or as one of its own; the end of `uri` tells its format."""
        query = {
            "uri": uri,
            "import": import_id,
            "scope": scope,
            "observed_at": observed_at,
            "revive": "true" if is_revived else None,
        }
        return await self._client.send("POST", f"{_AT}/imports", data, query=query)

    async def imports(self) -> list[Document]:
        """Newest first."""
        return await self._list("imports")

    async def get_import(self, id: str) -> Document:
        """An import with its documents and their progress."""
        return await self._client.call("GET", f"{_AT}/imports/{id}", query={"limit": 1000})

    async def steer(self, id: str, verb: str) -> Document:
        """`pause`, `resume`, `cancel` or `retry` an import."""
        return await self._client.call("POST", f"{_AT}/imports/{id}/{verb}")

    async def search(self, query: str, **options: object) -> Document:
        """Hits for a question, best first."""
        body = {"query": query, **{k: v for k, v in options.items() if v is not None}}
        return await self._client.call("POST", f"{_AT}/search", body=body)

    async def add(self, statement: str, **fields: object) -> Document:
        """Remember a statement as it is."""
        body = {"statement": statement, **{k: v for k, v in fields.items() if v is not None}}
        return await self._client.call("POST", _AT, body=body)

    async def forget(self, id: str) -> Document:
        """Erase a source, a span or a tile, for good."""
        return await self._client.call("POST", f"{_AT}/forget", body={"id": id})

    async def tile(self, id: str) -> Document:
        """A tile with its history and its quotes."""
        return await self._client.call("GET", f"{_AT}/tiles/{id}")

    async def undo(self, id: str) -> Document:
        """Take back the last decision about a tile."""
        return await self._client.call("POST", f"{_AT}/tiles/{id}/undo")

    async def sources(self) -> list[Document]:
        """What was imported, by name; deleted ones too."""
        return await self._list("sources")

    async def quarantine(self) -> list[Document]:
        """What guards and the engine refused, with the reasons."""
        return await self._list("quarantine")

    async def retry(self) -> int:
        """Ask again for everything that was refused; returns how many answers."""
        document = await self._client.call("POST", f"{_AT}/quarantine/retry")
        return int(document["retried"])

    async def stats(self) -> Document:
        """How much there is, and how far the work on it is."""
        return await self._client.call("GET", _AT)

    async def export(
        self, *, format: str = "jsonl", scope: str | None = None
    ) -> AsyncIterator[bytes]:
        """Everything, in pieces."""
        query: Mapping[str, object] = {"format": format, "scope": scope}
        async with self._client.open("GET", f"{_AT}/export", query=query) as response:
            async for piece in response.content.iter_any():
                yield piece

    async def restore(self, data: bytes) -> int:
        """Read an export in JSON lines; returns how many records were new."""
        return int((await self._client.send("POST", f"{_AT}/restore", data))["restored"])

    async def _list(self, name: str) -> list[Document]:
        document = await self._client.call("GET", f"{_AT}/{name}", query={"limit": 1000})
        found: list[Document] = document["data"]
        return found
