"""`stoker doctor --json` before a recorded SGLang: from its pages to what should be changed."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from stoker.cli import main
from tests.doctor.sglang import pages, playing, server_info
from tests.in_a_thread import in_a_thread

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No settings of the machine's own, and none of its processes."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("STOKER_URL", raising=False)
    monkeypatch.chdir(tmp_path)


def doctor(found, *options):
    """What it says of the engine there: its facts, and its findings by id; and what it asked."""
    with in_a_thread(playing(found)) as (url, asked):
        nobody = ("--url", "http://127.0.0.1:9", "--json")
        result = CliRunner().invoke(
            main, ["doctor", "--engine", url, *options, *nobody], catch_exceptions=False
        )
    document = json.loads(result.output)
    [engine] = document["facts"]["engines"]
    findings = {
        one["id"]: one for one in document["findings"] if one["about"] not in ("host", "stoker")
    }
    return engine, findings, asked


def test_as_it_is_started_by_default_priorities_and_gauges_are_missing():
    engine, findings, _ = doctor(pages(server_info("0.5.10.post1")))

    assert (engine["kind"], engine["version"]) == ("sglang", "0.5.10.post1")
    assert (engine["requests"], engine["kv_tokens"]) == (128, 20480)
    assert engine["context_tokens"] == 20474
    assert engine["gpu_share"] == 0.907
    assert (engine["has_priority"], engine["has_prefix_cache"]) == (False, True)
    assert engine["has_chunked_prefill"] is True
    assert engine["has_metrics"] is False
    # Without gauges, its page of loads tells the same numbers.
    assert (engine["running"], engine["waiting"], engine["kv_cache_usage"]) == (3, 5, 0.28)
    assert engine["probe_s"] is not None
    assert "--enable-priority-scheduling" in findings["priority_policy_missing"]["advice"]
    assert "--enable-metrics" in findings["engine_metrics_missing"]["advice"]


def test_many_requests_on_a_small_cache_are_told_with_its_own_flag():
    _, findings, _ = doctor(pages(server_info("0.5.10.post1")))

    said = findings["requests_above_kv"]
    assert "20480 tokens of KV cache for 128 requests: 160 for each" in said["measured"]
    assert "--max-running-requests 10 " in said["advice"]


def test_as_the_guide_starts_it_there_is_nothing_to_change():
    info = server_info(
        "0.5.10.post1",
        enable_priority_scheduling=True,
        enable_metrics=True,
        max_total_tokens=400_000,
        max_running_requests=64,
        mem_fraction_static=0.8,
    )

    engine, findings, asked = doctor(pages(info, queued=0))

    assert (engine["has_priority"], engine["has_metrics"]) == (True, True)
    assert (engine["running"], engine["waiting"], engine["preemptions"]) == (3, 0, 0)
    assert {one["severity"] for one in findings.values()} <= {"advice"}
    assert "/get_server_info" not in asked, "its old name is given up by newer ones"


def test_before_0_5_its_page_has_another_name():
    engine, _, asked = doctor(pages(server_info("0.4.9.post2"), path="/get_server_info"))

    assert (engine["kind"], engine["version"]) == ("sglang", "0.4.9.post2")
    assert engine["requests"] == 128
    assert {"/server_info", "/get_server_info"} <= set(asked)


def test_what_slows_everybody_is_named():
    info = server_info(
        "0.5.10.post1", disable_radix_cache=True, chunked_prefill_size=-1, enable_metrics=True
    )

    engine, findings, _ = doctor(pages(info, queued=9, retracted=41))

    assert (engine["has_prefix_cache"], engine["has_chunked_prefill"]) == (False, False)
    assert "--disable-radix-cache" in findings["prefix_cache_off"]["advice"]
    assert "--chunked-prefill-size 8192" in findings["chunked_prefill_off"]["advice"]
    assert "9 requests wait in its own queue" in findings["engine_queue"]["measured"]
    assert "41" in findings["engine_preempts"]["measured"]


def test_replicas_count_together():
    info = server_info("0.5.10.post1", replicas=2, dp_size=2)

    engine, _, _ = doctor(pages(info))

    assert (engine["requests"], engine["kv_tokens"]) == (256, 40960)


def test_a_build_without_a_number_is_known_all_the_same():
    engine, findings, _ = doctor(pages(server_info("0.0.0.dev1+gf97c09dac")))

    assert engine["version"] == "0.0.0.dev1+gf97c09dac"
    assert engine["has_priority"] is False
    assert "priority_policy_missing" in findings
