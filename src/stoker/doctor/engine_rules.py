"""The rules about an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stoker.doctor.facts import EngineFacts, Facts
from stoker.doctor.finding import ADVICE, PROBLEM, WARNING, Rule, Said, size
from stoker.doctor.host_rules import floor_of

UNIFIED_SHARE_MAX, UNIFIED_SHARE_GRAVE = 0.85, 0.88
DISCRETE_SHARE_MAX = 0.95
OS_BYTES = 4 * 2**30
"""What an idle desktop or server takes beside the engine."""
TOKENS_PER_REQUEST_MIN = 512
SLOW_PROBE_S = 5.0
POOL_KEEP_ALIVE_S = 4.0
"""How long Stoker keeps an idle connection to an engine."""
_FLAGS = {
    "vllm": ("--gpu-memory-utilization", "--scheduling-policy priority", "--max-num-seqs"),
    "sglang": ("--mem-fraction-static", "--enable-priority-scheduling", "--max-running-requests"),
}
_METRICS_FLAGS = {"llamacpp": "--metrics", "sglang": "--enable-metrics"}


def _each(
    check: Callable[[EngineFacts, Facts], Iterator[Said]],
) -> Callable[[Facts], Iterator[Said]]:
    """A rule about every engine, from one about a single one."""

    def all_of(facts: Facts) -> Iterator[Said]:
        for engine in facts.engines:
            yield from check(engine, facts)

    return all_of


def _flag(engine: EngineFacts, index: int) -> str:
    return _FLAGS.get(engine.kind or "", _FLAGS["vllm"])[index]


def _unreachable(engine: EngineFacts, facts: Facts) -> Iterator[Said]:
    if engine.cause is not None:
        advice = f"start it, or correct the address {engine.url or ''}; jobs are accepted meanwhile"
        yield Said(PROBLEM, engine.cause, advice, engine.name)


def _not_completing(engine: EngineFacts, facts: Facts) -> Iterator[Said]:
    if engine.probe_problem is not None:
        advice = (
            "a server that answers and does not complete serves nobody: read its log, restart it"
        )
        yield Said(PROBLEM, engine.probe_problem, advice, engine.name)


def _slow(engine: EngineFacts, facts: Facts) -> Iterator[Said]:
    if engine.probe_s is not None and engine.probe_s > SLOW_PROBE_S:
        measured = f"a completion of one token took {engine.probe_s:.1f} s"
        advice = (
            "if nothing runs there, look for a GPU that is not used (`nvidia-smi`) or a cold start;"
            " if much runs there, send it through Stoker"
        )
        yield Said(WARNING, measured, advice, engine.name)


def _no_metrics(engine: EngineFacts, facts: Facts) -> Iterator[Said]:
    if engine.has_metrics is False:
        flag = _METRICS_FLAGS.get(engine.kind or "")
        advice = f"start it with {flag}" if flag else "let its /metrics be reached from here"
        measured = "its /metrics does not answer, so Stoker schedules by its own count alone"
        yield Said(WARNING, measured, advice, engine.name)


def _no_slots(engine: EngineFacts, facts: Facts) -> Iterator[Said]:
    if engine.has_slots_page is False:
        advice = "start it without --no-slots: llama.cpp has no other gauge of its KV cache"
        yield Said(WARNING, "its /slots does not answer", advice, engine.name)


def _share(engine: EngineFacts, facts: Facts) -> Iterator[Said]:
    share, total = engine.gpu_share, facts.host.ram_total_bytes
    if share is None or engine.is_here is False:
        return
    unified = facts.host.unified_name
    if unified is None:
        if share > DISCRETE_SHARE_MAX:
            advice = f"{_flag(engine, 0)} 0.92: activations and CUDA graphs come on top of it"
            yield Said(WARNING, f"{_flag(engine, 0)} is {share:g}", advice, engine.name)
        return
    if share > UNIFIED_SHARE_MAX and total is not None:
        left, wanted = total * (1 - share), floor_of(facts) + OS_BYTES
        better = max(0.3, min(UNIFIED_SHARE_MAX, int((1 - wanted / total) * 100) / 100))
        measured = f"{share:g} of {size(total)} leaves {size(left)} to the host, on {unified}"
        advice = (
            f"{_flag(engine, 0)} {better:g}: {size(wanted)} are needed beside it; higher values are"
            " reported to run out of memory after an hour, and then the host freezes"
        )
        yield Said(
            PROBLEM if share > UNIFIED_SHARE_GRAVE else WARNING, measured, advice, engine.name
        )


def _priority(engine: EngineFacts, facts: Facts) -> Iterator[Said]:
    if engine.kind not in _FLAGS:
        return
    flag = _flag(engine, 1)
    if engine.has_priority is False:
        advice = (
            f"start it with {flag}; without it the engine ignores the priority that Stoker sends"
        )
        yield Said(WARNING, "its own queue is first come, first served", advice, engine.name)
    elif engine.has_priority is None and engine.cause is None:
        measured = "whether it orders its queue by priority cannot be seen from here"
        yield Said(ADVICE, measured, f"make sure that it was started with {flag}", engine.name)


def _requests_differ(engine: EngineFacts, facts: Facts) -> Iterator[Said]:
    real, believed = engine.requests, engine.requests_believed
    if real is not None and believed is not None and real != believed:
        advice = f"set engine.requests = {real} ({_flag(engine, 2)})"
        grave = believed > real
        why = "what is sent beyond it waits inside the engine" if grave else "slots stay unused"
        measured = f"it runs {real} requests at once, Stoker goes by {believed}: {why}"
        yield Said(PROBLEM if grave else WARNING, measured, advice, engine.name)


def _requests_unknown(engine: EngineFacts, facts: Facts) -> Iterator[Said]:
    if engine.kind != "vllm" or engine.requests is not None or engine.is_requests_set:
        return
    if engine.cause is None:
        believed = engine.requests_believed or "a default"
        measured = f"nothing says how many it runs at once; {believed} is assumed"
        advice = "set engine.requests to its --max-num-seqs"
        yield Said(WARNING, measured, advice, engine.name)


def _requests_above_kv(engine: EngineFacts, facts: Facts) -> Iterator[Said]:
    requests, kv = engine.requests or engine.requests_believed, engine.kv_tokens
    if requests and kv and kv / requests < TOKENS_PER_REQUEST_MIN:
        fits = max(1, kv // (4 * TOKENS_PER_REQUEST_MIN))
        measured = f"{kv} tokens of KV cache for {requests} requests: {kv // requests} for each"
        advice = (
            f"{_flag(engine, 2)} {fits} is plenty for requests of {4 * TOKENS_PER_REQUEST_MIN}"
            " tokens; more only push each other out of the cache"
        )
        yield Said(WARNING, measured, advice, engine.name)


def _context_above_kv(engine: EngineFacts, facts: Facts) -> Iterator[Said]:
    context, kv = engine.context_tokens, engine.kv_tokens
    if not context or not kv:
        return
    measured = f"a request may have {context} tokens, the KV cache holds {kv}"
    if context > kv:
        advice = "lower its context length, or give it more KV cache: the longest can never run"
        yield Said(WARNING, measured, advice, engine.name)
    elif context * 2 > kv:
        advice = (
            "one request of full length takes over half of it; lower the context if none needs it"
        )
        yield Said(ADVICE, measured, advice, engine.name)


def _kv_assumed(engine: EngineFacts, facts: Facts) -> Iterator[Said]:
    kv, context = engine.kv_tokens, engine.context_tokens
    if engine.kind != "llamacpp" or engine.is_kv_set or not kv or not context or kv == context:
        return
    advice = f"if its slots share one cache (--kv-unified), set engine.kv_tokens = {context}"
    measured = f"{kv} tokens of KV cache are assumed, {context} for each of its slots"
    if engine.is_kv_shared:
        yield Said(
            PROBLEM, measured, f"its slots share one: set engine.kv_tokens = {context}", engine.name
        )
    elif engine.is_kv_shared is None:
        yield Said(ADVICE, measured, advice, engine.name)


def _prefix_cache(engine: EngineFacts, facts: Facts) -> Iterator[Said]:
    if engine.has_prefix_cache is False:
        advice = (
            "turn it on (vLLM: no --no-enable-prefix-caching; SGLang: no --disable-radix-cache)"
        )
        measured = "each preempted job and each turn of an agent reads its whole prompt again"
        yield Said(WARNING, measured, advice, engine.name)


def _chunked(engine: EngineFacts, facts: Facts) -> Iterator[Said]:
    if engine.has_chunked_prefill is False:
        advice = "turn it on (vLLM: --enable-chunked-prefill; SGLang: --chunked-prefill-size 8192)"
        measured = "while one long prompt is read, nobody gets a token"
        yield Said(WARNING, measured, advice, engine.name)


def _long_prefill(engine: EngineFacts, facts: Facts) -> Iterator[Said]:
    if engine.kind == "vllm" and engine.long_prefill_tokens == 0:
        advice = "--long-prefill-token-threshold, about a quarter of --max-num-batched-tokens"
        measured = "one long prompt may fill whole steps while P0 wants to be read"
        yield Said(ADVICE, measured, advice, engine.name)


def _queue(engine: EngineFacts, facts: Facts) -> Iterator[Said]:
    if engine.waiting:
        advice = (
            "let every client come through Stoker, and set engine.requests to what it really runs:"
            " inside the engine P0 waits behind P2"
        )
        yield Said(WARNING, f"{engine.waiting} requests wait in its own queue", advice, engine.name)


def _preempts(engine: EngineFacts, facts: Facts) -> Iterator[Said]:
    count, finished = engine.preemptions, engine.requests_finished
    if not count:
        return
    is_rare = finished is not None and count < finished / 100
    share = f" of {finished:g} requests" if finished else ""
    advice = "its KV cache was overrun: set engine.kv_tokens, or fewer requests at once"
    measured = f"it has thrown out {count:g}{share} since its start, and read them again"
    yield Said(ADVICE if is_rare else WARNING, measured, advice, engine.name)


def _keep_alive(engine: EngineFacts, facts: Facts) -> Iterator[Said]:
    if engine.keep_alive_s is not None and engine.keep_alive_s <= POOL_KEEP_ALIVE_S:
        measured = f"it closes idle connections after {engine.keep_alive_s:g} s"
        advice = (
            f"let it keep them for more than {POOL_KEEP_ALIVE_S:g} s (vLLM:"
            " VLLM_HTTP_TIMEOUT_KEEP_ALIVE): else a call now and then meets one that closes"
        )
        yield Said(WARNING, measured, advice, engine.name)


def _elsewhere(engine: EngineFacts, facts: Facts) -> Iterator[Said]:
    if engine.is_here is False and engine.cause is None:
        measured = f"no process of this host listens at {engine.url or engine.name}"
        advice = (
            "run Stoker beside the engine: the memory guard watches this host's RAM, and what is"
            " found about the host says nothing about the engine's"
        )
        yield Said(ADVICE, measured, advice, engine.name)


_GUIDE = "docs/guides/in-front-of-vllm.md"

ENGINE_RULES = (
    Rule("engine_unreachable", "An engine does not answer.", "its /v1/models", _each(_unreachable)),
    Rule(
        "engine_not_completing",
        "An engine answers, and completes nothing.",
        "docs/adr/0009",
        _each(_not_completing),
    ),
    Rule(
        "engine_slow",
        "An engine's smallest completion is slow.",
        "a completion of one token",
        _each(_slow),
    ),
    Rule(
        "engine_metrics_missing", "An engine shows no gauges.", "its /metrics", _each(_no_metrics)
    ),
    Rule(
        "llamacpp_slots_off", "llama.cpp does not show its slots.", "its /slots", _each(_no_slots)
    ),
    Rule(
        "gpu_share_high",
        "An engine takes more memory than the box can spare.",
        "vllm recipes#632 (0.92 runs out, 0.85 used); vllm#46307",
        _each(_share),
    ),
    Rule(
        "priority_policy_missing", "An engine's queue knows no priority.", _GUIDE, _each(_priority)
    ),
    Rule(
        "requests_differ",
        "Stoker and the engine differ in how many run at once.",
        "its command line, /server_info",
        _each(_requests_differ),
    ),
    Rule("requests_unknown", "Nobody says how many run at once.", _GUIDE, _each(_requests_unknown)),
    Rule(
        "requests_above_kv",
        "More requests than the KV cache can hold.",
        "its KV cache and slots",
        _each(_requests_above_kv),
    ),
    Rule(
        "kv_cache_assumed",
        "The size of llama.cpp's KV cache is a guess.",
        "its /props; docs/guides/in-front-of-vllm.md",
        _each(_kv_assumed),
    ),
    Rule(
        "context_above_kv",
        "The context length is out of proportion to the KV cache.",
        "its KV cache and context",
        _each(_context_above_kv),
    ),
    Rule("prefix_cache_off", "Prefix caching is off.", _GUIDE, _each(_prefix_cache)),
    Rule(
        "chunked_prefill_off",
        "Prompts are not read in chunks.",
        "Sarathi-Serve, OSDI 2024",
        _each(_chunked),
    ),
    Rule(
        "long_prefill_unbounded",
        "One long prompt may fill whole steps.",
        _GUIDE,
        _each(_long_prefill),
    ),
    Rule(
        "engine_queue",
        "An engine queues by itself.",
        "its gauge of waiting requests",
        _each(_queue),
    ),
    Rule(
        "engine_preempts",
        "An engine throws requests out of its KV cache.",
        "its counter of preemptions",
        _each(_preempts),
    ),
    Rule(
        "engine_keep_alive",
        "An engine closes idle connections early.",
        "docs/adr/0005",
        _each(_keep_alive),
    ),
    Rule(
        "engine_elsewhere",
        "An engine is not on this host.",
        "who listens at its port",
        _each(_elsewhere),
    ),
)
