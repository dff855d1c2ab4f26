"""What goes on for hours: batches and imports, seen begin and end, and the memory server's work."""

from __future__ import annotations

from collections.abc import Mapping

from stoker.batches.service import Batches
from stoker.core.batches import Batch, BatchStatus
from stoker.core.errors import NotFound, StoreError
from stoker.history.happenings import Happenings
from stoker.memories.records import ImportState, ImportView
from stoker.memories.service import Memories

IMPORTS_EVERY_S = 30.0
_IMPORTS_MAX = 50


class BackgroundWatch:
    """Asks the stores only after something has moved, and of imports at most every half minute."""

    def __init__(self, batches: Batches, memories: Memories | None, happenings: Happenings) -> None:
        self._batches = batches
        self._memories = memories
        self._tell = happenings.tell
        self._counts: Mapping[BatchStatus, int] | None = None
        self._open: dict[str, Batch] = {}
        self._work: dict[str, int] = {}
        self._imports: dict[str, bool] | None = None
        """Whether each known import is over; `None` before the first look."""
        self._at = float("-inf")

    async def look(self, wall: float) -> Mapping[str, int]:
        """Tell what began and ended; the memory server's work by state, as of the last look."""
        try:
            await self._look_at_batches(wall)
            if wall - self._at >= IMPORTS_EVERY_S:
                self._at = wall
                await self._look_at_imports(wall)
        except StoreError:
            return self._work  # whoever needs the store says so; the next look sees more
        return self._work

    async def _look_at_batches(self, wall: float) -> None:
        counts = dict(self._batches.counts)
        if counts == self._counts:
            return
        is_first, self._counts = self._counts is None, counts
        still = {batch.id: batch for batch in await self._batches.unfinished()}
        for id in still.keys() - self._open.keys():
            batch = still[id]
            how = "goes on" if is_first else "began"
            self._tell(
                batch.created_at if not is_first else wall,
                "batch",
                f"batch {id} {how}: {batch.endpoint}",
                {"id": id, "tenant": batch.tenant, "status": batch.status.value},
            )
        for id in self._open.keys() - still.keys():
            await self._batch_ended(self._open[id], wall)
        self._open = still

    async def _batch_ended(self, last: Batch, wall: float) -> None:
        try:
            batch = await self._batches.get(last.id, tenant=last.tenant)
        except NotFound:
            return
        counts = batch.counts
        self._tell(
            batch.reached.get(batch.status.value, wall),
            "batch_ended",
            f"batch {batch.id} {batch.status.value}: {counts.completed} of {counts.total} done, "
            f"{counts.failed} failed",
            {
                "id": batch.id,
                "tenant": batch.tenant,
                "status": batch.status.value,
                "total": counts.total,
                "completed": counts.completed,
                "failed": counts.failed,
            },
        )

    async def _look_at_imports(self, wall: float) -> None:
        if self._memories is None:
            return
        work = await self._memories.work()
        states = {state.value: count for state, count in work.by_state.items() if count}
        if states == self._work and self._imports is not None:
            return
        self._work = states
        views = await self._memories.imports(_IMPORTS_MAX)
        known = self._imports
        self._imports = {view.id: _is_over(view) for view in views}
        if known is None:
            return  # those of earlier lives are no news
        for view in reversed(views):
            was_over = known.get(view.id)
            if was_over is None:
                self._tell_of(view, "import", f"import {view.label or view.id} began", wall)
            if _is_over(view) and not was_over:
                self._tell_of(
                    view,
                    "import_ended",
                    f"import {view.label or view.id} {_how(view)}: {view.tiles} tiles "
                    f"from {sum(view.documents.values())} documents",
                    wall,
                )

    def _tell_of(self, view: ImportView, kind: str, text: str, wall: float) -> None:
        at = view.created_at if kind == "import" else wall
        documents = sum(view.documents.values())
        self._tell(at, kind, text, {"id": view.id, "documents": documents, "tiles": view.tiles})


def _is_over(view: ImportView) -> bool:
    return view.is_done or view.state is ImportState.CANCELLED


def _how(view: ImportView) -> str:
    return "was cancelled" if view.state is ImportState.CANCELLED else "is done"
