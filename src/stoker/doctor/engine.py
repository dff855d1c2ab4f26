"""Asks one engine what it is, what it can take and how it does, and lets it complete one token."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import msgspec

from stoker.core.errors import EngineError
from stoker.core.events import EngineSample
from stoker.doctor.command_line import started, with_command_line
from stoker.doctor.facts import EngineFacts
from stoker.engine_config import EngineConfig
from stoker.engines.detect import connect
from stoker.engines.exposition import Exposition
from stoker.engines.http_client import HttpClient
from stoker.engines.openai_http import CapacityOverrides
from stoker.ports import Engine
from stoker.runtime.engine_process import is_here

_T = TypeVar("_T")
PROBE_TIMEOUT_S = 30.0
_VLLM_PAGE = ("vllm:cache_config_info", "vllm:request_success")


async def engine_facts(name: str, url: str, settings: EngineConfig) -> EngineFacts:
    """Everything about the engine at `url`; one that does not answer is a fact too."""
    facts = EngineFacts(
        name,
        url,
        is_requests_set=settings.requests is not None,
        is_kv_set=settings.kv_tokens is not None,
    )
    overrides = CapacityOverrides(settings.requests, settings.kv_tokens, settings.context_tokens)
    try:
        engine = await connect(
            url, kind=settings.kind, api_key=settings.api_key, overrides=overrides
        )
        await engine.start()
    except EngineError as error:
        return replace(facts, cause=str(error))
    http = HttpClient(url, api_key=settings.api_key)
    await http.start()
    try:
        return await _examined(facts, engine, http)
    finally:
        await http.stop()
        await engine.stop()


async def _examined(facts: EngineFacts, engine: Engine, http: HttpClient) -> EngineFacts:
    try:
        probe_s = await engine.probe(PROBE_TIMEOUT_S)
        facts = replace(facts, kind=engine.traits.name, probe_s=probe_s)
    except EngineError as error:
        if engine.traits.name == "unknown":
            return replace(facts, cause=str(error))
        facts = replace(facts, kind=engine.traits.name, probe_problem=str(error))
    facts = await _with_capacity(facts, engine)
    facts = await _with_sample(facts, engine)
    facts = await _OWN_PAGES.get(facts.kind or "", _nothing_more)(facts, http)
    found = await asyncio.to_thread(started, facts.url or "")
    if not is_here(facts.url or ""):
        return replace(facts, is_here=False)
    return facts if found is None else with_command_line(replace(facts, is_here=True), found)


async def _with_capacity(facts: EngineFacts, engine: Engine) -> EngineFacts:
    try:
        capacity = await engine.capacity()
    except EngineError:
        return facts
    return replace(
        facts,
        requests_believed=capacity.requests,
        kv_tokens=capacity.kv_tokens,
        context_tokens=capacity.context_tokens,
    )


async def _with_sample(facts: EngineFacts, engine: Engine) -> EngineFacts:
    if not engine.traits.has_telemetry:
        return facts
    try:
        sample, has_metrics = await engine.sample(), True
    except EngineError:
        sample, has_metrics = EngineSample(), False
    return replace(
        facts,
        has_metrics=has_metrics,
        waiting=sample.waiting,
        running=sample.running,
        kv_cache_usage=sample.kv_cache_usage,
        preemptions=sample.preemptions_total,
    )


async def _nothing_more(facts: EngineFacts, http: HttpClient) -> EngineFacts:
    return facts


async def _vllm(facts: EngineFacts, http: HttpClient) -> EngineFacts:
    page = Exposition(await _text(http, "/metrics"), _VLLM_PAGE)
    labels = next((sample.labels for sample in page.named("vllm:cache_config_info")), {})
    caching = labels.get("enable_prefix_caching")
    scheduler = (await _json(http, "/server_info?config_format=json", _VllmInfo)).vllm_config
    config = scheduler.scheduler_config
    return replace(
        facts,
        version=(await _json(http, "/version", _Version)).version,
        gpu_share=_share(labels),
        has_prefix_cache=None if caching is None else caching == "True",
        requests_finished=page.total("vllm:request_success"),
        requests=config.max_num_seqs,
        has_priority=None if config.policy is None else config.policy == "priority",
        has_chunked_prefill=config.enable_chunked_prefill,
        long_prefill_tokens=config.long_prefill_token_threshold,
    )


async def _sglang(facts: EngineFacts, http: HttpClient) -> EngineFacts:
    info = await _json(http, "/server_info", _SglangInfo)
    if info.version is None:
        info = await _json(http, "/get_server_info", _SglangInfo)
    is_known = info.version is not None
    return replace(
        facts,
        version=info.version,
        has_metrics=info.enable_metrics if is_known else facts.has_metrics,
        requests=facts.requests_believed if is_known and not facts.is_requests_set else None,
        gpu_share=info.mem_fraction_static,
        has_priority=info.enable_priority_scheduling if is_known else None,
        has_prefix_cache=not info.disable_radix_cache if is_known else None,
        has_chunked_prefill=None
        if info.chunked_prefill_size is None
        else info.chunked_prefill_size > 0,
    )


async def _llamacpp(facts: EngineFacts, http: HttpClient) -> EngineFacts:
    props = await _json(http, "/props", _Props)
    has_slots = bool(await _text(http, "/slots"))
    return replace(
        facts, version=props.build_info, requests=props.total_slots, has_slots_page=has_slots
    )


_OWN_PAGES = {"vllm": _vllm, "sglang": _sglang, "llamacpp": _llamacpp}


async def _text(http: HttpClient, path: str) -> str:
    try:
        return await http.get_text(path)
    except EngineError:
        return ""


async def _json(http: HttpClient, path: str, shape: type[_T]) -> _T:
    """The page; one that is not there, or is something else, is empty."""
    try:
        return await http.get(path, shape)
    except EngineError:
        return shape()


def _share(labels: Mapping[str, str]) -> float | None:
    """A size of the KV cache that was set in bytes overrides the share."""
    if labels.get("kv_cache_memory_bytes", "None") != "None":
        return None
    return _number(labels.get("gpu_memory_utilization"))


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


class _Version(msgspec.Struct):
    version: str | None = None


class _VllmScheduler(msgspec.Struct):
    max_num_seqs: int | None = None
    policy: str | None = None
    enable_chunked_prefill: bool | None = None
    long_prefill_token_threshold: int | None = None


class _VllmConfig(msgspec.Struct):
    scheduler_config: _VllmScheduler = msgspec.field(default_factory=_VllmScheduler)


class _VllmInfo(msgspec.Struct):
    vllm_config: _VllmConfig = msgspec.field(default_factory=_VllmConfig)


class _SglangInfo(msgspec.Struct):
    version: str | None = None
    enable_metrics: bool = False
    mem_fraction_static: float | None = None
    enable_priority_scheduling: bool = False
    disable_radix_cache: bool = False
    chunked_prefill_size: int | None = None


class _Props(msgspec.Struct):
    total_slots: int | None = None
    build_info: str | None = None
