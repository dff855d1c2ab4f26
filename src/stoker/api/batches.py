"""OpenAI's batches: create, look at, list, cancel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stoker.api.access import caller_of, check_submission
from stoker.api.answers import Page, json_answer
from stoker.api.query import MakeRoute, page_limit, small_body
from stoker.batches.service import NewBatch
from stoker.core.batches import Batch, BatchStatus, BatchUsage
from stoker.fabric import Fabric

LIST_DEFAULT, LIST_MAX = 20, 100


def batch_routes(fabric: Fabric, route: MakeRoute) -> list[Route]:
    """The routes over one fabric."""
    batches = BatchRoutes(fabric)
    return [
        route("POST", "/v1/batches", batches.create),
        route("GET", "/v1/batches", batches.list),
        route("GET", "/v1/batches/{batch_id}", batches.show),
        route("POST", "/v1/batches/{batch_id}/cancel", batches.cancel),
    ]


_Key = Annotated[str, Meta(max_length=64)]
_Value = Annotated[str, Meta(max_length=512)]


class ExpiresAfter(msgspec.Struct):
    anchor: Literal["created_at"]
    seconds: Annotated[int, Meta(ge=3600, le=2_592_000)]


class BatchRequest(msgspec.Struct):
    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: Annotated[dict[_Key, _Value], Meta(max_length=16)] | None = None
    output_expires_after: ExpiresAfter | None = None


class RequestCounts(msgspec.Struct):
    total: int
    completed: int
    failed: int


class ErrorDocument(msgspec.Struct):
    code: str
    line: int | None
    message: str
    param: str | None


class ErrorList(msgspec.Struct):
    data: list[ErrorDocument]
    object: str = "list"


class InputDetails(msgspec.Struct):
    cached_tokens: int


class OutputDetails(msgspec.Struct):
    reasoning_tokens: int


class UsageDocument(msgspec.Struct):
    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class BatchDocument(msgspec.Struct):
    id: str
    endpoint: str
    model: str | None
    errors: ErrorList | None
    input_file_id: str
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: UsageDocument | None
    metadata: dict[str, str] | None
    object: str = "batch"


class BatchList(Page[BatchDocument]):
    """Some of them."""


@dataclass(frozen=True, slots=True)
class BatchRoutes:
    """Endpoints over one fabric."""

    fabric: Fabric

    async def create(self, request: Request) -> Response:
        """Accept a batch; what is wrong with its lines is told later, in `errors`."""
        asked = await small_body(request, BatchRequest)
        keep = asked.output_expires_after
        await check_submission(request.scope, self.fabric)
        new = NewBatch(
            input_file_id=asked.input_file_id,
            endpoint=asked.endpoint,
            completion_window=asked.completion_window,
            metadata=asked.metadata,
            output_expires_after_s=None if keep is None else keep.seconds,
        )
        tenant = caller_of(request.scope).tenant
        return json_answer(_document(await self.fabric.batches.create(new, tenant=tenant)))

    async def list(self, request: Request) -> Response:
        """Newest first."""
        limit = page_limit(request, LIST_DEFAULT, most=LIST_MAX)
        batches = await self.fabric.batches.page(
            tenant=caller_of(request.scope).sees,
            limit=limit + 1,
            after=request.query_params.get("after"),
        )
        return json_answer(BatchList.of([_document(batch) for batch in batches], limit=limit))

    async def show(self, request: Request) -> Response:
        batch = await self.fabric.batches.get(_id(request), tenant=caller_of(request.scope).sees)
        return json_answer(_document(batch))

    async def cancel(self, request: Request) -> Response:
        """Ask it to stop; it is `cancelling` until its output is written."""
        batch = await self.fabric.batches.cancel(_id(request), tenant=caller_of(request.scope).sees)
        return json_answer(_document(batch))


def _id(request: Request) -> str:
    return str(request.path_params["batch_id"])


def _document(batch: Batch) -> BatchDocument:
    counts, errors = batch.counts, batch.errors
    return BatchDocument(
        id=batch.id,
        endpoint=batch.endpoint,
        model=batch.model,
        errors=None
        if not errors
        else ErrorList(
            [ErrorDocument(one.code, one.line, one.message, one.param) for one in errors]
        ),
        input_file_id=batch.input_file_id,
        completion_window=batch.completion_window,
        status=batch.status.value,
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        created_at=int(batch.created_at),
        in_progress_at=_at(batch, BatchStatus.IN_PROGRESS),
        expires_at=int(batch.expires_at),
        finalizing_at=_at(batch, BatchStatus.FINALIZING),
        completed_at=_at(batch, BatchStatus.COMPLETED),
        failed_at=_at(batch, BatchStatus.FAILED),
        expired_at=_at(batch, BatchStatus.EXPIRED),
        cancelling_at=_at(batch, BatchStatus.CANCELLING),
        cancelled_at=_at(batch, BatchStatus.CANCELLED),
        request_counts=RequestCounts(counts.total, counts.completed, counts.failed),
        usage=None if batch.usage is None else _usage(batch.usage),
        metadata=None if batch.metadata is None else dict(batch.metadata),
    )


def _at(batch: Batch, status: BatchStatus) -> int | None:
    reached = batch.reached.get(status.value)
    return None if reached is None else int(reached)


def _usage(usage: BatchUsage) -> UsageDocument:
    return UsageDocument(
        input_tokens=usage.input_tokens,
        input_tokens_details=InputDetails(usage.cached_tokens),
        output_tokens=usage.output_tokens,
        # Engines do not tell how many of them were reasoning.
        output_tokens_details=OutputDetails(0),
        total_tokens=usage.input_tokens + usage.output_tokens,
    )
