"""How a chat request asks for memories before its question: by a header, or by a body field."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from stoker.api.access import caller_of
from stoker.api.asgi import Message, Scope, Send, header
from stoker.core.errors import InvalidRequest, NotAllowed
from stoker.core.work import RequestId
from stoker.fabric import Fabric
from stoker.memories.injecting import Injected, Wish, inject

HEADER = b"x-stoker-memories"
_FIELD = b'"memories"'
_TOP_LEVEL = msgspec.json.Decoder(dict[str, Raw])


async def remembered(
    fabric: Fabric, body: bytes, scope: Scope, request_id: RequestId
) -> Injected | None:
    """The body with memories in it; `None` where nobody asked for them. Raises `StokerError`."""
    asked = header(scope, HEADER)
    if asked is None and _FIELD not in body:
        return None
    wish, rest = _wish(asked, body)
    if wish is None:
        return None
    key = caller_of(scope).key
    if key is not None and not (key.is_admin or key.may_remember):
        raise NotAllowed(f"the key {key.id} has no access to memories (`--memories` gives it)")
    return await inject(fabric.memories, rest, wish, request_id=request_id)


def telling(send: Send, injected: Injected) -> Send:
    """Tell the client in a header which memories its answer was given."""

    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            ids = ",".join(injected.ids).encode()
            message = {**message, "headers": [*message["headers"], (HEADER, ids)]}
        await send(message)

    return told


def _wish(asked: str | None, body: bytes) -> tuple[Wish | None, bytes]:
    """What is wanted, and the body without that field. The field comes before the header."""
    try:
        fields = _TOP_LEVEL.decode(body)
        owned = _TOP_LEVEL.decode(fields["stoker"]) if "stoker" in fields else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, body  # intake words what is wrong with it
    raw = owned.pop("memories", None)
    if raw is None:
        return _from_header(asked), body
    if owned:
        fields["stoker"] = Raw(msgspec.json.encode(owned))
    else:
        del fields["stoker"]
    return _from_field(raw), msgspec.json.encode(fields)


def _from_field(raw: Raw) -> Wish | None:
    try:
        value = msgspec.json.decode(raw, type=bool | Wish | None)
    except msgspec.ValidationError as error:
        raise InvalidRequest(
            f"must be true, or an object with scope, limit and token_budget: {error}",
            param="stoker.memories",
        ) from None
    return value if isinstance(value, Wish) else Wish() if value else None


def _from_header(asked: str | None) -> Wish | None:
    if asked is None or asked.strip().lower() in {"", "off", "false", "0"}:
        return None
    if asked.strip().lower() in {"on", "true"}:
        return Wish()
    if asked.strip().isdecimal():
        return Wish(limit=int(asked.strip()[:6]))
    raise InvalidRequest("must be on, off, or how many at most", param=HEADER.decode())
