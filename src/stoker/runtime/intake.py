"""From a client's JSON body to what the scheduler and the engine need to know about it.

One pass over the top level; messages, prompts and tools stay the bytes that they were. What the
fabric does not own goes to the engine untouched.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw

from stoker.core.errors import InvalidRequest
from stoker.core.work import Priority, Request, RequestId
from stoker.runtime.classes import ClassChoice
from stoker.runtime.endpoints import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    ENDPOINTS,
    RESPONSES,
    Endpoint,
)


@dataclass(frozen=True, slots=True)
class Inference:
    """One accepted body: how the scheduler sees it, and what the engine is sent."""

    request: Request
    endpoint: str
    body: bytes
    """The client's JSON without the fields that the fabric owns; verbatim if it had none."""
    is_stream: bool
    model: str | None = None
    """What the body asks for: it picks the engine, where there are several."""
    is_tier_asked: bool = False
    """Whether the caller chose a class; its answer then says which tier served it."""
    run_at: float | None = None
    """Not before (wall seconds); for stored work only."""
    deadline_s: float | None = None
    """Seconds from acceptance within which it must have finished."""


RESERVED_TENANTS = "stoker:"
"""Names that begin so belong to parts of Stoker, such as the memory server."""


def parse(
    body: bytes | Mapping[str, Any],
    *,
    endpoint: str | None = None,
    priority: Priority,
    request_id: RequestId,
    now: float,
    tenant: str = "",
    choice: ClassChoice | None = None,
) -> Inference:
    """Read a body. `now` is monotonic. Raises `InvalidRequest` naming the field.

    `tenant` is whose it is, whatever the body says; without it the body may say.

    With `choice` the caller picks the class, `priority` is only the default, and `service_tier` is
    ours: engines differ in which tiers they tolerate.
    """
    raw = body if isinstance(body, bytes) else _encode(body)
    fields = _decode(raw)
    owned = fields.stoker or _NOTHING_OWNED
    surface = _endpoint(fields, endpoint or owned.endpoint)
    endpoint = surface.path
    opening = _opening(fields, surface)
    if choice is not None:
        priority = choice.choose(fields.service_tier, priority)
    request = Request(
        id=request_id,
        priority=priority,
        prompt_bytes=_prompt_bytes(fields, surface, len(raw)),
        max_tokens=_max_tokens(fields) if surface.is_generating else 0,
        family=owned.family or _family(fields, endpoint, opening.system),
        tenant=tenant or _own_tenant(owned),
        session=owned.session or _session(fields, surface, opening),
        deadline_at=None if owned.deadline_s is None else now + owned.deadline_s,
    )
    return Inference(
        request=request,
        endpoint=endpoint,
        body=_without_owned(raw, fields, has_tier=choice is not None),
        is_stream=bool(fields.stream),
        model=fields.model,
        is_tier_asked=choice is not None and choice.is_asked(fields.service_tier),
        run_at=owned.run_at,
        deadline_s=owned.deadline_s,
    )


def _own_tenant(owned: _Owned) -> str:
    tenant = owned.tenant or ""
    if tenant.startswith(RESERVED_TENANTS):
        raise InvalidRequest(
            f"tenants that begin with {RESERVED_TENANTS!r} are Stoker's own; use another name",
            param="stoker.tenant",
        )
    return tenant


# ---------------------------------------------------------------------------- the wire shape

_Name = Annotated[str, Meta(min_length=1, max_length=200)]
_TokenCount = Annotated[int, Meta(ge=0)]
_ABSENT = Raw()
_NULL = Raw(b"null")


class _Owned(msgspec.Struct, forbid_unknown_fields=True):
    """The `stoker` object: the only part of a body that is ours to understand in full."""

    endpoint: str | None = None
    family: _Name | None = None
    deadline_s: Annotated[float, Meta(gt=0)] | None = None
    run_at: Annotated[float, Meta(ge=0)] | None = None
    tenant: _Name | None = None
    session: _Name | None = None


class _Fields(msgspec.Struct):
    """The fields that are read. Each is passed on as it came."""

    model: str | None = None
    stream: bool | None = None
    max_completion_tokens: _TokenCount | None = None
    max_tokens: _TokenCount | None = None
    max_output_tokens: _TokenCount | None = None
    service_tier: str | None = None
    stoker: _Owned | None = None
    stream_options: Raw = _ABSENT
    messages: Raw = _ABSENT
    prompt: Raw = _ABSENT
    input: Raw = _ABSENT
    system: Raw = _ABSENT
    tools: Raw = _ABSENT
    response_format: Raw = _ABSENT
    prompt_cache_key: Raw = _ABSENT
    # Fields that only the Responses API has tell its `input` from an embedding's.
    instructions: Raw = _ABSENT
    previous_response_id: Raw = _ABSENT
    conversation: Raw = _ABSENT
    text: Raw = _ABSENT
    reasoning: Raw = _ABSENT
    truncation: Raw = _ABSENT
    store: Raw = _ABSENT
    background: Raw = _ABSENT
    include: Raw = _ABSENT


class _Message(msgspec.Struct):
    role: str = ""


class _StreamOptions(msgspec.Struct):
    """What is read of them where usage is asked for upstream."""

    include_usage: bool | None = None


_NOTHING_OWNED = _Owned()
_FIELDS = msgspec.json.Decoder(_Fields)
_TOP_LEVEL = msgspec.json.Decoder(dict[str, Raw])
_MESSAGES = msgspec.json.Decoder(list[Raw])
_MESSAGE = msgspec.json.Decoder(_Message)
_STREAM_OPTIONS = msgspec.json.Decoder(_StreamOptions)
_WHERE = re.compile(r" - at `\$\.?([^`]*)`$")
_UNKNOWN = re.compile(r"unknown field `([^`]*)`")


def _encode(body: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(dict(body))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"the request cannot be written as JSON: {error}") from error


def _decode(raw: bytes) -> _Fields:
    try:
        if not raw.isascii():
            # What stays raw is not looked at by the decoder, and would trouble whoever reads it.
            str(raw, "utf-8")
        return _FIELDS.decode(raw)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}", code="invalid_json") from None


def _invalid(message: str, *, inside: str = "") -> InvalidRequest:
    place = _WHERE.search(message)
    # Without a place it is about the whole: an array, a string, a number.
    param = ".".join(filter(None, (inside, place[1] if place else "")))
    if not param:
        return InvalidRequest("the body must be a JSON object")
    unknown = _UNKNOWN.search(message)
    if unknown is not None:
        param = f"{param}.{unknown[1]}"
        known = ", ".join(_Owned.__struct_fields__)
        return InvalidRequest(f"{param} is unknown; `stoker` may have {known}", param=param)
    return InvalidRequest(f"{param}: {_WHERE.sub('', message)}", param=param)


def _has(raw: Raw) -> bool:
    return raw is not _ABSENT and raw != _NULL


def _endpoint(fields: _Fields, wanted: str | None) -> Endpoint:
    path = wanted or _guess(fields)
    endpoint = ENDPOINTS.get(path)
    if endpoint is None:
        allowed = ", ".join(ENDPOINTS)
        raise InvalidRequest(
            f"endpoint {path[:80]!r} is unknown; use one of {allowed}", param="stoker.endpoint"
        )
    if endpoint.needs is not None:
        _check_input(endpoint.needs, getattr(fields, endpoint.needs), path)
    if path in (CHAT, COMPLETIONS) and _has(fields.stream_options):
        _check_stream_options(fields.stream_options)
    return endpoint


def _guess(fields: _Fields) -> str:
    if _has(fields.messages):
        return CHAT
    if _has(fields.prompt):
        return COMPLETIONS
    if _has(fields.input):
        return RESPONSES if _is_response(fields) else EMBEDDINGS
    raise InvalidRequest("the body needs one of messages, prompt or input")


def _is_response(fields: _Fields) -> bool:
    return fields.max_output_tokens is not None or any(
        getattr(fields, name) is not _ABSENT for name in _RESPONSES_ONLY
    )


_RESPONSES_ONLY = _Fields.__struct_fields__[_Fields.__struct_fields__.index("instructions") :]


def _check_input(name: str, raw: Raw, endpoint: str) -> None:
    if not _has(raw):
        raise InvalidRequest(f"{endpoint} needs `{name}`", param=name)
    first = bytes(memoryview(raw)[:1])
    if first == b"[" or (first == b'"' and name != "messages"):
        return
    allowed = "an array" if name == "messages" else "text or an array"
    raise InvalidRequest(f"{name} must be {allowed}", param=name)


def _check_stream_options(raw: Raw) -> None:
    try:
        _STREAM_OPTIONS.decode(raw)
    except msgspec.ValidationError as error:
        raise _invalid(str(error), inside="stream_options") from None


def _prompt_bytes(fields: _Fields, endpoint: Endpoint, body_bytes: int) -> int:
    if endpoint.prompt is None:
        return body_bytes
    return sum(_size(getattr(fields, name)) for name in endpoint.prompt)


def _size(raw: Raw) -> int:
    return len(memoryview(raw)) if _has(raw) else 0


def _max_tokens(fields: _Fields) -> int | None:
    for bound in (fields.max_completion_tokens, fields.max_tokens, fields.max_output_tokens):
        if bound is not None:
            return bound
    return None


# ---------------------------------------------------------------------------- family and session

_TEMPLATE_BYTES = 4096


def _family(fields: _Fields, endpoint: str, system: Raw) -> str:
    """What the caller's template fixes: model, system prompt, answer schema and tools.

    Requests from one template have similar lengths, whatever is filled in.
    """
    digest = hashlib.blake2b(f"{endpoint}\0{fields.model}".encode(), digest_size=8)
    for part in (system, fields.response_format, fields.tools):
        digest.update(b"\0")
        digest.update(memoryview(part)[:_TEMPLATE_BYTES])
    return digest.hexdigest()


def _session(fields: _Fields, endpoint: Endpoint, opening: _Opening) -> str:
    """What the calls of one agent or chat have in common; empty for a call on its own.

    A name that the caller gives is best: OpenAI's cache key, or a stored conversation. Else it is
    how the conversation began, where something shows that there is one. Two that began alike then
    share a place, which makes none of them wait longer than without.
    """
    if not endpoint.is_generating:
        return ""  # it leaves nothing in the cache that would be worth a place
    for name in (fields.prompt_cache_key, fields.conversation):
        if _has(name):
            return _digest(endpoint.path, name)
    if opening.first is not _ABSENT and (opening.is_later_turn or _has(fields.tools)):
        return _digest(endpoint.path, opening.system, opening.first)
    return ""


def _digest(endpoint: str, *parts: Raw) -> str:
    digest = hashlib.blake2b(endpoint.encode(), digest_size=8)
    for part in parts:
        view = memoryview(part)
        digest.update(b"\0%d\0" % len(view))
        digest.update(view[:_TEMPLATE_BYTES])
    return digest.hexdigest()


class _Opening(msgspec.Struct):
    """How a conversation began, each message as it came."""

    system: Raw
    first: Raw = _ABSENT
    """What was said first."""
    is_later_turn: bool = False
    """Whether it has been answered already."""


def _opening(fields: _Fields, endpoint: Endpoint) -> _Opening:
    if endpoint.needs != "messages":
        return _Opening(fields.instructions)
    messages = _MESSAGES.decode(fields.messages)
    if not messages:
        raise InvalidRequest("messages is empty", param="messages")
    try:
        role = _MESSAGE.decode(messages[0]).role
    except msgspec.ValidationError as error:
        raise _invalid(str(error), inside="messages[0]") from None
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"messages[0] is not UTF-8: {error}", code="invalid_json") from None
    begins_at = 1 if role in {"system", "developer"} else 0
    return _Opening(
        system=messages[0] if begins_at else fields.system,
        first=messages[begins_at] if len(messages) > begins_at else _ABSENT,
        is_later_turn=len(messages) > begins_at + 2 and _is_answer(messages[begins_at + 1]),
    )


def _is_answer(message: Raw) -> bool:
    try:
        return _MESSAGE.decode(message).role == "assistant"
    except (msgspec.ValidationError, UnicodeDecodeError):
        return False  # the engine will say what is wrong with it


def _without_owned(raw: bytes, fields: _Fields, *, has_tier: bool) -> bytes:
    is_tiered = has_tier and fields.service_tier is not None
    if fields.stoker is None and not is_tiered:
        return raw
    kept = _TOP_LEVEL.decode(raw)
    kept.pop("stoker", None)
    if has_tier:
        kept.pop("service_tier", None)
    return msgspec.json.encode(kept)
