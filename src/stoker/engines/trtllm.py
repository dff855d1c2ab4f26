"""TensorRT-LLM: its Prometheus page has a path of its own, and it has no priority."""

from __future__ import annotations

import msgspec

from stoker.core.errors import EngineError, EngineRefused
from stoker.core.events import EngineSample
from stoker.core.limits import Capacity
from stoker.core.work import RequestId
from stoker.engines.bodies import COMPLETIONS, Wire
from stoker.engines.exposition import Exposition
from stoker.engines.http_client import HttpClient
from stoker.ports import EngineTraits

DEFAULT_REQUESTS = 64
_PREFIX = "trtllm_"


class TrtLlmDialect:
    """It keeps prompt + longest output reserved, and so never preempts by itself."""

    traits = EngineTraits(
        name="trtllm", has_telemetry=True, abort_grace_s=1.0, honours_priority=False
    )
    wire = Wire()
    placement = None
    probe = (COMPLETIONS, b'{"prompt":"ping","max_tokens":1}')

    async def capacity(self, http: HttpClient) -> Capacity:
        page = await self._page(http)
        blocks = page.count("trtllm_kv_cache_max_blocks")
        block_tokens = await self._block_tokens(http)
        return Capacity(
            requests=page.count("trtllm_max_num_active_requests") or DEFAULT_REQUESTS,
            kv_tokens=blocks * block_tokens if blocks and block_tokens else None,
        )

    async def sample(self, http: HttpClient) -> EngineSample:
        return sample_of(await self._page(http))

    async def count_prompt_tokens(self, http: HttpClient, endpoint: str, body: bytes) -> int | None:
        return None

    async def abort(self, http: HttpClient, id: RequestId) -> None:
        """Hanging up is all that can be done."""

    async def _page(self, http: HttpClient) -> Exposition:
        return Exposition(await http.get_text("/prometheus/metrics"), (_PREFIX,))

    async def _block_tokens(self, http: HttpClient) -> int | None:
        # Only its JSON statistics have it, and only where `enable_iter_perf_stats` is set. Reading
        # them empties them, so they are read once and never polled.
        try:
            rounds = await http.get("/metrics", list[_Round])
        except (EngineRefused, EngineError):
            return None
        return rounds[-1].kv_cache.tokens_per_block if rounds else None


def sample_of(page: Exposition) -> EngineSample:
    """Its gauges; older releases have but a few of them."""
    return EngineSample(
        running=page.count("trtllm_num_requests_running"),
        waiting=page.count("trtllm_num_requests_waiting"),
        kv_cache_usage=page.highest("trtllm_kv_cache_utilization"),
        prompt_tokens_total=page.total("trtllm_prompt_tokens"),
        output_tokens_total=page.total("trtllm_generation_tokens"),
    )


class _KvCache(msgspec.Struct, rename="camel"):
    tokens_per_block: int | None = None


class _Round(msgspec.Struct):
    kv_cache: _KvCache = msgspec.field(name="kvCacheStats", default_factory=_KvCache)
