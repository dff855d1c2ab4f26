"""No engine at all, for commands that only look at what is stored: jobs wait for a real service."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from stoker.core.errors import EngineUnreachable
from stoker.core.events import EngineSample
from stoker.core.limits import Capacity
from stoker.ports import EngineAnswer, EngineCall, EngineTraits

_CAUSE = "no engine was started for this command"


class AbsentEngine:
    """Implements `ports.Engine` by never being there."""

    traits = EngineTraits(
        name="none", has_telemetry=False, abort_grace_s=0.0, honours_priority=False
    )

    async def start(self) -> None:
        """Nothing to open."""

    async def stop(self) -> None:
        """Nothing to close."""

    async def capacity(self) -> Capacity:
        raise EngineUnreachable(_CAUSE)

    async def sample(self) -> EngineSample:
        raise EngineUnreachable(_CAUSE)

    async def probe(self, timeout_s: float) -> float:
        raise EngineUnreachable(_CAUSE)

    async def count_prompt_tokens(self, endpoint: str, body: bytes) -> int | None:
        raise EngineUnreachable(_CAUSE)

    async def models(self) -> tuple[int, bytes]:
        raise EngineUnreachable(_CAUSE)

    @asynccontextmanager
    async def send(self, call: EngineCall) -> AsyncGenerator[EngineAnswer]:
        raise EngineUnreachable(_CAUSE)
        yield  # what makes it a generator
