"""Plain OpenAI: no gauges, no limits to read, nothing to abort by. The configuration must tell."""

from __future__ import annotations

from stoker.core.errors import EngineError
from stoker.core.events import EngineSample
from stoker.core.limits import Capacity
from stoker.core.work import RequestId
from stoker.engines.bodies import CHAT, Wire
from stoker.engines.http_client import HttpClient
from stoker.ports import EngineTraits

DEFAULT_REQUESTS = 32


class OpenAIDialect:
    """Any server that speaks the API and says nothing about itself."""

    traits = EngineTraits(
        name="openai", has_telemetry=False, abort_grace_s=0.5, honours_priority=False
    )
    placement = None

    def __init__(self, *, is_openai: bool = False) -> None:
        self.wire = Wire(has_service_tier=is_openai, has_conversations=True)
        # Each refuses the other's spelling.
        bound = b"max_completion_tokens" if is_openai else b"max_tokens"
        self.probe = (CHAT, b'{"messages":[{"role":"user","content":"ping"}],"%b":1}' % bound)

    async def capacity(self, http: HttpClient) -> Capacity:
        return Capacity(requests=DEFAULT_REQUESTS)

    async def sample(self, http: HttpClient) -> EngineSample:
        raise EngineError("this engine has no gauges", retryable=False)

    async def count_prompt_tokens(self, http: HttpClient, endpoint: str, body: bytes) -> int | None:
        return None

    async def abort(self, http: HttpClient, id: RequestId) -> None:
        """Hanging up is all that can be done."""
