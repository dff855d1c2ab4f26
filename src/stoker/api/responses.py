"""OpenAI's Responses: `background: true` is a durable P2 job; the others are for the engine."""

from __future__ import annotations

from dataclasses import dataclass

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
    send_bytes,
    send_problem,
)
from stoker.api.inference import InferenceEndpoint
from stoker.api.problems import id_headers
from stoker.api.query import bounded_text
from stoker.api.response_document import job_of, no_response, response_document, response_id
from stoker.api.wire import encode
from stoker.core.errors import Conflict, InvalidRequest, NotFound
from stoker.core.work import JobId, Priority
from stoker.fabric import Fabric, P2Submission
from stoker.ports import Job
from stoker.runtime.classes import ClassChoice
from stoker.runtime.endpoints import RESPONSES

_CANCEL_WAIT_S = 10.0
"""A running job is told to stop and then hangs up on the engine; clients expect to see the end."""
_NOT_STREAMED = (
    "a Response with background: true is stored, not streamed: leave `stream` out, and poll "
    "GET /v1/responses/{id}"
)


@dataclass(frozen=True, slots=True)
class ResponsesEndpoint:
    """An ASGI application for `POST /v1/responses`."""

    inference: InferenceEndpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fabric = self.inference.fabric
        request_id = fabric.new_request_id()
        try:
            limit = fabric.config.server.body_max_bytes
            body = await read_body(scope, receive, max_bytes=limit)
            if not _is_background(body):
                await self.inference.serve(body, scope, receive, send, request_id=request_id)
                return
            document = await self._enqueue(scope, body)
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 - the task's boundary: logged and answered
            note_refused(scope, self.inference.fabric, request_id, error)
            await send_problem(send, error, request_id=request_id)
            return
        headers = [*id_headers(request_id), (b"x-stoker-class", Priority.P2.label.encode())]
        await send_bytes(send, 200, document, [*headers, (b"content-type", JSON.encode())])

    async def _enqueue(self, scope: Scope, body: bytes) -> bytes:
        """200 only after the store has it. A repeated key answers with the Response it names."""
        key = bounded_text(header(scope, b"idempotency-key"), "Idempotency-Key")
        await check_submission(scope, self.inference.fabric)
        tenant = caller_of(scope).tenant
        submission = P2Submission(body=body, key=key, endpoint=RESPONSES, tenant=tenant)
        [enqueued] = await self.inference.fabric.submit([submission])
        return await Responses(self.inference.fabric).document(enqueued.id)


@dataclass(frozen=True, slots=True)
class Responses:
    """Endpoints over the background Responses of one fabric."""

    fabric: Fabric

    async def show(self, request: Request) -> Response:
        """The Response as it is now."""
        if request.query_params.get("stream", "false") != "false":
            raise InvalidRequest(_NOT_STREAMED, param="stream")
        if request.query_params.get("stream") == "true":
            raise InvalidRequest(
                "a background Response cannot be streamed; poll it", param="stream"
            )
        return await self._answer((await self._job(request)).id)

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


_ASKED = msgspec.json.Decoder(_Asked)


def _is_background(body: bytes) -> bool:
    """Whether it is to be stored. Raises `InvalidRequest` for what cannot go with that."""
    if b'"background"' not in body:
        return False
    try:
        asked = _ASKED.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False  # whoever reads it whole says what is wrong with it
    if not asked.background:
        return False
    if asked.stream:
        raise InvalidRequest(_NOT_STREAMED, param="stream")
    if asked.store is False:
        raise InvalidRequest("background: true needs the Response stored", param="store")
    ClassChoice().choose(asked.service_tier, Priority.P2)  # refused if unknown; P2 in any case
    return True
