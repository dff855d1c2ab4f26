"""What a doctor says of which facts: each rule speaks, is quiet, and names its figure."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.doctor.facts import ConfigFacts, EngineFacts, Facts, HostFacts, ServiceFacts
from stoker.doctor.finding import Severity
from stoker.doctor.rules import RULES, examine, worst
from stoker.reference_pages import doctor_page

GIB = 2**30
PAGE = Path(__file__).parents[2] / "docs/reference/doctor.md"

SPARK = HostFacts(
    ram_total_bytes=120 * GIB, ram_available_bytes=100 * GIB, unified_name="NVIDIA GB10"
)
GOOD = EngineFacts(
    "default",
    url="http://127.0.0.1:8000",
    kind="vllm",
    version="0.23.0",
    is_here=True,
    probe_s=0.05,
    has_metrics=True,
    waiting=0,
    requests=64,
    requests_believed=64,
    kv_tokens=400_000,
    context_tokens=32_768,
    gpu_share=0.8,
    has_priority=True,
    has_prefix_cache=True,
    has_chunked_prefill=True,
    long_prefill_tokens=512,
)


NO_HOST = HostFacts()


def of_engine(host=NO_HOST, **changes):
    return Facts(host=host, engines=(replace(GOOD, **changes),))


def of_host(**changes):
    return Facts(host=replace(SPARK, **changes))


def of_service(**changes):
    return Facts(service=ServiceFacts("http://127.0.0.1:8080", **changes))


CASES = [
    # id, facts, severity, a part of what is measured, a part of the advice
    ("engine_unreachable", of_engine(cause="no answer"), "problem", "no answer", "start it"),
    ("engine_not_completing", of_engine(probe_problem="30 s"), "problem", "30 s", "restart"),
    ("engine_slow", of_engine(probe_s=9.0), "warning", "9.0 s", "nvidia-smi"),
    ("engine_metrics_missing", of_engine(has_metrics=False, kind="llamacpp"), "warning",
     "/metrics", "--metrics"),
    ("engine_metrics_missing", of_engine(has_metrics=False, kind="sglang"), "warning",
     "/metrics", "--enable-metrics"),
    ("llamacpp_slots_off", of_engine(kind="llamacpp", has_slots_page=False), "warning",
     "/slots", "--no-slots"),
    ("gpu_share_high", of_engine(SPARK, gpu_share=0.92), "problem", "leaves 9.6 GiB",
     "--gpu-memory-utilization 0.85"),
    ("gpu_share_high", of_engine(SPARK, gpu_share=0.87), "warning", "0.87 of 120.0 GiB", "0.85"),
    ("gpu_share_high", of_engine(replace(SPARK, ram_total_bytes=64 * GIB), gpu_share=0.9),
     "problem", "leaves 6.4 GiB", "--gpu-memory-utilization 0.85"),
    ("gpu_share_high", of_engine(gpu_share=0.97), "warning", "0.97", "0.92"),
    ("gpu_share_high", of_engine(SPARK, kind="sglang", gpu_share=0.9), "problem", "0.9",
     "--mem-fraction-static"),
    ("priority_policy_missing", of_engine(has_priority=False), "warning", "first come",
     "--scheduling-policy priority"),
    ("priority_policy_missing", of_engine(has_priority=None), "advice", "cannot be seen",
     "--scheduling-policy priority"),
    ("requests_differ", of_engine(requests=64, requests_believed=256), "problem",
     "64 requests at once, Stoker goes by 256", "engine.requests = 64"),
    ("requests_differ", of_engine(requests=64, requests_believed=16), "warning", "unused",
     "engine.requests = 64"),
    ("requests_unknown", of_engine(requests=None, requests_believed=256), "warning",
     "256 is assumed", "--max-num-seqs"),
    ("requests_above_kv", of_engine(kv_tokens=20_000), "warning", "312 for each",
     "--max-num-seqs 9"),
    ("context_above_kv", of_engine(context_tokens=500_000), "warning", "500000", "can never run"),
    ("context_above_kv", of_engine(context_tokens=300_000), "advice", "300000", "over half"),
    ("kv_cache_assumed", of_engine(kind="llamacpp", is_kv_shared=True), "problem",
     "400000 tokens of KV cache are assumed", "engine.kv_tokens = 32768"),
    ("kv_cache_assumed", of_engine(kind="llamacpp"), "advice", "32768 for each", "--kv-unified"),
    ("prefix_cache_off", of_engine(has_prefix_cache=False), "warning", "reads its whole prompt",
     "--no-enable-prefix-caching"),
    ("chunked_prefill_off", of_engine(has_chunked_prefill=False), "warning", "nobody gets a token",
     "--enable-chunked-prefill"),
    ("long_prefill_unbounded", of_engine(long_prefill_tokens=0), "advice", "whole steps",
     "--long-prefill-token-threshold"),
    ("engine_queue", of_engine(waiting=3), "warning", "3 requests wait", "engine.requests"),
    ("engine_preempts", of_engine(preemptions=50.0, requests_finished=1000.0), "warning",
     "50 of 1000", "engine.kv_tokens"),
    ("engine_preempts", of_engine(preemptions=5.0, requests_finished=1000.0), "advice",
     "5 of 1000", "engine.kv_tokens"),
    ("engine_keep_alive", of_engine(keep_alive_s=2.0), "warning", "after 2 s",
     "VLLM_HTTP_TIMEOUT_KEEP_ALIVE"),
    ("engine_elsewhere", of_engine(is_here=False), "advice", "8000", "beside the engine"),
    ("known_fault", of_engine(SPARK), "warning", "vllm#46307", "0.85 at most"),
    ("known_fault", of_engine(), "advice", "vllm#40004", "keeps slots free"),
    ("ram_low", of_host(ram_available_bytes=5 * GIB), "problem", "5.0 GiB available", "end what"),
    ("ram_low", of_host(ram_available_bytes=9 * GIB), "warning", "floor is 7.5 GiB", "smaller"),
    ("swap_used", of_host(swap_used_bytes=GIB), "warning", "1.0 GiB of swap", "swapoff"),
    ("swap_on", of_host(swap_total_bytes=16 * GIB), "warning", "NVIDIA GB10", "swapoff"),
    ("page_cache_pressure", of_host(ram_free_bytes=3 * GIB, page_cache_bytes=52 * GIB), "warning",
     "52.0 GiB of page cache", "drop_caches"),
    ("ram_pressure", of_host(psi_ram_full_percent=12.5), "problem", "12.5 %", "free RAM now"),
    ("ram_pressure", of_host(psi_ram_some_percent=20.0), "warning", "20 %", "reclaims"),
    ("cpu_pressure", of_host(psi_cpu_some_percent=80.0), "warning", "80 %", "half a core"),
    ("container_limit", of_host(container_limit_bytes=2 * GIB), "warning", "2.0 GiB of 120",
     "MemAvailable"),
    ("files_limit", of_host(files_soft=1024, files_hard=4096), "warning", "1024 files",
     "about 462 at once"),
    ("disk_low", of_host(data_free_bytes=GIB // 2), "problem", "0.5 GiB free", "retention_s"),
    ("disk_low", of_host(data_free_bytes=3 * GIB), "warning", "3.0 GiB free", "retention_s"),
    ("clock_unsynchronised", of_host(is_clock_synchronised=False), "warning", "kernel", "ntp"),
    ("service_unreachable", of_service(cause="refused", is_required=True), "problem", "refused",
     "stoker serve"),
    ("service_unreachable", of_service(cause="refused"), "advice", "refused", "--url"),
    ("service_engine_down", of_service(engines_down=(("coder", "it hangs"),)), "problem",
     "coder: it hangs", "down_wait_max_s"),
    ("service_telemetry_stale", of_service(stalest_s=42.0), "warning", "42 s", "/metrics"),
    ("service_lags", of_service(loop_lag_s=0.8), "warning", "800 ms", "core"),
    ("service_guard", of_service(guard_level="hold"), "warning", "hold", "P0"),
    ("jobs_discarded", of_service(discarded_jobs=3), "advice", "3 jobs", "retry"),
    ("bind_without_keys", Facts(config=ConfigFacts("0.0.0.0", is_loopback=False)), "problem",
     "0.0.0.0", "stoker keys create"),
    ("key_file_open", Facts(config=ConfigFacts(key_file_mode=0o666)), "problem", "666",
     "chmod 600"),
]  # fmt: skip


def said(facts, id):
    return [finding for finding in examine(facts) if finding.id == id]


@pytest.mark.parametrize(
    ("id", "facts", "severity", "measured", "advice"), CASES, ids=lambda one: str(one)[:30]
)
def test_a_rule_says_what_is_wrong_with_the_figure_and_what_to_do(
    id, facts, severity, measured, advice
):
    found = [finding for finding in said(facts, id) if measured in finding.measured]

    assert len(found) == 1
    assert found[0].severity.label == severity
    assert advice in found[0].advice


def test_every_rule_has_a_case():
    assert {case[0] for case in CASES} == {rule.id for rule in RULES}


def test_a_good_box_gets_no_more_than_advice():
    findings = examine(Facts(host=HostFacts(), engines=(GOOD,), config=ConfigFacts()))

    assert worst(findings) is Severity.ADVICE
    assert {finding.id for finding in findings} == {"known_fault"}


def test_nothing_known_is_nothing_said():
    assert examine(Facts()) == []


def test_a_key_makes_an_open_address_safe_unless_keys_are_off():
    safe = ConfigFacts("0.0.0.0", is_loopback=False, has_keys=True)

    assert said(Facts(config=safe), "bind_without_keys") == []
    assert said(Facts(config=replace(safe, keys="off")), "bind_without_keys") != []


def test_an_engine_on_another_host_is_not_judged_by_this_hosts_ram():
    assert said(of_engine(SPARK, gpu_share=0.92, is_here=False), "gpu_share_high") == []


@pytest.mark.parametrize(
    ("version", "is_said"),
    [("0.21.2", False), ("0.22.0rc1+cpu", True), ("v0.33", True), ("dev", False), (None, False)],
)
def test_a_fault_with_a_first_version_is_named_from_that_version_on(version, is_said):
    found = [one for one in said(of_engine(version=version), "known_fault")
             if "54947" in one.measured]  # fmt: skip

    assert bool(found) == is_said


def test_the_gravest_comes_first_and_is_the_exit_code():
    facts = Facts(host=replace(SPARK, swap_used_bytes=GIB, ram_available_bytes=GIB))
    found = examine(facts)

    assert [one.severity for one in found] == sorted((o.severity for o in found), reverse=True)
    assert worst(found) == 2
    assert worst(examine(of_host(swap_used_bytes=GIB))) == 1


def test_the_reference_page_is_made_from_the_table():
    assert PAGE.read_text(encoding="utf-8") == doctor_page()


# ---------------------------------------------------------------------- properties

_VALUES = {
    "int | None": st.none() | st.integers(0, 2**50),
    "float | None": st.none() | st.floats(0, 1e6),
    "bool | None": st.none() | st.booleans(),
    "str | None": st.none() | st.sampled_from(["vllm", "sglang", "llamacpp", "1.2.3", "x"]),
    "bool": st.booleans(),
}


def any_of(cls, **fixed):
    parts = {item.name: _VALUES[item.type] for item in fields(cls) if item.type in _VALUES}
    return st.builds(cls, **{**parts, **fixed})


any_facts = st.builds(
    Facts,
    host=any_of(HostFacts),
    engines=st.lists(any_of(EngineFacts, name=st.just("default")), max_size=2).map(tuple),
    service=st.none() | any_of(ServiceFacts, url=st.just("http://127.0.0.1:1")),
)


@given(any_facts)
def test_whatever_is_known_every_finding_has_a_figure_and_an_advice(facts):
    for finding in examine(facts):
        assert finding.measured
        assert finding.advice
        assert "None" not in finding.measured + finding.advice


@given(any_facts)
def test_the_advice_for_a_share_is_never_above_the_share_that_is_blamed(facts):
    for engine in facts.engines:
        for finding in said(replace(facts, engines=(engine,)), "gpu_share_high"):
            assert float(re.search(r"(0\.\d+):", finding.advice)[1]) <= engine.gpu_share


@given(any_of(HostFacts))
def test_more_ram_never_makes_it_worse(host):
    if host.ram_available_bytes is None:
        return
    before = worst(said(Facts(host=host), "ram_low"))
    more = replace(host, ram_available_bytes=host.ram_available_bytes * 2)

    assert worst(said(Facts(host=more), "ram_low")) <= before
