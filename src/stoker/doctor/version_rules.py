"""Faults that versions of engines are known for. Each names the report, so that it can be checked
again; what is open as of the last look (August 2026) has no end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from stoker.doctor.facts import EngineFacts, Facts
from stoker.doctor.finding import ADVICE, WARNING, Rule, Said, Severity

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """One known fault of one kind of engine, in the versions from `since` to before `until`."""

    kind: str
    report: str
    what: str
    advice: str
    severity: Severity = ADVICE
    since: Version = ()
    until: Version | None = None
    is_unified_only: bool = False


FAULTS = (
    Fault(
        "vllm",
        "vllm#40004",
        "a waiting request never displaces a running one, whatever their priorities",
        "nothing to do: Stoker keeps slots free for P0 and takes background work back",
    ),
    Fault(
        "vllm",
        "vllm#41951",
        "a request that is preempted inside the engine loses its place and is read again",
        "keep the engine's preemptions at 0 (stoker_engine_preemptions_total)",
    ),
    Fault(
        "vllm",
        "vllm#46307",
        "profiling at the start may take far more than the share that was set, and freeze the host",
        "start it with --gpu-memory-utilization 0.85 at most, and watch MemAvailable",
        WARNING,
        is_unified_only=True,
    ),
    Fault(
        "vllm",
        "vllm#48140",
        "the start may fail after the page cache has filled, although there is room",
        "drop the page cache before a start: `sync; echo 1 > /proc/sys/vm/drop_caches`",
        is_unified_only=True,
    ),
    Fault(
        "vllm",
        "vllm#54947",
        "a request may go on for a while after its client has hung up",
        "nothing to do: Stoker counts the slot as taken until the engine's gauge says otherwise",
        since=(0, 22),
    ),
    Fault(
        "sglang",
        "entrypoints of 0.5.10",
        "a call that is not streamed is looked after every 4 s only when its client hangs up",
        "nothing to do: Stoker aborts it by its id",
    ),
    Fault(
        "llamacpp",
        "llama.cpp#15232",
        "a long prompt that is being read is not interrupted when its client hangs up",
        "nothing to do: Stoker counts the slot as taken meanwhile; smaller -b shortens it",
    ),
)


def parsed(version: str | None) -> Version | None:
    """`0.23.0rc1+cpu` as (0, 23, 0); `None` for what is no number (a commit, `dev`)."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", version or "")
    return tuple(int(part) for part in found[1].split(".")) if found else None


def _has(fault: Fault, engine: EngineFacts, facts: Facts) -> bool:
    if fault.kind != engine.kind or engine.cause is not None:
        return False
    if fault.is_unified_only and facts.host.unified_name is None:
        return False
    version = parsed(engine.version)
    if fault.until is None and not fault.since:
        return True
    if version is None or version < (0, 1):
        return False  # A nightly build, perhaps; nothing is claimed.
    return fault.since <= version and (fault.until is None or version < fault.until)


def _faults(facts: Facts) -> Iterator[Said]:
    for engine in facts.engines:
        for fault in FAULTS:
            if _has(fault, engine, facts):
                version = engine.version or "of unknown version"
                measured = f"{engine.kind} {version}: {fault.what} ({fault.report})"
                yield Said(fault.severity, measured, fault.advice, engine.name)


VERSION_RULES = (
    Rule(
        "known_fault",
        "A known fault of this version of the engine.",
        "the report that is named",
        _faults,
    ),
)
