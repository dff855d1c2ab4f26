"""OpenAI's files: upload, list, look at, read, delete."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from stoker.api.access import caller_of
from stoker.api.answers import Page, json_answer
from stoker.api.asgi import ClientGone, announced_bytes, header
from stoker.api.multipart import Form
from stoker.api.problems import BodyTooLarge
from stoker.api.query import MakeRoute, one_of, page_limit
from stoker.batches.files import IncomingFile
from stoker.batches.service import PURPOSES
from stoker.core.batches import StoredFile
from stoker.core.errors import InvalidRequest
from stoker.fabric import Fabric

LIST_MAX = 10_000
NAME_MAX = 255
EXPIRES_LEAST_S, EXPIRES_MOST_S = 3600, 2_592_000


def file_routes(fabric: Fabric, route: MakeRoute) -> list[Route]:
    """The routes over one fabric."""
    files = FileRoutes(fabric)
    return [
        route("POST", "/v1/files", files.upload),
        route("GET", "/v1/files", files.list),
        route("GET", "/v1/files/{file_id}", files.show),
        route("DELETE", "/v1/files/{file_id}", files.delete),
        route("GET", "/v1/files/{file_id}/content", files.content),
    ]


class FileDocument(msgspec.Struct):
    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: str
    expires_at: int | None
    object: str = "file"
    status: str = "processed"
    status_details: None = None


class FileList(Page[FileDocument]):
    """Some of them."""


@dataclass(frozen=True, slots=True)
class FileRoutes:
    """Endpoints over one fabric."""

    fabric: Fabric

    async def upload(self, request: Request) -> Response:
        """Take a form with a `file` and its `purpose`; written to the disk as it comes."""
        limit = self.fabric.config.batches.file_max_bytes
        announced_bytes(request.scope)  # refuses what is compressed
        form = Form(header(request.scope, b"content-type"))
        async with self.fabric.batches.files.receiving(caller_of(request.scope).tenant) as incoming:
            await _receive(request, form, incoming, limit)
            file = await self._kept(form, incoming)
        return json_answer(_document(file))

    async def list(self, request: Request) -> Response:
        """Newest first, or oldest first with `order=asc`."""
        query = request.query_params
        order = one_of(request, "order", ("desc", "asc"))
        limit = page_limit(request, LIST_MAX, most=LIST_MAX)
        files = await self.fabric.batches.files.page(
            tenant=caller_of(request.scope).sees,
            purpose=query.get("purpose"),
            limit=limit + 1,
            after=query.get("after"),
            is_ascending=order == "asc",
        )
        return json_answer(FileList.of([_document(file) for file in files], limit=limit))

    async def show(self, request: Request) -> Response:
        files = self.fabric.batches.files
        return json_answer(
            _document(await files.get(_id(request), tenant=caller_of(request.scope).sees))
        )

    async def content(self, request: Request) -> Response:
        """The file's bytes, streamed; a range where one is asked for."""
        files = self.fabric.batches.files
        file, path = await files.content(_id(request), tenant=caller_of(request.scope).sees)
        return FileResponse(path, media_type="application/octet-stream", filename=file.filename)

    async def delete(self, request: Request) -> Response:
        id = _id(request)
        await self.fabric.batches.files.delete(id, tenant=caller_of(request.scope).sees)
        return json_answer({"id": id, "object": "file", "deleted": True})

    async def _kept(self, form: Form, incoming: IncomingFile) -> StoredFile:
        batches = self.fabric.batches
        purpose = form.fields.get("purpose")
        if purpose not in PURPOSES:
            raise InvalidRequest(
                f"purpose must be one of {', '.join(PURPOSES)}; got {(purpose or '')[:40]!r}",
                param="purpose",
            )
        filename = (form.filename or "")[:NAME_MAX]
        expires_at = batches.expires_at(purpose, incoming.created_at, _expires_after_s(form))
        file = await incoming.sealed(filename=filename, purpose=purpose, expires_at=expires_at)
        await batches.files.show(file)
        return file


async def _receive(request: Request, form: Form, incoming: IncomingFile, limit: int) -> None:
    size = 0
    async for data in _pieces(request):
        size += len(data)
        if size > 2 * limit:
            break  # read on for a while, or the client is cut off before it can see the answer
        if incoming.bytes <= limit:
            await incoming.write(form.feed(data))
    if incoming.bytes > limit or size > 2 * limit:
        raise BodyTooLarge(limit, what="file", knob="batches.file_max_bytes")
    form.end()


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    has_more = True
    while has_more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        yield message.get("body", b"")
        has_more = message.get("more_body", False)


def _expires_after_s(form: Form) -> int | None:
    anchor = form.fields.get("expires_after[anchor]")
    text = form.fields.get("expires_after[seconds]")
    if anchor is None and text is None:
        return None
    if anchor != "created_at":
        raise InvalidRequest(
            "expires_after[anchor] must be created_at", param="expires_after[anchor]"
        )
    seconds = int(text) if text is not None and text.isascii() and text.isdecimal() else 0
    if not EXPIRES_LEAST_S <= seconds <= EXPIRES_MOST_S:
        raise InvalidRequest(
            f"expires_after[seconds] must be from {EXPIRES_LEAST_S} to {EXPIRES_MOST_S}",
            param="expires_after[seconds]",
        )
    return seconds


def _id(request: Request) -> str:
    return str(request.path_params["file_id"])


def _document(file: StoredFile) -> FileDocument:
    return FileDocument(
        id=file.id,
        bytes=file.bytes,
        created_at=int(file.created_at),
        filename=file.filename,
        purpose=file.purpose,
        expires_at=None if file.expires_at is None else int(file.expires_at),
    )
