"""The engine's inference routes: what each needs, and what of it the engine reads as prompt."""

from __future__ import annotations

from dataclasses import dataclass

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"
COUNT_TOKENS = "/v1/messages/count_tokens"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One route of an engine. Those without a `needs` are theirs to check."""

    path: str
    needs: str | None = None
    """The field without which a body makes no sense."""
    prompt: tuple[str, ...] | None = None
    """The fields that become prompt; `None` is the whole body."""
    is_generating: bool = False
    """Whether output tokens come; the others only read."""


_LIST = (
    Endpoint(CHAT, "messages", ("messages", "tools"), is_generating=True),
    Endpoint(COMPLETIONS, "prompt", ("prompt",), is_generating=True),
    Endpoint(EMBEDDINGS, "input", ("input",)),
    Endpoint(RESPONSES, "input", ("input", "tools", "instructions"), is_generating=True),
    Endpoint(MESSAGES, "messages", ("messages", "tools", "system"), is_generating=True),
    # A tokenizer reads, and the model does not: nothing of it is ever in the KV cache.
    Endpoint(COUNT_TOKENS, "messages", ()),
    *(Endpoint(path) for path in ("/v1/rerank", "/v2/rerank", "/rerank", "/v1/score", "/score")),
    *(
        Endpoint(path, prompt=())
        for path in ("/tokenize", "/v1/tokenize", "/detokenize", "/v1/detokenize")
    ),
)

ENDPOINTS = {endpoint.path: endpoint for endpoint in _LIST}
