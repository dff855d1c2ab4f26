"""The interactive switch: grant, extend, release and list P0 leases."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from stoker.api.access import caller_of, check_visible
from stoker.api.answers import json_answer
from stoker.api.query import small_body
from stoker.api.wire import LeaseDocument, LeaseRequest
from stoker.core.work import LeaseId
from stoker.fabric import Fabric
from stoker.runtime.leases import Lease


@dataclass(frozen=True, slots=True)
class Leases:
    """Endpoints over one fabric."""

    fabric: Fabric

    async def grant(self, request: Request) -> Response:
        wanted = await small_body(request, LeaseRequest)
        tenant = caller_of(request.scope).tenant
        lease = await self.fabric.allocate_p0_priority(wanted.seconds, tenant=tenant)
        return _answer(lease, 201)

    async def extend(self, request: Request) -> Response:
        wanted = await small_body(request, LeaseRequest)
        return _answer(await self.fabric.extend_lease(self._visible(request), wanted.seconds))

    async def release(self, request: Request) -> Response:
        await self.fabric.release_lease(self._visible(request))
        return Response(status_code=204)

    async def list(self, request: Request) -> Response:
        may_see = caller_of(request.scope).may_see
        held = [_document(lease) for lease in self.fabric.leases() if may_see(lease.tenant)]
        return json_answer({"object": "list", "data": held})

    def _visible(self, request: Request) -> LeaseId:
        """The lease that is asked for. Raises `NotFound` for another tenant's."""
        id = LeaseId(request.path_params["lease_id"])
        for lease in self.fabric.leases():
            if lease.id == id:
                gone = f"no active P0 lease {id}; it has ended, or never was"
                check_visible(request.scope, lease.tenant, gone)
        return id


def _document(lease: Lease) -> LeaseDocument:
    return LeaseDocument(lease_id=lease.id, expires_in_s=lease.expires_in_s)


def _answer(lease: Lease, status: int = 200) -> Response:
    return json_answer(_document(lease), status)
