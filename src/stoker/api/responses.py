"""OpenAI's Responses: `background: true` is a durable P2 job; the others are for the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from stoker.api.access import caller_of, check_submission, note_refused
from stoker.api.answers import JSON, json_answer
from stoker.api.asgi import (
    ClientGone,
    Receive,
    Scope,
    Send,
    header,
    read_body,
    send_problem,
)
from stoker.api.inference import InferenceEndpoint
from stoker.api.problems import id_headers
from stoker.api.query import bounded_text, flag, number, one_of, page_limit
from stoker.api.response_document import (
    RESPONSE_PREFIX,
    is_streamed,
    job_of,
    no_response,
    response_document,
    response_id,
)
from stoker.api.response_items import ITEMS_DEFAULT, ITEMS_MAX, input_items, items_page
from stoker.api.response_stream import StreamedResponse
from stoker.api.wire import encode
from stoker.core.errors import Conflict, InvalidRequest, NotFound
from stoker.core.work import JobId, Priority
from stoker.fabric import Fabric, P2Submission
from stoker.ports import Job
from stoker.runtime.classes import ClassChoice
from stoker.runtime.endpoints import RESPONSES

_CANCEL_WAIT_S = 10.0
"""A running job is told to stop and then hangs up on the engine; clients expect to see the end."""
_ALONE = (
    "a background Response keeps what it needs and nothing else: send the conversation so far in "
    "`input`"
)


@dataclass(frozen=True, slots=True)
class ResponsesEndpoint:
    """An ASGI application for `POST /v1/responses`."""

    inference: InferenceEndpoint
    closing: asyncio.Event
    """Set when the server closes: streams end."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fabric = self.inference.fabric
        request_id = fabric.new_request_id()
        try:
            limit = fabric.config.server.body_max_bytes
            body = await read_body(scope, receive, max_bytes=limit)
            asked = _asked(body)
            if not asked.background:
                await self._check_not_ours(asked.previous_response_id)
                await self.inference.serve(body, scope, receive, send, request_id=request_id)
                return
            _check_background(asked)
            response = await self._enqueue(scope, body, is_stream=bool(asked.stream))
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 - the task's boundary: logged and answered
            note_refused(scope, self.inference.fabric, request_id, error)
            await send_problem(send, error, request_id=request_id)
            return
        response.raw_headers.extend(id_headers(request_id))
        await response(scope, receive, send)

    async def _enqueue(self, scope: Scope, body: bytes, *, is_stream: bool) -> Response:
        """200 only after the store has it. A repeated key answers with the Response it names."""
        fabric = self.inference.fabric
        key = bounded_text(header(scope, b"idempotency-key"), "Idempotency-Key")
        await check_submission(scope, fabric)
        tenant = caller_of(scope).tenant
        submission = P2Submission(body=body, key=key, endpoint=RESPONSES, tenant=tenant)
        [enqueued] = await fabric.submit([submission])
        if is_stream and enqueued.is_new:
            fabric.response_events.open(enqueued.id, age_s=0.0)  # now: the numbers begin with 0
        headers = {"x-stoker-class": Priority.P2.label}
        responses = Responses(fabric, self.closing)
        if is_stream:
            return responses.streamed(enqueued.id, headers=headers)
        return Response(await responses.document(enqueued.id), 200, headers, media_type=JSON)

    async def _check_not_ours(self, id: object) -> None:
        """The engine does not have our background Responses: it would say that there is none."""
        if not isinstance(id, str) or not id.startswith(RESPONSE_PREFIX):
            return
        try:
            await self.inference.fabric.jobs.get(job_of(id))
        except NotFound:
            return  # the engine's own, maybe
        raise InvalidRequest(
            f"{id[:80]} ran in the background, and cannot be gone on from: send the conversation "
            "so far in `input`",
            param="previous_response_id",
        )


@dataclass(frozen=True, slots=True)
class Responses:
    """Endpoints over the background Responses of one fabric."""

    fabric: Fabric
    closing: asyncio.Event
    """Set when the server closes: streams end."""

    async def show(self, request: Request) -> Response:
        """The Response as it is now; with `stream=true` its events, those `starting_after` one."""
        is_stream = flag(request, "stream")
        after = int(number(request, "starting_after", -1, least=-1))
        job = await self._job(request)
        if not is_stream:
            if "starting_after" in request.query_params:
                raise InvalidRequest("starting_after needs stream=true", param="starting_after")
            return await self._answer(job.id)
        if not is_streamed(await self.fabric.jobs.body(job.id)):
            raise InvalidRequest(
                "this Response was created without `stream: true`: there are no events; leave "
                "`stream` out, and poll it",
                param="stream",
            )
        return self.streamed(job.id, after=after)

    def streamed(
        self, id: JobId, *, after: int = -1, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Its events beyond that number, until it is over."""
        return StreamedResponse(self.fabric, id, after=after, closing=self.closing, headers=headers)

    async def input_items(self, request: Request) -> Response:
        """What it was asked, item by item: the last first, or the first with `order=asc`."""
        limit = page_limit(request, ITEMS_DEFAULT, most=ITEMS_MAX)
        order = one_of(request, "order", ("desc", "asc"))
        job = await self._job(request)
        items = input_items(job.id, await self.fabric.jobs.body(job.id))
        if order == "desc":
            items.reverse()
        return json_answer(items_page(items, limit, request.query_params.get("after")))

    async def cancel(self, request: Request) -> Response:
        """Cancel it. One that is over stays as it is, and is answered like any other."""
        job = await self._job(request)
        if not job.state.is_final:
            await self._stop(job.id)
        return await self._answer(job.id)

    async def delete(self, request: Request) -> Response:
        """Forget it; one that is not over is cancelled first."""
        job = await self._job(request)
        if not job.state.is_final:
            await self._stop(job.id)
        await self.fabric.jobs.delete(job.id)
        gone = {"id": response_id(job.id), "object": "response", "deleted": True}
        return json_answer(gone)

    async def document(self, id: JobId) -> bytes:
        """The Response as JSON."""
        job = await self.fabric.jobs.get(id)
        body = await self.fabric.jobs.body(id)
        result = await self.fabric.jobs.result(id)
        return encode(response_document(job, body, result))

    async def _answer(self, id: JobId) -> Response:
        return Response(await self.document(id), media_type=JSON)

    async def _job(self, request: Request) -> Job:
        id = request.path_params["response_id"]
        try:
            job = await self.fabric.jobs.get(job_of(id))
        except NotFound:
            raise no_response(id) from None
        is_theirs = caller_of(request.scope).may_see(job.tenant)
        if job.endpoint != RESPONSES or job.batch is not None or not is_theirs:
            raise no_response(id)
        return job

    async def _stop(self, id: JobId) -> None:
        try:
            await self.fabric.cancel_job(id)
        except Conflict:
            return  # it ended while we asked
        await self.fabric.wait_job(id, _CANCEL_WAIT_S)


class _Asked(msgspec.Struct):
    background: bool | None = None
    stream: bool | None = None
    store: bool | None = None
    service_tier: str | None = None
    previous_response_id: Any = None
    conversation: Any = None


_NOTHING = _Asked()
_ASKED = msgspec.json.Decoder(_Asked)
_READ = (b'"background"', b'"previous_response_id"')


def _asked(body: bytes) -> _Asked:
    """What is read of a Response's body. Raises `InvalidRequest` for a field of a wrong type."""
    if not any(name in body for name in _READ):
        return _NOTHING
    try:
        return _ASKED.decode(body)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$.")
        param = place.rstrip("`")
        if not param:
            return _NOTHING
        raise InvalidRequest(f"{param}: {problem}", param=param) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _NOTHING  # whoever reads it whole says what is wrong with it


def _check_background(asked: _Asked) -> None:
    """Raise `InvalidRequest` for what does not go with `background: true`."""
    if asked.store is False:
        raise InvalidRequest("background: true needs the Response stored", param="store")
    for name in ("previous_response_id", "conversation"):
        if getattr(asked, name) is not None:
            raise InvalidRequest(f"{name}: {_ALONE}", param=name)
    ClassChoice().choose(asked.service_tier, Priority.P2)  # refused if unknown; P2 in any case
