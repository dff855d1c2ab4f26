"""What a fake engine says: OpenAI bytes for a request, deterministic to the last comma (pure).

One word is one token. The answer to every prompt is `t0 t1 t2 …`, so that a continued answer can be
compared with an uninterrupted one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from stoker.core.errors import EngineRefused
from stoker.core.work import Usage
from stoker.testing import fake_typed
from stoker.testing.fake_typed import MESSAGES, RESPONSES, TYPED

MODEL = "fake-model"
CREATED = 1_700_000_000
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
ENDPOINTS = (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, MESSAGES)

TEMPLATE_TOKENS = 4
"""What the chat template adds per message."""


@dataclass(frozen=True, slots=True)
class FakeRequest:
    """A parsed body: how long its prompt is, and how long its answer will be."""

    endpoint: str
    is_stream: bool
    is_usage_wanted: bool
    prompt_tokens: int
    first_token: int
    """Index of the first token to say; above 0 when the prompt ends with an earlier answer."""
    output_tokens: int
    finish_reason: str
    is_resumable: bool
    inputs: int = 1
    """Texts to embed."""

    @property
    def is_chat(self) -> bool:
        return self.endpoint == CHAT


def parse(endpoint: str, body: bytes, *, natural_tokens: int, context_tokens: int) -> FakeRequest:
    """Read a body. Raises `EngineRefused` for what an engine would refuse."""
    fields = _fields(body)
    if endpoint not in ENDPOINTS:
        raise refusal(404, f"no such endpoint: {endpoint}")
    prompt = _prompt(endpoint, fields)
    prompt_tokens = count_words(prompt) + TEMPLATE_TOKENS * len(fields.get("messages") or [])
    said = _already_said(prompt)
    natural_left = max(natural_tokens - said, 0)
    asked = next((fields[name] for name in _BOUNDS if fields.get(name)), None)
    if prompt_tokens + (asked or 1) > context_tokens:
        raise refusal(400, f"maximum context length is {context_tokens} tokens")
    options = fields.get("stream_options") or {}
    return FakeRequest(
        endpoint=endpoint,
        is_stream=bool(fields.get("stream")),
        is_usage_wanted=bool(options.get("include_usage")),
        prompt_tokens=prompt_tokens,
        first_token=said,
        output_tokens=natural_left if asked is None else min(asked, natural_left),
        finish_reason="length" if asked is not None and asked < natural_left else "stop",
        is_resumable=endpoint not in TYPED
        and not (_STRUCTURED & fields.keys())
        and fields.get("n", 1) == 1,
        inputs=len(fields["input"]) if isinstance(fields.get("input"), list) else 1,
    )


def count_words(text: str) -> int:
    """Tokens of `text`, as the fake engines count them."""
    return len(text.split())


def token(index: int) -> str:
    """The token that every answer has at `index`."""
    return f" t{index}" if index else "t0"


def text(first: int, count: int) -> str:
    """Tokens `first` … `first + count - 1` of the answer."""
    return "".join(token(index) for index in range(first, first + count))


def usage_of(request: FakeRequest, output_tokens: int) -> Usage:
    """What the engine reports for one run."""
    return Usage(prompt_tokens=request.prompt_tokens, output_tokens=output_tokens, cached_tokens=0)


def frames_for(request: FakeRequest, position: int) -> list[bytes]:
    """The stream frames that bring the token at `position` (0 = the first of this run)."""
    piece = token(request.first_token + position)
    if request.endpoint in TYPED:
        opening: list[bytes] = []
        if not position:
            opening = fake_typed.opening_frames(request.endpoint, MODEL, request.prompt_tokens)
        return [*opening, fake_typed.text_frame(request.endpoint, piece)]
    if not request.is_chat:
        return [_frame(request, [_choice(text=piece, logprobs=None, finish_reason=None)])]
    content = [_choice(delta={"content": piece}, logprobs=None, finish_reason=None)]
    if position:
        return [_frame(request, content)]
    role = [_choice(delta={"role": "assistant", "content": ""}, logprobs=None, finish_reason=None)]
    return [_frame(request, role), _frame(request, content)]


def closing_frames(request: FakeRequest, answer: bytes, *, usage: Usage | None) -> list[bytes]:
    """Finish reason, the usage frame where it is wanted, and `[DONE]`; `answer` is the whole."""
    if request.endpoint in TYPED:
        return fake_typed.closing_frames(request.endpoint, answer)
    body: dict[str, object] = {"delta": {}} if request.is_chat else {"text": ""}
    frames = [_frame(request, [_choice(**body, finish_reason=request.finish_reason)])]
    if usage is not None:
        frames.append(_frame(request, [], usage=_usage(usage)))
    return [*frames, b"data: [DONE]\n\n"]


def whole(request: FakeRequest, content: str, usage: Usage) -> bytes:
    """The whole JSON answer of a call that is not streamed."""
    if request.endpoint == EMBEDDINGS:
        vectors = [
            {"object": "embedding", "index": index, "embedding": [0.25, 0.5, 0.75]}
            for index in range(request.inputs)
        ]
        counted = {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.prompt_tokens}
        return msgspec.json.encode(
            {"object": "list", "data": vectors, "model": MODEL, "usage": counted}
        )
    if request.endpoint in TYPED:
        is_cut = request.finish_reason == "length"
        return fake_typed.whole(
            request.endpoint, content, usage, model=MODEL, created=CREATED, is_cut=is_cut
        )
    if request.is_chat:
        choice = _choice(message={"role": "assistant", "content": content}, logprobs=None)
    else:
        choice = _choice(text=content, logprobs=None)
    choice["finish_reason"] = request.finish_reason
    return msgspec.json.encode(
        {
            "id": "fake-0",
            "object": "chat.completion" if request.is_chat else "text_completion",
            "created": CREATED,
            "model": MODEL,
            "choices": [choice],
            "usage": _usage(usage),
        }
    )


def models(context_tokens: int | None, name: str = MODEL) -> bytes:
    """The `/v1/models` of an engine with one model, as vLLM words it."""
    model = {"id": name, "object": "model", "created": CREATED, "owned_by": "vllm"}
    return msgspec.json.encode(
        {"object": "list", "data": [{**model, "max_model_len": context_tokens}]}
    )


def refusal(status: int, message: str) -> EngineRefused:
    """An OpenAI-shaped refusal."""
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": status}
    return EngineRefused(status, msgspec.json.encode({"error": error}))


_STRUCTURED = {"tools", "response_format", "logprobs", "guided_json", "structured_outputs"}
_BOUNDS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_LAST_TOKEN = re.compile(r"t(\d+)$")


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise refusal(400, f"malformed JSON: {error}") from error
    if not isinstance(fields, dict):
        raise refusal(400, "the body must be a JSON object")
    return fields


def _prompt(endpoint: str, fields: Mapping[str, Any]) -> str:
    name = "messages" if endpoint in {CHAT, MESSAGES} else "input"
    name = "prompt" if endpoint == COMPLETIONS else name
    if name not in fields:
        raise refusal(400, f"{name}: field required")
    if name == "messages":
        if not isinstance(fields[name], list):
            raise refusal(400, "messages: must be a list")
        return " ".join(_content(message) for message in fields[name])
    prompt = fields[name]
    return prompt if isinstance(prompt, str) else " ".join(str(part) for part in prompt)


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content)


def _already_said(prompt: str) -> int:
    """How many tokens of the answer the prompt ends with: it is then a continuation."""
    match = _LAST_TOKEN.search(prompt)
    if match is None:
        return 0
    count = int(match[1]) + 1
    return count if prompt.endswith(text(0, count)) else 0


def _choice(**fields: object) -> dict[str, object]:
    return {"index": 0, **fields}


def _frame(request: FakeRequest, choices: Sequence[object], **extra: object) -> bytes:
    chunk = {
        "id": "fake-0",
        "object": "chat.completion.chunk" if request.is_chat else "text_completion",
        "created": CREATED,
        "model": MODEL,
        "choices": choices,
        **extra,
    }
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def _usage(usage: Usage) -> dict[str, object]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens or 0},
    }
