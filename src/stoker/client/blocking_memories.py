"""The memory server for code without an event loop."""

from __future__ import annotations

from collections.abc import Generator

from stoker.client.memories import Document, MemoriesClient
from stoker.client.portal import Portal


class SyncMemoriesClient:
    """`SyncClient.memories`."""

    def __init__(self, memories: MemoriesClient, portal: Portal) -> None:
        self._memories = memories
        self._portal = portal

    def begin_import(self, label: str = "", *, scope: str | None = None) -> Document:
        """Begin an import, to which files are then added."""
        return self._portal.run(self._memories.begin_import(label, scope=scope))

    def upload(
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
        return self._portal.run(
            self._memories.upload(
                data,
                uri,
                import_id=import_id,
                scope=scope,
                observed_at=observed_at,
                is_revived=is_revived,
            )
        )

    def imports(self) -> list[Document]:
        """Newest first."""
        return self._portal.run(self._memories.imports())

    def get_import(self, id: str) -> Document:
        """An import with its documents and their progress."""
        return self._portal.run(self._memories.get_import(id))

    def steer(self, id: str, verb: str) -> Document:
        """`pause`, `resume`, `cancel` or `retry` an import."""
        return self._portal.run(self._memories.steer(id, verb))

    def search(self, query: str, **options: object) -> Document:
        """Hits for a question, best first."""
        return self._portal.run(self._memories.search(query, **options))

    def add(self, statement: str, **fields: object) -> Document:
        """Remember a statement as it is."""
        return self._portal.run(self._memories.add(statement, **fields))

    def forget(self, id: str) -> Document:
        """Erase a source, a span or a tile, for good."""
        return self._portal.run(self._memories.forget(id))

    def tile(self, id: str) -> Document:
        """A tile with its history and its quotes."""
        return self._portal.run(self._memories.tile(id))

    def undo(self, id: str) -> Document:
        """Take back the last decision about a tile."""
        return self._portal.run(self._memories.undo(id))

    def sources(self) -> list[Document]:
        """What was imported, by name; deleted ones too."""
        return self._portal.run(self._memories.sources())

    def quarantine(self) -> list[Document]:
        """What guards and the engine refused, with the reasons."""
        return self._portal.run(self._memories.quarantine())

    def retry(self) -> int:
        """Ask again for everything that was refused; returns how many answers."""
        return self._portal.run(self._memories.retry())

    def stats(self) -> Document:
        """How much there is, and how far the work on it is."""
        return self._portal.run(self._memories.stats())

    def export(self, *, format: str = "jsonl", scope: str | None = None) -> Generator[bytes]:
        """Everything, in pieces. Leaving early hangs up."""
        return self._portal.iterate(self._memories.export(format=format, scope=scope))

    def restore(self, data: bytes) -> int:
        """Read an export in JSON lines; returns how many records were new."""
        return self._portal.run(self._memories.restore(data))
