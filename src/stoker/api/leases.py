"""The interactive switch: grant, extend, release and list P0 leases."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from stoker.api.query import small_body
from stoker.api.wire import LeaseDocument, LeaseRequest, encode
from stoker.core.work import LeaseId
from stoker.fabric import Fabric
from stoker.runtime.leases import Lease


@dataclass(frozen=True, slots=True)
class Leases:
    """Endpoints over one fabric."""

    fabric: Fabric

    async def grant(self, request: Request) -> Response:
        wanted = await small_body(request, LeaseRequest)
        lease = await self.fabric.allocate_p0_priority(wanted.seconds)
        return _answer(lease, 201)

    async def extend(self, request: Request) -> Response:
        wanted = await small_body(request, LeaseRequest)
        return _answer(await self.fabric.extend_lease(_id(request), wanted.seconds))

    async def release(self, request: Request) -> Response:
        await self.fabric.release_lease(_id(request))
        return Response(status_code=204)

    async def list(self, request: Request) -> Response:
        held = [_document(lease) for lease in self.fabric.leases()]
        return Response(encode({"object": "list", "data": held}), media_type="application/json")


def _id(request: Request) -> LeaseId:
    return LeaseId(request.path_params["lease_id"])


def _document(lease: Lease) -> LeaseDocument:
    return LeaseDocument(lease_id=lease.id, expires_in_s=lease.expires_in_s)


def _answer(lease: Lease, status: int = 200) -> Response:
    return Response(encode(_document(lease)), status, media_type="application/json")
