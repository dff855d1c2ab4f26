"""The routes of the dashboard: the page at `/`, its files, and its stream."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stoker.api.asgi import Receive, Scope, Send, send_problem, while_connected
from stoker.api.problems import problem
from stoker.core.errors import NotFound, Rejected
from stoker.dashboard.live import Live
from stoker.dashboard.pages import Page, load_pages
from stoker.fabric import Fabric

INDEX = "index.html"
LIVE = "/v1/fabric/live"


class Dashboard:
    """The dashboard of one fabric. `run()` keeps it looking; `routes` go into the application."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._pages = load_pages()
        self.live = Live(fabric)

    async def run(self) -> None:
        """Look at the fabric until cancelled."""
        await self.live.run()

    def routes(self, closing: asyncio.Event) -> Sequence[Route]:
        """The routes; streams end when `closing` is set."""
        return [
            Route("/", self._index, methods=["GET"]),
            Route("/dashboard/{name}", self._file, methods=["GET"]),
            Route(LIVE, _Stream(self._fabric, self.live, closing), methods=["GET"]),
        ]

    async def _index(self, request: Request) -> Response:
        return _answer(request, self._pages[INDEX])

    async def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        page = self._pages.get(name)
        if page is None:
            error = NotFound(f"the dashboard has no file {name[:200]}")
            found = problem(error, request_id=self._fabric.new_request_id())
            return Response(found.body, found.status, media_type="application/json")
        return _answer(request, page)


def _answer(request: Request, page: Page) -> Response:
    if request.headers.get("if-none-match") == page.tag:
        return Response(status_code=304, headers=page.headers)
    headers, body = page.headers, page.body
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"], body = "gzip", page.zipped
    return Response(body, headers=headers, media_type=page.media_type)


@dataclass(frozen=True, slots=True)
class _Stream:
    """An ASGI application: snapshots as server-sent events, from one encoder for all."""

    fabric: Fabric
    live: Live
    closing: asyncio.Event

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self.live.watching():
                async with while_connected(scope, receive, closing=self.closing):
                    await self._follow(send)
        except Rejected as error:
            await send_problem(send, error, request_id=self.fabric.new_request_id())
            return
        await send({"type": "http.response.body", "body": b""})

    async def _follow(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        async for frame in self.live.frames():
            await send({"type": "http.response.body", "body": frame, "more_body": True})


_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
