"""What an engine's process was started with, where it runs on this host and may be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import psutil

from stoker.doctor.facts import EngineFacts
from stoker.runtime.engine_process import listener_of

_T = TypeVar("_T")
_VLLM_KEEP_ALIVE = "VLLM_HTTP_TIMEOUT_KEEP_ALIVE"


@dataclass(frozen=True, slots=True)
class Started:
    """A process, as it was started."""

    arguments: Sequence[str]
    environment: Mapping[str, str]


def started(url: str) -> Started | None:
    """The process that listens there, on this host; `None` where that cannot be seen."""
    process = listener_of(url)
    if process is None:
        return None
    try:
        return Started(process.cmdline(), process.environ())
    except (psutil.Error, OSError):
        return None


def with_command_line(facts: EngineFacts, found: Started) -> EngineFacts:
    """The facts, with what the command line says where the engine itself did not."""
    flags = flags_of(found.arguments)
    if facts.kind == "vllm":
        return _vllm(facts, flags, found.environment)
    if facts.kind == "sglang":
        return _sglang(facts, flags)
    if facts.kind == "llamacpp":
        return replace(facts, is_kv_shared=_is_kv_shared(found.arguments))
    return facts


def flags_of(arguments: Sequence[str]) -> dict[str, str]:
    """`--a-flag value`, `--a-flag=value` and `--a-flag` by name; underscores count as dashes."""
    flags: dict[str, str] = {}
    for index, argument in enumerate(arguments):
        if not argument.startswith("--"):
            continue
        name, has_value, value = argument.partition("=")
        following = arguments[index + 1 : index + 2]
        if not has_value and following and not following[0].startswith("--"):
            value = following[0]
        flags[name.replace("_", "-")] = value
    return flags


def _vllm(
    facts: EngineFacts, flags: Mapping[str, str], environment: Mapping[str, str]
) -> EngineFacts:
    if not flags:
        return facts  # Another program's process, or one that reads a file.
    keep_alive = environment.get(_VLLM_KEEP_ALIVE)
    share = None if "--kv-cache-memory-bytes" in flags else flags.get("--gpu-memory-utilization")
    return replace(
        facts,
        requests=facts.requests or _whole(flags.get("--max-num-seqs")),
        gpu_share=_either(facts.gpu_share, _number(share)),
        has_priority=_either(facts.has_priority, flags.get("--scheduling-policy") == "priority"),
        has_prefix_cache=_either(facts.has_prefix_cache, _switch(flags, "enable-prefix-caching")),
        has_chunked_prefill=_either(
            facts.has_chunked_prefill, _switch(flags, "enable-chunked-prefill")
        ),
        long_prefill_tokens=_either(
            facts.long_prefill_tokens, _whole(flags.get("--long-prefill-token-threshold")) or 0
        ),
        keep_alive_s=_number(keep_alive),
    )


def _is_kv_shared(arguments: Sequence[str]) -> bool | None:
    if {"--no-kv-unified", "-no-kvu"} & set(arguments):
        return False
    return True if {"--kv-unified", "-kvu"} & set(arguments) else None


def _sglang(facts: EngineFacts, flags: Mapping[str, str]) -> EngineFacts:
    keep_alive = _number(flags.get("--timeout-keep-alive"))
    return replace(
        facts,
        gpu_share=_either(facts.gpu_share, _number(flags.get("--mem-fraction-static"))),
        keep_alive_s=keep_alive,
    )


def _either(known: _T | None, other: _T | None) -> _T | None:
    return other if known is None else known


def _switch(flags: Mapping[str, str], name: str) -> bool | None:
    """A switch of vLLM: `--name`, `--no-name`, or neither."""
    if f"--no-{name}" in flags:
        return False
    value = flags.get(f"--{name}")
    return None if value is None else value.lower() != "false"


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None
