"""`GET /v1/fabric/history`: a stretch of the past."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stoker.api.query import MakeRoute, number
from stoker.api.wire import encode
from stoker.core.errors import InvalidRequest
from stoker.fabric import Fabric
from stoker.history.document import POINTS_MAX, Wanted, history_document
from stoker.history.when import parse_when

_SERIES_MAX = 100
_DEFAULT_S = 3600.0


@dataclass(frozen=True, slots=True)
class History:
    """Endpoints over one fabric's history."""

    fabric: Fabric

    async def show(self, request: Request) -> Response:
        """What the service looked like then."""
        file, wanted = self.fabric.history, self._wanted(request)
        kept = file.kept
        document = await file.read(lambda db: history_document(db, wanted, kept))
        # Encoding a long one takes milliseconds, in which nobody else should have to wait.
        body = await asyncio.to_thread(encode, document)
        return Response(body, media_type="application/json")

    def _wanted(self, request: Request) -> Wanted:
        now = self.fabric.clock.wall()
        until = _when(request, "until", now, now)
        since = _when(request, "since", now, until - _DEFAULT_S)
        if since >= until:
            raise InvalidRequest("since must be before until", param="since")
        step_s = number(request, "step", 0, least=0)
        if step_s and (until - since) / step_s > POINTS_MAX:
            least = (until - since) / POINTS_MAX
            raise InvalidRequest(
                f"step must be at least {least:.0f} s for so long a time: one answer has at most "
                f"{POINTS_MAX} points",
                param="step",
            )
        engine = request.query_params.get("engine")
        if engine is not None and engine not in self.fabric.engine_names:
            known = ", ".join(self.fabric.engine_names)
            raise InvalidRequest(f"no engine is called so; there is {known}", param="engine")
        series = request.query_params.get("series", "")
        prefixes = tuple(part.strip() for part in series.split(",") if part.strip())
        if len(prefixes) > _SERIES_MAX:
            raise InvalidRequest(f"series may name at most {_SERIES_MAX}", param="series")
        return Wanted(since, until, int(step_s) or None, prefixes, engine)


def history_routes(fabric: Fabric, route: MakeRoute) -> list[Route]:
    return [route("GET", "/v1/fabric/history", History(fabric).show)]


def _when(request: Request, name: str, now: float, default: float) -> float:
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        return parse_when(text, now)
    except ValueError as error:
        raise InvalidRequest(f"{name}: {error}", param=name) from None
