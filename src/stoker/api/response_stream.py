"""A background Response as a stream: OpenAI's events, from any of them on, until it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Raw
from starlette.responses import Response

from stoker.api.asgi import Pinging, Receive, Scope, Send, pinged, while_connected
from stoker.api.problems import problem
from stoker.api.reply import EVENT_STREAM
from stoker.api.response_document import response_document
from stoker.api.wire import encode
from stoker.core.errors import NotFound
from stoker.core.work import JobId
from stoker.fabric import Fabric
from stoker.ports import Job
from stoker.runtime.response_events import EventStream, ResponseEvent, Turn

_HEADERS = {
    "content-type": EVENT_STREAM,
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}
_LOOK_AGAIN_S = 2.0
"""How soon a change is seen that nobody tells of."""


class StreamedResponse(Response):
    """The events after number `after`; the job's row says whether it is over."""

    def __init__(
        self,
        fabric: Fabric,
        id: JobId,
        *,
        after: int,
        closing: asyncio.Event,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(headers={**_HEADERS, **(headers or {})})
        del self.headers["content-length"]
        self._fabric = fabric
        self._id = id
        self._after = after
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        async with while_connected(scope, receive, closing=self._closing):
            every_s = self._fabric.config.server.ping_s
            if every_s:
                async with pinged(Pinging(every_s, _Pings(send))):
                    await self._follow(send)
            else:
                await self._follow(send)
        await send({"type": "http.response.body", "body": b""})

    async def _follow(self, send: Send) -> None:
        try:
            job = await self._fabric.jobs.get(self._id)
            age_s = (job.finished_at or self._fabric.clock.wall()) - job.created_at
            with self._fabric.response_events.using(job.id, age_s=age_s) as stream:
                if not job.state.is_final:
                    stream.reopen()
                await _Follower(self._fabric, stream, self._id, self._after).run(send)
        except NotFound:
            return  # it was deleted meanwhile
        except Exception as error:  # noqa: BLE001 - the task's boundary: logged and told
            found = problem(error, request_id=self.headers.get("x-request-id", ""))
            frame = b"event: error\ndata: %b\n\n" % found.body
            await send({"type": "http.response.body", "body": frame, "more_body": True})


class _Follower:
    """One reader of one stream."""

    def __init__(self, fabric: Fabric, stream: EventStream, id: JobId, after: int) -> None:
        self._jobs = fabric.jobs
        self._stream = stream
        self._id = id
        self._number = after
        self._is_behind = False
        """Whether events are gone that it has not had: pieces of text would have a hole."""

    async def run(self, send: Send) -> None:
        """Send what comes until it is over. Raises `NotFound`."""
        stream = self._stream
        while True:
            changes = stream.changes
            if events := stream.after(self._number):
                await self._send(events, send)
            elif stream.is_ended:
                return
            elif (await self._jobs.get(self._id)).state.is_final:
                stream.end()
            else:
                await stream.changed(changes, _LOOK_AGAIN_S)

    async def _send(self, events: Sequence[ResponseEvent], send: Send) -> None:
        self._is_behind |= self._number < self._stream.lost
        self._number = events[-1].number
        frames = b"".join([await self._frame(event) for event in events])
        if frames:
            await send({"type": "http.response.body", "body": frames, "more_body": True})

    async def _frame(self, event: ResponseEvent) -> bytes:
        if isinstance(event.what, Turn):
            self._is_behind &= event.what is not Turn.BEGUN
            return await self._turn(event.number, event.what)
        return b"" if self._is_behind else _numbered(event.what, event.number)

    async def _turn(self, number: int, turn: Turn) -> bytes:
        job = await self._jobs.get(self._id)
        body = await self._jobs.body(self._id)
        if turn is Turn.ENDED:
            document = response_document(job, body, await self._jobs.result(self._id))
            name = str(msgspec.json.decode(encode(document["status"])))
        else:
            document = _as_it_was(job, body, turn)
            name = turn.value
        event = {"type": f"response.{name}", "response": document}
        return _numbered(encode(event), number)


class _Pings:
    """Comments that keep the connection from looking dead."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def __call__(self) -> bool:
        await self._send({"type": "http.response.body", "body": b": ping\n\n", "more_body": True})
        return True


def _as_it_was(job: Job, body: bytes, turn: Turn) -> dict[str, object]:
    """The Response before it had anything to show."""
    status = Turn.QUEUED.value if turn is Turn.CREATED else turn.value
    document = response_document(job, body, None)
    return {**document, "status": status, "completed_at": None, "error": None}


def _numbered(data: bytes, number: int) -> bytes:
    fields: dict[str, Raw] = msgspec.json.decode(data, type=dict[str, Raw])
    fields["sequence_number"] = Raw(b"%d" % number)
    kind = msgspec.json.decode(fields["type"], type=str) if "type" in fields else "message"
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode(fields))
