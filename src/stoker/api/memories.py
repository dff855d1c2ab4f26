"""The routes of the memory server: import, watch, search, add, forget, undo, export."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from stoker.api.answers import json_answer
from stoker.api.asgi import read_body
from stoker.api.memories_wire import (
    AddBody,
    ForgetBody,
    SearchBody,
    answer_document,
    import_document,
    outcome_document,
    progress_document,
    refusal_document,
    source_document,
    state_document,
    stats_document,
    tile_document,
)
from stoker.api.query import bounded_text, number, small_body
from stoker.core.errors import InvalidRequest
from stoker.fabric import Fabric
from stoker.memories.moments import moment
from stoker.memories.notes import Note
from stoker.memories.portability import FORMATS
from stoker.memories.recall.hits import VERBATIM, SearchRequest
from stoker.memories.records import DocumentOutcome, ImportId, ImportView
from stoker.memories.service import Memories
from stoker.memories.tiles import DEFAULT_SCOPE, TileId, TileKind

Handler = Callable[[Request], Awaitable[Response]]

_PAGE_MAX = 1000
_MEDIA = {"jsonl": "application/x-ndjson", "markdown": "text/markdown; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class MemoriesRoutes:
    """Endpoints over one fabric's memory server."""

    fabric: Fabric

    @property
    def _memories(self) -> Memories:
        return self.fabric.memories

    # ------------------------------------------------------------------ imports and their work

    async def import_(self, request: Request) -> Response:
        """Begin an import, or add to one: a body with its name, a path here, or nothing yet."""
        memories, query = self._memories, request.query_params
        limit = self.fabric.config.server.body_max_bytes
        data = await read_body(request.scope, request.receive, max_bytes=limit)
        uri, path = query.get("uri"), query.get("path")
        observed_at = moment(query.get("observed_at"), "observed_at")
        is_revived = query.get("revive", "false") == "true"
        if data and uri is None:
            raise InvalidRequest(
                "name what is sent: its end tells the format, as in ?uri=notes.md", param="uri"
            )
        if path is not None:
            self._check_path_allowed(request)
        view = await self._import_of(request)
        outcomes: Sequence[DocumentOutcome] = ()
        if path is not None:
            outcomes = await memories.add_paths(
                view.id, [path], observed_at=observed_at, is_revived=is_revived
            )
        elif uri is not None:
            name = _checked_uri(uri)
            outcomes = await memories.add_upload(
                view.id, data, name, observed_at=observed_at, is_revived=is_revived
            )
        document = await self._import_document(await memories.get_import(view.id))
        document["outcomes"] = [outcome_document(one) for one in outcomes]
        return json_answer(document, 202, {"location": f"/v1/memories/imports/{view.id}"})

    async def _import_of(self, request: Request) -> ImportView:
        query = request.query_params
        id = bounded_text(query.get("import"), "import")
        if id is not None:
            return await self._memories.get_import(ImportId(id))
        scope = bounded_text(query.get("scope"), "scope") or DEFAULT_SCOPE
        label = query.get("label") or query.get("uri") or query.get("path") or ""
        return await self._memories.begin_import(label, scope=scope)

    def _check_path_allowed(self, request: Request) -> None:
        if not self.fabric.config.memories.allow_paths:
            raise InvalidRequest(
                "paths on the server are not allowed (memories.allow_paths); send the file itself",
                param="path",
            )
        host = request.client.host if request.client is not None else ""
        if not _is_loopback(host):
            raise InvalidRequest(
                "only clients on this machine may name a path on it; send the file itself",
                param="path",
            )

    async def list_imports(self, request: Request) -> Response:
        limit = int(min(number(request, "limit", 100, least=1), _PAGE_MAX))
        views = await self._memories.imports(limit)
        return _list([await self._import_document(view) for view in views])

    async def show_import(self, request: Request) -> Response:
        """An import with its documents and their progress."""
        id = ImportId(request.path_params["import_id"])
        limit, offset = _page(request)
        document = await self._import_document(await self._memories.get_import(id))
        found = await self._memories.documents(id, limit=limit, offset=offset)
        document["outcomes"] = [progress_document(one) for one in found]
        return json_answer(document)

    def steering(self, act: Callable[[Memories, ImportId], Awaitable[ImportView]]) -> Handler:
        """A handler that does this to the import in the path."""

        async def handler(request: Request) -> Response:
            view = await act(self._memories, ImportId(request.path_params["import_id"]))
            return json_answer(await self._import_document(view))

        return handler

    async def _import_document(self, view: ImportView) -> dict[str, object]:
        return import_document(view, eta_s=self._memories.eta_s(view.work))

    # ------------------------------------------------------------------ what is kept

    async def stats(self, _request: Request) -> Response:
        memories = self._memories
        stats, work = await memories.stats(), await memories.work()
        return json_answer(stats_document(stats, work, dict(memories.guards)))

    async def sources(self, request: Request) -> Response:
        limit, offset = _page(request)
        scope = request.query_params.get("scope")
        found = await self._memories.sources(scope, limit=limit, offset=offset)
        return _list([source_document(one) for one in found])

    async def search(self, request: Request) -> Response:
        """Hits for a question, best first. No model is asked."""
        body = await small_body(request, SearchBody)
        wanted = SearchRequest(
            body.query,
            scope=body.scope,
            limit=body.limit,
            token_budget=body.token_budget,
            kinds=frozenset(_kind(kind, "kinds") for kind in body.kinds),
            as_of=moment(body.as_of, "as_of"),
            known_at=moment(body.known_at, "known_at"),
            with_superseded=body.with_superseded,
        )
        answer = await self._memories.search(wanted)
        return json_answer(answer_document(answer, is_explained=body.explain))

    async def add(self, request: Request) -> Response:
        """Remember a statement as it is."""
        body = await small_body(request, AddBody)
        kind = _kind(body.kind, "kind")
        if not isinstance(kind, TileKind):
            raise InvalidRequest("kind: a statement is no verbatim text", param="kind")
        note = Note(
            body.statement,
            body.scope,
            kind,
            body.subject,
            tuple(body.entities),
            moment(body.valid_from, "valid_from"),
            moment(body.observed_at, "observed_at"),
            body.author,
        )
        return json_answer(tile_document(await self._memories.add(note)), 201)

    async def tile(self, request: Request) -> Response:
        """A tile with its history and its quotes."""
        return json_answer(tile_document(await self._memories.get_tile(_tile_id(request))))

    async def undo(self, request: Request) -> Response:
        """Take back the last decision about a tile."""
        return json_answer(state_document(await self._memories.undo(_tile_id(request))))

    async def forget(self, request: Request) -> Response:
        """Erase a source, a span or a tile, named in the body."""
        return await self._forget((await small_body(request, ForgetBody)).id)

    async def delete(self, request: Request) -> Response:
        """The same, named in the path."""
        return await self._forget(request.path_params["id"])

    async def _forget(self, id: str) -> Response:
        forgotten = await self._memories.forget(id)
        return json_answer({"id": id, "spans": forgotten.spans, "tiles": forgotten.tiles})

    async def quarantine(self, request: Request) -> Response:
        limit, offset = _page(request)
        found = await self._memories.quarantine(limit=limit, offset=offset)
        return _list([refusal_document(one) for one in found])

    async def retry(self, _request: Request) -> Response:
        """Ask again for everything that was refused."""
        return json_answer({"retried": await self._memories.retry()})

    async def export(self, request: Request) -> Response:
        """Everything, as a stream."""
        format = request.query_params.get("format", "jsonl")
        if format not in FORMATS:
            raise InvalidRequest(f"format must be one of {', '.join(FORMATS)}", param="format")
        scope = request.query_params.get("scope")
        pages = self._memories.export(scope=scope, format=format)
        return StreamingResponse(pages, media_type=_MEDIA[format])

    async def restore(self, request: Request) -> Response:
        """Read an export in JSON lines."""
        limit = self.fabric.config.server.body_max_bytes
        data = await read_body(request.scope, request.receive, max_bytes=limit)
        return json_answer({"restored": await self._memories.restore(data)})


class Routing(Protocol):
    """How the application makes a route of a handler."""

    def __call__(self, method: str, path: str, handler: Handler) -> Route: ...


def memories_routes(fabric: Fabric, route: Routing) -> list[Route]:
    """Every route of the memory server."""
    found, at = MemoriesRoutes(fabric), "/v1/memories"
    return [
        route("POST", f"{at}/search", found.search),
        route("GET", at, found.stats),
        route("POST", at, found.add),
        route("POST", f"{at}/forget", found.forget),
        route("POST", f"{at}/imports", found.import_),
        route("GET", f"{at}/imports", found.list_imports),
        route("GET", at + "/imports/{import_id}", found.show_import),
        route("POST", at + "/imports/{import_id}/pause", found.steering(Memories.pause)),
        route("POST", at + "/imports/{import_id}/resume", found.steering(Memories.resume)),
        route("POST", at + "/imports/{import_id}/cancel", found.steering(Memories.cancel)),
        route("POST", at + "/imports/{import_id}/retry", found.steering(Memories.retry_import)),
        route("GET", f"{at}/sources", found.sources),
        route("DELETE", at + "/sources/{id}", found.delete),
        route("GET", at + "/tiles/{id}", found.tile),
        route("DELETE", at + "/tiles/{id}", found.delete),
        route("POST", at + "/tiles/{id}/undo", found.undo),
        route("GET", f"{at}/quarantine", found.quarantine),
        route("POST", f"{at}/quarantine/retry", found.retry),
        route("GET", f"{at}/export", found.export),
        route("POST", f"{at}/restore", found.restore),
    ]


def _tile_id(request: Request) -> TileId:
    return TileId(request.path_params["id"])


def _kind(name: str, param: str) -> TileKind | str:
    if name == VERBATIM:
        return VERBATIM
    try:
        return TileKind(name)
    except ValueError:
        allowed = ", ".join([*(kind.value for kind in TileKind), VERBATIM])
        raise InvalidRequest(f"{param}: {name[:40]!r} is none of {allowed}", param=param) from None


def _checked_uri(uri: str) -> str:
    if not 1 <= len(uri) <= 2000 or "\0" in uri:
        raise InvalidRequest("uri must have 1 to 2000 characters", param="uri")
    # A name that looks like a path stays a name: nothing is opened by it.
    return (
        uri
        if ":" in uri.split("/", maxsplit=1)[0]
        else f"upload:{Path(uri).as_posix().lstrip('/')}"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _page(request: Request) -> tuple[int, int]:
    limit = int(min(number(request, "limit", 100, least=1), _PAGE_MAX))
    return limit, int(number(request, "offset", 0, least=0))


def _list(data: list[dict[str, object]]) -> Response:
    return json_answer({"object": "list", "data": data})
