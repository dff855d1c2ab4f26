"""Puts all facts together: this host, its configuration, a running service, and every engine."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stoker.access.key_file import FILE, KeyFile
from stoker.client import Client
from stoker.config import Config
from stoker.core.errors import StokerError
from stoker.doctor.engine import engine_facts
from stoker.doctor.facts import ConfigFacts, EngineFacts, Facts, ServiceFacts
from stoker.doctor.host import host_facts

_SERVICE_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Service:
    """Which Stoker to ask."""

    url: str
    api_key: str | None
    is_required: bool


async def examine_box(config: Config, service: Service) -> Facts:
    """Everything that can be found out from here."""
    host, (seen, state), engines = await asyncio.gather(
        asyncio.to_thread(host_facts, config.data),
        _service(service),
        _engines(config),
    )
    return Facts(
        host=host,
        engines=(*engines, *_embedded(config, state)),
        service=seen,
        config=await asyncio.to_thread(_config, config),
    )


async def _engines(config: Config) -> list[EngineFacts]:
    named = {name: one for name, one in config.all_engines().items() if one.url is not None}
    return await asyncio.gather(
        *(engine_facts(name, one.url or "", one) for name, one in named.items())
    )


def _embedded(config: Config, state: Mapping[str, Any]) -> list[EngineFacts]:
    """Engines that are inside the service: it tells what it knows of them."""
    with_url = {name for name, one in config.all_engines().items() if one.url is not None}
    found = []
    for name, one in state.get("engines", {}).items():
        if name in with_url:
            continue
        capacity, sample = one["engine"]["capacity"] or {}, one["scheduler"]["engine"]
        found.append(
            EngineFacts(
                name,
                kind=one["engine"]["name"],
                is_here=None,
                probe_s=one["engine"]["probe_s"],
                waiting=sample["waiting"],
                running=sample["running"],
                kv_cache_usage=sample["kv_cache_usage"],
                preemptions=sample["preemptions_total"],
                requests_believed=capacity.get("requests"),
                is_requests_set=True,
                kv_tokens=capacity.get("kv_tokens"),
                context_tokens=capacity.get("context_tokens"),
            )
        )
    return found


async def _service(service: Service) -> tuple[ServiceFacts, Mapping[str, Any]]:
    facts = ServiceFacts(service.url, service.is_required)
    try:
        async with (
            asyncio.timeout(_SERVICE_TIMEOUT_S),
            Client(service.url, api_key=service.api_key) as client,
        ):
            state = await client.state()
    except (StokerError, TimeoutError) as error:
        cause = str(error) or "no answer in time"
        return ServiceFacts(service.url, service.is_required, cause=cause), {}
    return _service_facts(facts, state), state


def _service_facts(facts: ServiceFacts, state: Mapping[str, Any]) -> ServiceFacts:
    engines = state["engines"].items()
    ages = [one["scheduler"]["telemetry_age_s"] for _, one in engines]
    return ServiceFacts(
        facts.url,
        facts.is_required,
        engines_down=tuple(
            (name, one["engine"]["cause"] or "it is not ready")
            for name, one in engines
            if not one["engine"]["is_ready"]
        ),
        stalest_s=max((age for age in ages if age is not None), default=None),
        loop_lag_s=state["loop_lag_s"],
        discarded_jobs=state["jobs"]["discarded"],
        guard_level=state["scheduler"]["guard"]["level"],
    )


def _config(config: Config) -> ConfigFacts:
    path = config.data / FILE
    has_file = path.exists()
    return ConfigFacts(
        host=config.server.host,
        is_loopback=_is_loopback(config.server.host),
        has_keys=config.server.keys == "required"
        or (has_file and bool(KeyFile(config.data).all())),
        keys=config.server.keys,
        key_file_mode=path.stat().st_mode & 0o777 if has_file else None,
        ram_floor_bytes=config.policy.ram_floor_bytes,
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
