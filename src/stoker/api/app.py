"""The routes, as one ASGI application without any middleware."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route, Router

from stoker.access.key_file import KeyFile
from stoker.api.access import Access, note_refused
from stoker.api.anthropic import anthropic_problem, is_anthropic
from stoker.api.asgi import (
    ClientGone,
    Receive,
    Scope,
    Send,
    head_alone,
    send_problem,
    while_connected,
)
from stoker.api.batches import batch_routes
from stoker.api.files import file_routes
from stoker.api.history import history_routes
from stoker.api.inference import InferenceEndpoint
from stoker.api.jobs import Jobs
from stoker.api.leases import Leases
from stoker.api.memories import memories_routes
from stoker.api.metrics import Metrics
from stoker.api.near_paths import NoSuchPath, near_path
from stoker.api.problems import RETRY_SOON_S, MethodNotAllowed, id_headers, problem
from stoker.api.responses import Responses, ResponsesEndpoint
from stoker.api.views import Events, Views
from stoker.core.errors import NotAllowed, Rejected, Unauthorized
from stoker.core.reasons import Explanation, Reason
from stoker.core.work import Priority
from stoker.fabric import Fabric
from stoker.runtime.endpoints import ENDPOINTS, RESPONSES

Handler = Callable[[Request], Awaitable[Response]]
Pages = Callable[[asyncio.Event], Sequence[Route]]
"""Routes whose long answers end when the event is set: the server closes."""


class App:
    """`App(fabric)` serves a fabric that somebody else opened and will close; with `keys`, to those
    who have one; with `pages`, more routes beside the API.
    """

    def __init__(
        self, fabric: Fabric, keys: KeyFile | None = None, pages: Pages | None = None
    ) -> None:
        self._fabric = fabric
        self._access = Access(fabric, keys, fabric.config.server.keys)
        self.closing = asyncio.Event()
        """Set it when the server stops: long polls and event streams then end."""
        self._metrics = Metrics(fabric)
        more = [] if pages is None else pages(self.closing)
        routes = self.routes = [*self._routes(), *more]
        # What is called most is found in a dict: a router tries one pattern after another.
        self._by_path = {
            route.path: route.app
            for route in routes
            if route.methods == {"POST"} and "{" not in route.path
        }
        self._plain_paths = {route.path for route in routes if "{" not in route.path}
        self._router = Router(routes, redirect_slashes=False, default=self._not_found)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "run the server with lifespan and websockets off"
        scope["app"] = self  # Starlette then reports a wrong method as an exception
        if scope["method"] == "HEAD":
            send = head_alone(send)
        try:
            self._access.enter(scope)
            called = self._by_path.get(scope["path"]) if scope["method"] == "POST" else None
            await (called or self._router)(scope, receive, self._access.sending(scope, send))
        except Unauthorized as error:
            await self._refuse(scope, send, error)
        except NotAllowed as error:
            # Whatever is unknown is for admins only: to the others it is just not there.
            missing = self._missing(scope["path"])
            await self._refuse(scope, send, error if missing.meant is None else missing)
        except ClientGone:
            return  # it asked for the head alone, and has it
        except HTTPException:
            wrong = MethodNotAllowed(scope["method"], scope["path"], self._allowed(scope))
            await self._refuse(scope, send, wrong)

    async def _not_found(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._refuse(scope, send, self._missing(scope["path"]))

    def _missing(self, path: str) -> NoSuchPath:
        is_there = path in self._plain_paths
        return NoSuchPath(path, None if is_there else near_path(path, self._plain_paths))

    def _allowed(self, scope: Scope) -> str:
        """Every method that this path takes: each has a route of its own."""
        methods: set[str] = set()
        for route in self._router.routes:
            if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE:
                methods |= route.methods or set()
        return ", ".join(sorted(methods))

    async def _refuse(self, scope: Scope, send: Send, error: Exception) -> None:
        describe = anthropic_problem if is_anthropic(scope["path"]) else problem
        id = self._fabric.new_request_id()
        note_refused(scope, self._fabric, id, error)
        await send_problem(send, error, request_id=id, describe=describe)

    def _routes(self) -> list[Route]:
        # The router tries them in this order: the busiest come first.
        return [
            *self._inference_routes(),
            *self._job_routes(),
            *self._response_routes(),
            *file_routes(self._fabric, self._route),
            *batch_routes(self._fabric, self._route),
            *memories_routes(self._fabric, self._route),
            *history_routes(self._fabric, self._route),
            *self._other_routes(),
        ]

    def _inference_routes(self) -> list[Route]:
        fabric = self._fabric
        paths = {"/v1/p0": Priority.P0, "/v1/p1": Priority.P1}
        native = [
            Route(path, InferenceEndpoint(fabric, priority), methods=["POST"])
            for path, priority in paths.items()
        ]
        engines = {
            path: InferenceEndpoint(fabric, Priority.P1, endpoint=path, has_tier=True)
            for path in ENDPOINTS
        }
        responses = ResponsesEndpoint(engines.pop(RESPONSES), self.closing)
        background = Route(RESPONSES, responses, methods=["POST"])
        openai = [Route(path, endpoint, methods=["POST"]) for path, endpoint in engines.items()]
        return [*native, *openai, background]

    def _response_routes(self) -> list[Route]:
        responses = Responses(self._fabric, self.closing)
        path = "/v1/responses/{response_id}"
        return [
            self._route("GET", path, responses.show),
            self._route("DELETE", path, responses.delete, is_long=True),
            self._route("POST", path + "/cancel", responses.cancel, is_long=True),
            self._route("GET", path + "/input_items", responses.input_items),
        ]

    def _job_routes(self) -> list[Route]:
        jobs = Jobs(self._fabric)
        return [
            self._route("POST", "/v1/p2", jobs.enqueue),
            self._route("GET", "/v1/p2", jobs.list),
            self._route("GET", "/v1/p2/{job_id}", jobs.show, is_long=True),
            self._route("DELETE", "/v1/p2/{job_id}", jobs.cancel),
            self._route("POST", "/v1/p2/{job_id}/retry", jobs.retry),
        ]

    def _other_routes(self) -> list[Route]:
        leases, views = Leases(self._fabric), Views(self._fabric, self._metrics)
        return [
            self._route("POST", "/v1/p0/lease", leases.grant),
            self._route("GET", "/v1/p0/lease", leases.list),
            self._route("POST", "/v1/p0/lease/{lease_id}/extend", leases.extend),
            self._route("DELETE", "/v1/p0/lease/{lease_id}", leases.release),
            self._route("GET", "/v1/models", views.models),
            self._route("GET", "/v1/models/{model:path}", views.model),
            self._route("GET", "/healthz", views.healthz),
            self._route("GET", "/readyz", views.readyz),
            self._route("GET", "/metrics", views.prometheus),
            self._route("GET", "/openapi.json", views.openapi),
            self._route("GET", "/v1/fabric/state", views.state),
            self._route("GET", "/v1/fabric/explain/{id}", views.explain),
            Route("/v1/fabric/events", Events(self._fabric, self.closing), methods=["GET"]),
        ]

    def _route(self, method: str, path: str, handler: Handler, *, is_long: bool = False) -> Route:
        closing = self.closing if is_long else None
        return Route(path, _Endpoint(self._fabric, handler, closing), methods=[method])


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """A Starlette-style handler whose errors become problems.

    With `closing` it may wait long and takes no body: it ends when its client hangs up, or when
    the server closes.
    """

    fabric: Fabric
    handler: Handler
    closing: asyncio.Event | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.closing is None:
            await self._answer(scope, receive, send)
            return
        is_answered = False
        async with while_connected(scope, receive, closing=self.closing):
            await self._answer(scope, receive, send)
            is_answered = True
        if not is_answered and self.closing.is_set():
            error = Rejected(Explanation(Reason.DRAINING), retry_after_s=RETRY_SOON_S)
            await send_problem(send, error, request_id=self.fabric.new_request_id())

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = self.fabric.new_request_id()
        try:
            response = await self.handler(Request(scope, receive))
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 - the task's boundary: logged and answered
            note_refused(scope, self.fabric, request_id, error)
            await send_problem(send, error, request_id=request_id)
            return
        response.raw_headers.extend(id_headers(request_id))
        await response(scope, receive, send)
