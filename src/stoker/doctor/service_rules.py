"""The rules about a running Stoker and its configuration."""

from __future__ import annotations

from collections.abc import Iterator

from stoker.doctor.facts import Facts
from stoker.doctor.finding import ADVICE, PROBLEM, WARNING, Rule, Said

STALE_S, LAG_S = 10.0, 0.25
_ABOUT = "stoker"


def _unreachable(facts: Facts) -> Iterator[Said]:
    service = facts.service
    if service is not None and service.cause is not None:
        advice = "start it (`stoker serve`), or name it with --url and a key with --api-key"
        severity = PROBLEM if service.is_required else ADVICE
        yield Said(severity, f"{service.url}: {service.cause}", advice, _ABOUT)


def _engine_down(facts: Facts) -> Iterator[Said]:
    for name, cause in facts.service.engines_down if facts.service else ():
        advice = "jobs are accepted meanwhile; P0 and P1 are refused after policy.down_wait_max_s"
        yield Said(PROBLEM, f"the service says of {name}: {cause}", advice, _ABOUT)


def _stale(facts: Facts) -> Iterator[Said]:
    stalest = facts.service.stalest_s if facts.service else None
    if stalest is not None and stalest > STALE_S:
        advice = "unseen counts as full: let the engine's /metrics answer"
        yield Said(WARNING, f"an engine's gauges are {stalest:.0f} s old", advice, _ABOUT)


def _lag(facts: Facts) -> Iterator[Said]:
    lag = facts.service.loop_lag_s if facts.service else None
    if lag is not None and lag > LAG_S:
        advice = (
            "give it a core of its own (CPUAffinity=, CPUWeight=), and see that it does not swap"
        )
        yield Said(WARNING, f"its event loop was late by {lag * 1e3:.0f} ms", advice, _ABOUT)


def _guard(facts: Facts) -> Iterator[Said]:
    level = facts.service.guard_level if facts.service else None
    if level is not None and level != "ok":
        advice = "see the findings about the host's RAM; only P0 starts freely"
        yield Said(WARNING, f"the memory guard is at {level}", advice, _ABOUT)


def _discarded(facts: Facts) -> Iterator[Said]:
    count = facts.service.discarded_jobs if facts.service else None
    if count:
        advice = (
            "`stoker jobs list --state discarded` tells why; `stoker jobs retry ID` tries again"
        )
        yield Said(ADVICE, f"{count} jobs were given up", advice, _ABOUT)


def _bind(facts: Facts) -> Iterator[Said]:
    config = facts.config
    if config.is_loopback or (config.has_keys and config.keys != "off"):
        return
    measured = f"server.host is {config.host}, and no API key is needed"
    advice = "`stoker keys create NAME`, or listen on 127.0.0.1: anybody there can read all results"
    yield Said(PROBLEM, measured, advice, _ABOUT)


def _key_file(facts: Facts) -> Iterator[Said]:
    mode = facts.config.key_file_mode
    if mode is not None and mode & 0o022:
        measured = f"others may write the file of keys (mode {mode:o})"
        yield Said(PROBLEM, measured, "chmod 600 keys.json in the data folder", _ABOUT)


SERVICE_RULES = (
    Rule(
        "service_unreachable",
        "No Stoker answers, or it does not tell.",
        "its /v1/fabric/state",
        _unreachable,
    ),
    Rule(
        "service_engine_down",
        "The service has an engine that is not ready.",
        "its /v1/fabric/state",
        _engine_down,
    ),
    Rule(
        "service_telemetry_stale",
        "The service has not seen gauges for a while.",
        "its /v1/fabric/state",
        _stale,
    ),
    Rule("service_lags", "The service itself is late.", "its /v1/fabric/state", _lag),
    Rule(
        "service_guard",
        "The memory guard holds work back.",
        "docs/concepts/memory-guard.md",
        _guard,
    ),
    Rule("jobs_discarded", "Jobs were given up.", "its /v1/fabric/state", _discarded),
    Rule(
        "bind_without_keys",
        "Others can reach the service without a key.",
        "docs/guides/keys.md",
        _bind,
    ),
    Rule("key_file_open", "Others can write the file of keys.", "its mode", _key_file),
)
