"""SGLang: higher priority runs first (unless told otherwise), and it aborts by request id."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from stoker.core.errors import EngineRefused
from stoker.core.events import EngineSample
from stoker.core.limits import Capacity
from stoker.core.work import Priority, RequestId
from stoker.engines.bodies import COMPLETIONS, Wire
from stoker.engines.exposition import Exposition
from stoker.engines.http_client import HttpClient
from stoker.ports import EngineTraits

DEFAULT_REQUESTS = 64
_BREAKDOWN = "priority"
"""With priority scheduling the totals stand under `priority=""`, beside one sample per priority."""
PREFIXES = (
    "sglang:num_running_reqs{",
    "sglang:num_queue_reqs{",
    "sglang:token_usage{",
    "sglang:num_retracted_requests_total",
    "sglang:prompt_tokens_total",
    "sglang:cached_tokens_total",
    "sglang:generation_tokens_total",
)
# Its preemption needs a difference above 10 by default, so P0 displaces P2 and nothing else does.
_HIGHER_FIRST = {Priority.P0: 20, Priority.P1: 10, Priority.P2: 0}
_LOWER_FIRST = {Priority.P0: 0, Priority.P1: 10, Priority.P2: 20}


class SglangDialect:
    """Learns from `capacity` whether priorities are on, and which way they point."""

    placement = None
    probe = (COMPLETIONS, b'{"prompt":"ping","max_tokens":1}')

    def __init__(self) -> None:
        self.wire = Wire(
            request_id_field="rid",
            continuation={"continue_final_message": True, "add_generation_prompt": False},
        )
        # A call that is not streamed, or still queued, is looked after every 4 s only; we abort it
        # by id, so the grace is that of a stream.
        self.traits = EngineTraits(
            name="sglang", has_telemetry=True, abort_grace_s=0.5, honours_priority=False
        )

    async def capacity(self, http: HttpClient) -> Capacity:
        info = await self._server_info(http)
        self._learn_priority(info)
        replicas = max(1, len(info.internal_states))
        running = [state.effective_max_running_requests_per_dp for state in info.internal_states]
        return Capacity(
            requests=sum(count or 0 for count in running)
            or info.max_running_requests
            or DEFAULT_REQUESTS,
            kv_tokens=info.max_total_num_tokens and info.max_total_num_tokens * replicas,
            context_tokens=info.max_req_input_len or info.context_length,
            prefill_tokens_per_step=info.chunked_prefill_tokens,
        )

    async def sample(self, http: HttpClient) -> EngineSample:
        try:
            return sample_of(Exposition(await http.get_text("/metrics"), PREFIXES))
        except EngineRefused:
            # Started without --enable-metrics; this page is always there.
            return (await http.get("/v1/loads", _Loads)).to_sample()

    async def count_prompt_tokens(self, http: HttpClient, endpoint: str, body: bytes) -> int | None:
        return None

    async def abort(self, http: HttpClient, id: RequestId) -> None:
        await http.post("/abort_request", msgspec.json.encode({"rid": id}), msgspec.Raw)

    async def _server_info(self, http: HttpClient) -> _ServerInfo:
        try:
            return await http.get("/server_info", _ServerInfo)
        except EngineRefused:
            return await http.get("/get_server_info", _ServerInfo)  # Its name before 0.5.

    def _learn_priority(self, info: _ServerInfo) -> None:
        is_on = info.enable_priority_scheduling
        order = _LOWER_FIRST if info.schedule_low_priority_values_first else _HIGHER_FIRST
        self.wire = replace(self.wire, priorities=order if is_on else None)
        self.traits = replace(self.traits, honours_priority=is_on)


def sample_of(page: Exposition) -> EngineSample:
    """The gauges of all its replicas together, each request counted once."""
    return EngineSample(
        running=page.count("sglang:num_running_reqs", without=_BREAKDOWN),
        waiting=page.count("sglang:num_queue_reqs", without=_BREAKDOWN),
        kv_cache_usage=page.highest("sglang:token_usage", without=_BREAKDOWN),
        preemptions_total=page.total("sglang:num_retracted_requests", without=_BREAKDOWN),
        prompt_tokens_total=page.total("sglang:prompt_tokens", without=_BREAKDOWN),
        prompt_tokens_cached_total=page.total("sglang:cached_tokens", without=_BREAKDOWN),
        output_tokens_total=page.total("sglang:generation_tokens", without=_BREAKDOWN),
    )


class _State(msgspec.Struct):
    effective_max_running_requests_per_dp: int | None = None


class _ServerInfo(msgspec.Struct):
    max_total_num_tokens: int | None = None
    max_req_input_len: int | None = None
    context_length: int | None = None
    max_running_requests: int | None = None
    chunked_prefill_size: int | None = None
    enable_priority_scheduling: bool = False
    schedule_low_priority_values_first: bool = False
    internal_states: list[_State] = []

    @property
    def chunked_prefill_tokens(self) -> int:
        """Prompt tokens per step; -1 means that prompts are not cut."""
        size = self.chunked_prefill_size
        return size if size is not None and size > 0 else 8192


class _Load(msgspec.Struct):
    num_running_reqs: int | None = None
    num_waiting_reqs: int | None = None
    token_usage: float | None = None


class _Loads(msgspec.Struct):
    loads: list[_Load]

    def to_sample(self) -> EngineSample:
        """The same numbers from its JSON page, which has no counters."""
        usages = [load.token_usage for load in self.loads if load.token_usage is not None]
        return EngineSample(
            running=_sum([load.num_running_reqs for load in self.loads]),
            waiting=_sum([load.num_waiting_reqs for load in self.loads]),
            kv_cache_usage=max(usages, default=None),
        )


def _sum(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
