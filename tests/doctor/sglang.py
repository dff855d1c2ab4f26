"""A recorded SGLang: its pages as they come from a server, and a server that plays them.

Fields and values are those of the `/get_server_info` that SGLang's documentation shows (its page on
the native API, a build of March 2026 with Qwen2.5 0.5B), without a few hundred that nobody reads
here; the gauges are those of 0.5.10.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

MODEL = "qwen/qwen2.5-0.5b-instruct"
ARGUMENTS: dict[str, Any] = {
    "model_path": MODEL,
    "tokenizer_path": MODEL,
    "tokenizer_mode": "auto",
    "load_format": "auto",
    "trust_remote_code": False,
    "context_length": None,
    "is_embedding": False,
    "host": "127.0.0.1",
    "port": 30000,
    "dtype": "auto",
    "quantization": None,
    "kv_cache_dtype": "auto",
    "mem_fraction_static": 0.907,
    "max_running_requests": 128,
    "max_queued_requests": None,
    "max_total_tokens": 20480,
    "chunked_prefill_size": 8192,
    "enable_dynamic_chunking": False,
    "max_prefill_tokens": 16384,
    "schedule_policy": "fcfs",
    "enable_priority_scheduling": False,
    "disable_priority_preemption": False,
    "default_priority_value": None,
    "abort_on_priority_when_disabled": False,
    "schedule_low_priority_values_first": False,
    "priority_scheduling_preemption_threshold": 10,
    "schedule_conservativeness": 1.0,
    "page_size": 1,
    "radix_eviction_policy": "lru",
    "device": "cuda",
    "tp_size": 1,
    "pp_size": 1,
    "dp_size": 1,
    "stream_interval": 1,
    "random_seed": 832251587,
    "watchdog_timeout": 300,
    "log_level": "warning",
    "enable_metrics": False,
    "api_key": None,
    "served_model_name": MODEL,
    "attention_backend": "fa3",
    "sampling_backend": "flashinfer",
    "grammar_backend": "xgrammar",
    "speculative_algorithm": None,
    "speculative_accept_threshold_single": 1.0,
    "disable_radix_cache": False,
    "cuda_graph_max_bs": 4,
    "cuda_graph_bs": [1, 2, 4],
    "disable_cuda_graph": True,
    "disable_overlap_schedule": False,
    "disaggregation_mode": "null",
    "mm_process_config": {},
    "forward_hooks": None,
}
STATE = {
    "use_mla_backend": False,
    "last_gen_throughput": 129.33290871063787,
    "memory_usage": {"weight": 0.98, "kvcache": 0.23, "token_capacity": 20480, "graph": 0},
    "effective_max_running_requests_per_dp": 128,
}
_LABELS = f'engine_type="unified",model_name="{MODEL}",tp_rank="0"'
METRICS = """\
# HELP sglang:num_running_reqs The number of running requests.
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{{{labels},priority=""}} 3.0
# TYPE sglang:num_queue_reqs gauge
sglang:num_queue_reqs{{{labels},priority=""}} {queued}.0
# TYPE sglang:token_usage gauge
sglang:token_usage{{{labels}}} 0.28
# TYPE sglang:num_retracted_requests_total counter
sglang:num_retracted_requests_total{{{labels}}} {retracted}.0
# TYPE sglang:prompt_tokens_total counter
sglang:prompt_tokens_total{{{labels}}} 8128902.0
# TYPE sglang:generation_tokens_total counter
sglang:generation_tokens_total{{{labels}}} 7557572.0
"""


def server_info(version: str, *, replicas: int = 1, **changed: object) -> str:
    """The page, with the arguments that differ; each replica repeats them, as SGLang does."""
    arguments = {**ARGUMENTS, **changed}
    tokens = arguments["max_total_tokens"]
    running = arguments["max_running_requests"]
    state = {**arguments, **STATE, "effective_max_running_requests_per_dp": running}
    page = {
        **arguments,
        "status": "ready",
        "max_total_num_tokens": tokens,
        "max_req_input_len": tokens - 6,
        "internal_states": [state] * replicas,
        "version": version,
    }
    return json.dumps(page)


def pages(
    info: str, *, path: str = "/server_info", queued: int | None = None, retracted: int = 0
) -> dict[str, str]:
    """What it answers by path; `queued` is of its gauges, which it has with --enable-metrics."""
    found = {
        path: info,
        "/v1/models": json.dumps(
            {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "sglang",
                                         "root": MODEL, "max_model_len": 32768}]}
        ),
        "/v1/loads": json.dumps(
            {"timestamp": "2026-03-20T20:52:14", "dp_rank_count": 1,
             "loads": [{"dp_rank": 0, "num_running_reqs": 3, "num_waiting_reqs": 5,
                        "num_total_reqs": 8, "token_usage": 0.28}]}
        ),
    }  # fmt: skip
    if queued is not None:
        found["/metrics"] = METRICS.format(labels=_LABELS, queued=queued, retracted=retracted)
    return found


@asynccontextmanager
async def playing(found: Mapping[str, str]) -> AsyncIterator[tuple[str, list[str]]]:
    """Serve the pages and complete one token; its address, and which paths were asked for."""
    asked: list[str] = []

    async def page(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.path not in found:
            return web.json_response({"detail": "Not Found"}, status=404)
        return web.Response(text=found[request.path], content_type="application/json")

    async def complete(request: web.Request) -> web.Response:
        asked.append(request.path)
        body = await request.json()
        assert body["max_tokens"] == 1
        choice = {"index": 0, "text": " pong", "finish_reason": "length", "matched_stop": None}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return web.json_response(
            {"id": "1", "object": "text_completion", "created": 1774039934, "model": MODEL,
             "choices": [choice], "usage": usage}
        )  # fmt: skip

    app = web.Application()
    app.router.add_get("/{path:.*}", page)
    app.router.add_post("/v1/completions", complete)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()
