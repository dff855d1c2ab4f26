"""vLLM: lower priority runs first, rich gauges, a tokenizer, and no endpoint for its own limits."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from stoker.core.errors import EngineRefused
from stoker.core.events import EngineSample
from stoker.core.limits import Capacity
from stoker.core.work import Priority, RequestId
from stoker.engines.bodies import CHAT, COMPLETIONS, Wire, decode_fields
from stoker.engines.exposition import Exposition
from stoker.engines.http_client import HttpClient
from stoker.ports import EngineTraits

DEFAULT_MAX_NUM_SEQS = 256
"""No gauge has it; `/server_info` does, where the server was started in its development mode."""
DEFAULT_BATCHED_TOKENS = 2048
"""The smallest of its defaults for a server."""
PREFIXES = (
    "vllm:num_requests_running",
    "vllm:num_requests_waiting{",
    "vllm:kv_cache_usage_perc",
    "vllm:gpu_cache_usage_perc",
    "vllm:num_preemptions",
    "vllm:prompt_tokens_total",
    "vllm:prompt_tokens_cached_total",
    "vllm:generation_tokens_total",
    "vllm:cache_config_info",
)
_TOKENIZER_FIELDS = (
    "model",
    "messages",
    "prompt",
    "tools",
    "chat_template",
    "chat_template_kwargs",
    "add_generation_prompt",
    "continue_final_message",
)


class VllmDialect:
    """Its `priority` works only with `--scheduling-policy priority`; without, it is ignored."""

    traits = EngineTraits(name="vllm", has_telemetry=True, abort_grace_s=0.5, honours_priority=True)
    wire = Wire(
        # Far apart, so that there is room between the classes for what comes later.
        priorities={Priority.P0: 0, Priority.P1: 5, Priority.P2: 10},
        continuation={"continue_final_message": True, "add_generation_prompt": False},
    )
    placement = None
    probe = (COMPLETIONS, b'{"prompt":"ping","max_tokens":1}')

    async def capacity(self, http: HttpClient) -> Capacity:
        models = await http.get("/v1/models", _Models)
        scheduler = await self._scheduler_config(http)
        return Capacity(
            requests=scheduler.max_num_seqs or DEFAULT_MAX_NUM_SEQS,
            kv_tokens=kv_tokens(await self._page(http)),
            context_tokens=models.data[0].max_model_len if models.data else None,
            prefill_tokens_per_step=scheduler.max_num_batched_tokens or DEFAULT_BATCHED_TOKENS,
        )

    async def sample(self, http: HttpClient) -> EngineSample:
        return sample_of(await self._page(http))

    async def count_prompt_tokens(self, http: HttpClient, endpoint: str, body: bytes) -> int | None:
        fields = decode_fields(body)
        is_text = bytes(fields.get("prompt", b"")).startswith(b'"')
        if not (endpoint == CHAT or (endpoint == COMPLETIONS and is_text)):
            return None
        question = {name: fields[name] for name in _TOKENIZER_FIELDS if name in fields}
        answer = await http.post("/tokenize", msgspec.json.encode(question), _Tokenized)
        return answer.count

    async def abort(self, http: HttpClient, id: RequestId) -> None:
        """Hanging up aborts it at its next step."""

    async def _page(self, http: HttpClient) -> Exposition:
        return Exposition(await http.get_text("/metrics"), PREFIXES)

    async def _scheduler_config(self, http: HttpClient) -> _SchedulerConfig:
        try:
            info = await http.get("/server_info?config_format=json", _ServerInfo)
        except EngineRefused:
            return _SchedulerConfig()
        return info.vllm_config.scheduler_config


def sample_of(page: Exposition) -> EngineSample:
    """The gauges of all its engine processes together."""
    return EngineSample(
        running=page.count("vllm:num_requests_running"),
        waiting=page.count("vllm:num_requests_waiting"),
        # The second name is that of versions before the V1 engine.
        kv_cache_usage=page.highest("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
        preemptions_total=page.total("vllm:num_preemptions"),
        prompt_tokens_total=page.total("vllm:prompt_tokens"),
        # `prefix_cache_hits` counts each scheduling attempt of a waiting head: it misreads under
        # pressure, when it would be needed.
        prompt_tokens_cached_total=page.total("vllm:prompt_tokens_cached"),
        output_tokens_total=page.total("vllm:generation_tokens"),
    )


def kv_tokens(page: Exposition) -> int | None:
    """Tokens that fit the KV caches of all its engine processes."""
    total = 0
    for sample in page.named("vllm:cache_config_info"):
        tokens = _tokens_of(sample.labels)
        if tokens is None:
            return None
        total += tokens
    return total or None


def _tokens_of(labels: Mapping[str, str]) -> int | None:
    # Newer versions say it themselves: for hybrid models blocks x size is not the truth.
    size = labels.get("kv_cache_size_tokens", "")
    if size.isdigit():
        return int(size)
    blocks, block_tokens = labels.get("num_gpu_blocks", ""), labels.get("block_size", "")
    if blocks.isdigit() and block_tokens.isdigit():
        return int(blocks) * int(block_tokens)
    return None


class _Model(msgspec.Struct):
    id: str
    max_model_len: int | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


class _SchedulerConfig(msgspec.Struct):
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None


class _VllmConfig(msgspec.Struct):
    scheduler_config: _SchedulerConfig


class _ServerInfo(msgspec.Struct):
    vllm_config: _VllmConfig


class _Tokenized(msgspec.Struct):
    count: int
