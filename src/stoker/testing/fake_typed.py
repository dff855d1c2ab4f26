"""What a fake engine says where streams are of typed events: Responses and Anthropic's messages."""

from __future__ import annotations

import msgspec

from stoker.core.work import Usage

RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"
TYPED = frozenset({RESPONSES, MESSAGES})
_ID = {RESPONSES: "resp_fake", MESSAGES: "msg_fake"}


def opening_frames(endpoint: str, model: str, prompt_tokens: int) -> list[bytes]:
    """What comes before the first piece of text."""
    if endpoint == RESPONSES:
        begun = {"id": _ID[endpoint], "object": "response", "status": "in_progress"}
        return [_frame("response.created", response=begun)]
    message = _message("", model, Usage(prompt_tokens, 0), stop_reason=None)
    block = {"type": "text", "text": ""}
    return [
        _frame("message_start", message={**message, "content": []}),
        _frame("content_block_start", index=0, content_block=block),
    ]


def text_frame(endpoint: str, piece: str) -> bytes:
    """One piece of text."""
    if endpoint == RESPONSES:
        return _frame("response.output_text.delta", item_id="msg_0", delta=piece)
    delta = {"type": "text_delta", "text": piece}
    return _frame("content_block_delta", index=0, delta=delta)


def closing_frames(endpoint: str, whole: bytes) -> list[bytes]:
    """How it ends: with the whole of a Response, or with how a message stopped."""
    answer = msgspec.json.decode(whole)
    if endpoint == RESPONSES:
        return [_frame(f"response.{answer['status']}", response=answer)]
    delta = {"stop_reason": answer["stop_reason"], "stop_sequence": None}
    usage = {"output_tokens": answer["usage"]["output_tokens"]}
    return [
        _frame("content_block_stop", index=0),
        _frame("message_delta", delta=delta, usage=usage),
        _frame("message_stop"),
    ]


def whole(
    endpoint: str, content: str, usage: Usage, *, model: str, created: int, is_cut: bool
) -> bytes:
    """The whole JSON answer."""
    if endpoint == MESSAGES:
        stop_reason = "max_tokens" if is_cut else "end_turn"
        return msgspec.json.encode(_message(content, model, usage, stop_reason=stop_reason))
    part = {"type": "output_text", "text": content, "annotations": [], "logprobs": []}
    item = {
        "id": "msg_0",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    counted = {"input_tokens": usage.prompt_tokens, "output_tokens": usage.output_tokens}
    return msgspec.json.encode(
        {
            "id": _ID[endpoint],
            "object": "response",
            "created_at": created,
            "model": model,
            "status": "incomplete" if is_cut else "completed",
            "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
            "output": [item],
            "usage": {**counted, "total_tokens": usage.prompt_tokens + usage.output_tokens},
        }
    )


def _message(
    content: str, model: str, usage: Usage, *, stop_reason: str | None
) -> dict[str, object]:
    return {
        "id": _ID[MESSAGES],
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": content}],
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": usage.prompt_tokens, "output_tokens": usage.output_tokens},
    }


def _frame(kind: str, **fields: object) -> bytes:
    data = msgspec.json.encode({"type": kind, **fields})
    return f"event: {kind}\ndata: ".encode() + data + b"\n\n"
