"""The hot path: a body comes in, waits for its turn, and the engine's bytes go out.

One request is one task from socket to socket. It owns its place in the queue, its slot and its
engine connection by `async with`; a client that hangs up, waiting or running, cancels the task, and
there is no other way by which any of them is given back.
"""

from __future__ import annotations

from dataclasses import dataclass

from stoker.api.access import billed, caller_of, note_refused
from stoker.api.anthropic import anthropic_problem, is_anthropic
from stoker.api.asgi import (
    ClientGone,
    Pinging,
    Receive,
    Scope,
    Send,
    header,
    pinged,
    read_body,
    send_problem,
    while_connected,
)
from stoker.api.injection import remembered, telling
from stoker.api.problems import Describe, problem
from stoker.api.reply import Reply
from stoker.core.work import Priority, RequestId
from stoker.fabric import Fabric
from stoker.runtime import intake
from stoker.runtime.classes import HEADER, ClassChoice

_CLASS_HEADER = HEADER.encode()


@dataclass(frozen=True, slots=True)
class InferenceEndpoint:
    """An ASGI application for one inference route."""

    fabric: Fabric
    priority: Priority
    """Of every request, or the default where the caller picks the class."""
    endpoint: str | None = None
    """The engine's path; `None` means that the body tells."""
    has_tier: bool = False
    """Whether `service_tier` and the class header are read."""

    @property
    def describe(self) -> Describe:
        """How this route words its errors."""
        return anthropic_problem if is_anthropic(self.endpoint or "") else problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = self.fabric.new_request_id()
        try:
            limit = self.fabric.config.server.body_max_bytes
            body = await read_body(scope, receive, max_bytes=limit)
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 - the task's boundary: logged and answered
            await send_problem(send, error, request_id=request_id, describe=self.describe)
            return
        await self.serve(body, scope, receive, send, request_id=request_id)

    async def serve(
        self, body: bytes, scope: Scope, receive: Receive, send: Send, *, request_id: RequestId
    ) -> None:
        """Answer a request whose body has been read."""
        caller = caller_of(scope)
        choice = ClassChoice(header(scope, _CLASS_HEADER), caller.highest)
        try:
            injected = await remembered(self.fabric, body, scope, request_id)
            if injected is not None:
                body, send = injected.body, telling(send, injected)
            inference = intake.parse(
                body,
                endpoint=self.endpoint,
                priority=caller.default(self.priority) if self.has_tier else self.priority,
                request_id=request_id,
                now=self.fabric.clock.monotonic(),
                tenant=caller.tenant,
                choice=choice if self.has_tier else None,
            )
        except Exception as error:  # noqa: BLE001 - the task's boundary: logged and answered
            note_refused(scope, self.fabric, request_id, error)
            await send_problem(send, error, request_id=request_id, describe=self.describe)
            return
        reply = Reply(send, inference, self.describe)
        every_s = self.fabric.config.server.ping_s if inference.is_stream else 0.0
        async with while_connected(scope, receive):
            if every_s:
                async with pinged(Pinging(every_s, reply.ping)):
                    await self._answer(scope, inference, reply)
            else:
                await self._answer(scope, inference, reply)

    async def _answer(self, scope: Scope, inference: intake.Inference, reply: Reply) -> None:
        fabric = self.fabric
        try:
            with billed(scope, fabric, inference) as bill:
                async with fabric.infer(inference) as answer:
                    bill.answer = answer
                    if answer.is_stream:
                        await reply.stream(answer)
                    else:
                        await reply.collect(answer)
            # Outside the block: the slot is free before the client has read the end.
            await reply.end()
        except Exception as error:  # noqa: BLE001 - the task's boundary: logged and answered
            note_refused(scope, fabric, inference.request.id, error)
            await reply.fail(error)
