"""How the facts are read: from the kernel's files, a command line, and engines that answer."""

from __future__ import annotations

import sys

import pytest

from stoker.doctor.command_line import Started, flags_of, with_command_line
from stoker.doctor.engine import engine_facts
from stoker.doctor.facts import EngineFacts
from stoker.doctor.host import host_facts, pressure, unified_gpu
from stoker.engine_config import EngineConfig

VLLM = EngineFacts("default", "http://127.0.0.1:1", kind="vllm")


def of_vllm(*arguments, **environment):
    return with_command_line(VLLM, Started(["vllm", "serve", *arguments], environment))


def test_flags_are_read_in_each_of_their_forms():
    flags = flags_of(["x", "--a", "1", "--b=2", "--c", "--d_e", "f"])

    assert flags == {"--a": "1", "--b": "2", "--c": "", "--d-e": "f"}


def test_vllms_command_line_tells_what_no_page_of_it_does():
    found = of_vllm(
        "--max-num-seqs", "64", "--scheduling-policy=priority", "--no-enable-prefix-caching",
        "--gpu-memory-utilization", "0.9", VLLM_HTTP_TIMEOUT_KEEP_ALIVE="3",
    )  # fmt: skip

    assert (found.requests, found.has_priority, found.gpu_share) == (64, True, 0.9)
    assert (found.has_prefix_cache, found.has_chunked_prefill) == (False, None)
    assert (found.long_prefill_tokens, found.keep_alive_s) == (0, 3.0)


@pytest.mark.parametrize(
    ("argument", "is_shared"), [("-kvu", True), ("--no-kv-unified", False), ("--metrics", None)]
)
def test_only_llamacpps_command_line_says_whether_slots_share_a_cache(argument, is_shared):
    facts = EngineFacts("default", kind="llamacpp")

    found = with_command_line(facts, Started(["llama-server", argument], {}))

    assert found.is_kv_shared is is_shared


def test_what_the_engine_says_itself_counts_more():
    known = EngineFacts("default", kind="vllm", requests=32, has_priority=True)
    found = with_command_line(known, Started(["vllm", "--max-num-seqs", "64"], {}))

    assert (found.requests, found.has_priority) == (32, True)


def test_a_process_without_flags_tells_nothing():
    assert of_vllm() == VLLM


def test_a_gpu_without_memory_of_its_own_is_unified():
    assert unified_gpu("NVIDIA GB10, [N/A]\n") == "NVIDIA GB10"
    assert unified_gpu("NVIDIA H100, 81559 MiB\n") is None
    assert unified_gpu("") is None


def test_pressure_is_read_by_line_and_window():
    text = "some avg10=1.00 avg60=2.50 avg300=0 total=9\nfull avg10=0.25 avg60=0 avg300=0 total=1\n"

    assert pressure(text, "some", "avg60") == 2.5
    assert pressure(text, "full", "avg10") == 0.25
    assert pressure("", "full", "avg10") is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_this_host_tells_its_ram_files_and_disk(tmp_path):
    facts = host_facts(tmp_path / "not" / "there" / "yet")

    assert 0 < facts.ram_available_bytes <= facts.ram_total_bytes
    assert facts.data_free_bytes > 0
    assert facts.files_soft is None or facts.files_soft > 0


async def test_an_engine_that_is_not_there_is_a_fact():
    facts = await engine_facts("default", "http://127.0.0.1:9", EngineConfig())

    assert "127.0.0.1:9" in facts.cause
    assert facts.probe_s is None
