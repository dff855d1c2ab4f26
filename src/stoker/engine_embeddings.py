"""The engine as the memory server's embedder: text as background jobs, questions at once."""

from __future__ import annotations

import asyncio

import structlog

from stoker.assembly import Assembly
from stoker.core.errors import JobFailed, StokerError
from stoker.core.work import Priority
from stoker.memories.ports import TENANT
from stoker.memories.recall.engine import EngineEmbedder
from stoker.ports import Clock, EngineCall, JobStore
from stoker.runtime import intake
from stoker.runtime.submitting import P2Submission

log = structlog.get_logger("stoker.memories")

_ENDPOINT = "/v1/embeddings"
_RETRY_S = 30.0


class EngineVectors:
    """How embeddings are asked of the engines behind one service."""

    def __init__(self, parts: Assembly, store: JobStore, clock: Clock) -> None:
        self._parts = parts
        self._store = store
        self._clock = clock

    async def connect(self, model: str) -> EngineEmbedder:
        """The embedder, once an engine answers for it; tried until then."""
        while True:
            try:
                return await EngineEmbedder.connect(
                    model, in_background=self.in_background, at_once=self.at_once
                )
            except StokerError as error:
                log.warning("memories_embedder_not_there", model=model, error=str(error))
                await asyncio.sleep(_RETRY_S)

    async def at_once(self, body: bytes) -> bytes:
        """As a P1 request: somebody waits for the hits."""
        inference = intake.parse(
            body,
            endpoint=_ENDPOINT,
            priority=Priority.P1,
            request_id=self._parts.ids.request(),
            now=self._clock.monotonic(),
            tenant=TENANT,
        )
        request, router = inference.request, self._parts.router
        target = router.find(inference.model) or await router.route(inference.model)
        call = EngineCall(
            request.id, inference.endpoint, inference.body, request.priority, model=target.model
        )
        async with self._parts.engines[target.engine].calls.open(request, call) as answer:
            return b"".join([chunk async for chunk in answer.chunks()])

    async def in_background(self, body: bytes) -> bytes:
        """As a background job under the memory server's name."""
        submission = P2Submission(body, endpoint=_ENDPOINT, tenant=TENANT)
        [enqueued] = await self._parts.submitter.submit([submission])
        job = await self._parts.waiters.wait(enqueued.id, None)
        result = await self._store.result(job.id)
        if result is None:
            code = job.error.code if job.error else job.state.value
            raise JobFailed(f"job {job.id}: no embeddings came of it", code=code)
        return result
