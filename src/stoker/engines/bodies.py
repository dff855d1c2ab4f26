"""What is done to a client's JSON before it goes to the engine (pure).

Only the top level is decoded; everything nested stays the bytes that it was. Where no field of ours
is in it, the very same bytes go out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from stoker.core.errors import InvalidRequest
from stoker.core.work import Priority
from stoker.engines import placement
from stoker.ports import Checkpoint, EngineCall

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"
GENERATING = frozenset({CHAT, COMPLETIONS})
"""Endpoints that take `stream_options`, and whose answer may be one text that can be continued."""
TYPED = frozenset({RESPONSES, MESSAGES})
"""Endpoints whose stream is of typed events, the last of which says that it is complete."""
ASSEMBLED = GENERATING | TYPED
"""Endpoints whose stream we can assemble."""

Fields: TypeAlias = dict[str, msgspec.Raw]


@dataclass(frozen=True, slots=True)
class Wire:
    """How one kind of engine wants its bodies."""

    priorities: Mapping[Priority, int] | None = None
    """Value of the `priority` field per class; `None` where the engine has no such field."""
    has_service_tier: bool = False
    """Whether `service_tier` means something to it (OpenAI itself)."""
    has_conversations: bool = False
    """Whether `conversation` of a Response means something to it; others would pass it over."""
    request_id_field: str | None = None
    """Field that carries our request id (SGLang's `rid`), so that we can abort by it."""
    continuation: Mapping[str, bool] | None = None
    """Extra fields that make it continue a final assistant message; `None` = it cannot."""
    does_plain_call_outlive_client: bool = False
    """Whether it goes on with a call that is not streamed after its client hung up.

    Such calls are streamed inside and assembled here: only so can they be aborted.
    """
    are_events_mended: bool = False
    """Whether the events of its Responses and messages lack what clients need: `mended_events`."""
    is_prefill_echoed: bool = False
    """Whether its answer may begin with the text that it was asked to continue."""


@dataclass(frozen=True, slots=True)
class Outbound:
    """A body ready to be sent, and what must be remembered about it."""

    body: bytes
    is_usage_asked: bool
    """Whether the client itself asked for usage in the stream."""
    is_assembled: bool
    """Whether the stream inside must be assembled into one answer."""
    checkpoint: Checkpoint | None
    """What the engine was really asked to continue from."""
    is_resumable: bool
    """Whether a stop in mid-answer could be continued."""
    is_spent: bool = False
    """The checkpoint has all the tokens that were asked for: nothing is left to generate."""


def decode_fields(body: bytes) -> Fields:
    """Decode the top level only. Raises `InvalidRequest` unless it is one JSON object."""
    try:
        return msgspec.json.decode(body, type=Fields)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(
            f"the body is not a JSON object: {error}", code="invalid_json"
        ) from error


def prepare(
    call: EngineCall, wire: Wire, *, model: str | None, slot: int | None = None
) -> Outbound:
    """Turn a call into the engine's body: own fields out; streaming, priority and slot in.

    Raises `InvalidRequest` for what the engine would pass over in silence.
    """
    fields = decode_fields(call.body)
    before = dict(fields)
    is_resumable = wire.continuation is not None and _is_plain_text(call.endpoint, fields)
    checkpoint = call.checkpoint if is_resumable else None
    is_assembled = call.endpoint in ASSEMBLED and (
        call.is_collected
        or (wire.does_plain_call_outlive_client and not _is_true(fields, "stream"))
    )
    is_usage_asked = _wants_usage(fields)
    _check_conversation(call, fields, wire)
    _drop_own(call, fields, wire)
    if model is not None and "model" not in fields:
        fields["model"] = _raw(model)
    if wire.priorities is not None and (value := wire.priorities[call.priority]):
        fields["priority"] = _raw(value)
    if wire.request_id_field is not None:
        fields[wire.request_id_field] = _raw(call.request_id)
    if slot is not None:
        fields[placement.FIELD] = _raw(slot)
    is_spent = checkpoint is not None and _resume(call.endpoint, fields, checkpoint, wire)
    _set_streaming(call, fields, is_assembled=is_assembled)
    return Outbound(
        body=call.body if fields == before else msgspec.json.encode(fields),
        is_usage_asked=is_usage_asked,
        is_assembled=is_assembled,
        checkpoint=checkpoint,
        is_resumable=is_resumable,
        is_spent=is_spent,
    )


_OWN = ("stoker", "priority")
_TRUE = b"true"
_UNRESUMABLE = frozenset(
    {
        "tools",
        "functions",
        "response_format",
        "structured_outputs",
        "json_schema",
        "grammar",
        "regex",
        "ebnf",
        "logprobs",
        "top_logprobs",
        "prompt_logprobs",
        "echo",
        "suffix",
        "return_token_ids",
        "audio",
        "modalities",
    }
)
"""Fields under which the text alone does not say where the answer stands."""
_ONE_ONLY = ("n", "best_of")
_FALSY = frozenset({b"null", b"false", b"0", b"[]", b"{}"})
_TOKEN_BOUNDS = ("max_tokens", "max_completion_tokens", "n_predict")


def _check_conversation(call: EngineCall, fields: Fields, wire: Wire) -> None:
    asked = bytes(fields.get("conversation", b"null"))
    if call.endpoint == RESPONSES and asked != b"null" and not wire.has_conversations:
        raise InvalidRequest(
            "conversation: this engine keeps none; send the conversation so far in `input`",
            param="conversation",
        )


def _drop_own(call: EngineCall, fields: Fields, wire: Wire) -> None:
    for name in _OWN:
        fields.pop(name, None)
    if call.is_collected and call.endpoint == RESPONSES:
        fields.pop("background", None)  # it is in ours: the engine's own would answer before it ran
    if not wire.has_service_tier:
        fields.pop("service_tier", None)


def _set_streaming(call: EngineCall, fields: Fields, *, is_assembled: bool) -> None:
    if call.is_collected and not is_assembled:
        fields.pop("stream", None)
        fields.pop("stream_options", None)
        return
    if is_assembled and not _is_true(fields, "stream"):
        fields["stream"] = msgspec.Raw(_TRUE)
    if call.endpoint in GENERATING and _is_true(fields, "stream") and not _wants_usage(fields):
        options = _object(fields, "stream_options")
        options["include_usage"] = msgspec.Raw(_TRUE)
        fields["stream_options"] = _raw(options)


def _wants_usage(fields: Fields) -> bool:
    return _is_true(_object(fields, "stream_options"), "include_usage")


def _is_plain_text(endpoint: str, fields: Fields) -> bool:
    """Whether the answer is one text, so that prompt + text so far is a valid place to go on."""
    if endpoint not in GENERATING:
        return False
    if any(bytes(fields.get(name, b"1")) not in {b"1", b"null"} for name in _ONE_ONLY):
        return False
    for name, value in fields.items():
        is_constraint = name in _UNRESUMABLE or name.startswith("guided_")
        if is_constraint and bytes(value) not in _FALSY:
            return False
    if endpoint == CHAT:
        return _is_last_message_by_someone_else(fields)
    return bytes(fields.get("prompt", b"")).startswith(b'"')


def _is_last_message_by_someone_else(fields: Fields) -> bool:
    # A body that already ends with an assistant message is a continuation of the client's own.
    messages = _messages(fields)
    if not messages:
        return False
    try:
        return bool(msgspec.json.decode(messages[-1], type=_Role).role != "assistant")
    except msgspec.DecodeError:
        return False


def _resume(endpoint: str, fields: Fields, checkpoint: Checkpoint, wire: Wire) -> bool:
    """Ask for the rest of the answer; true when none is left to ask for."""
    for name in _TOKEN_BOUNDS:
        bound = _integer(fields, name)
        if bound is not None and bound > 0:
            if bound <= checkpoint.output_tokens:
                return True
            fields[name] = _raw(bound - checkpoint.output_tokens)
    if endpoint == COMPLETIONS:
        prompt = msgspec.json.decode(fields["prompt"], type=str)
        fields["prompt"] = _raw(prompt + checkpoint.text)
        return False
    begun = _raw({"role": "assistant", "content": checkpoint.text})
    fields["messages"] = _raw([*_messages(fields), begun])
    for name, value in (wire.continuation or {}).items():
        fields[name] = _raw(value)
    return False


class _Role(msgspec.Struct):
    role: str = ""


def _messages(fields: Fields) -> list[msgspec.Raw]:
    try:
        return msgspec.json.decode(fields.get("messages", b"[]"), type=list[msgspec.Raw])
    except msgspec.DecodeError:
        return []


def _object(fields: Fields, name: str) -> Fields:
    try:
        return msgspec.json.decode(fields.get(name, b"{}"), type=Fields)
    except msgspec.DecodeError:
        return {}


def _integer(fields: Fields, name: str) -> int | None:
    try:
        return msgspec.json.decode(fields.get(name, b"null"), type=int | None)
    except msgspec.DecodeError:
        return None


def _is_true(fields: Fields, name: str) -> bool:
    return bytes(fields.get(name, b"")) == _TRUE


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
