"""`stoker doctor` on a real vLLM: what its pages do not tell, its command line does."""

from __future__ import annotations

import json

from click.testing import CliRunner

from stoker.cli import main


def test_what_vllm_was_started_with_is_found_out(vllm, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["doctor", "--engine", vllm.url, "--json"])

    document = json.loads(result.output)
    [engine] = document["facts"]["engines"]
    assert (engine["kind"], engine["is_here"]) == ("vllm", True)
    assert engine["version"]
    assert engine["requests"] == 32  # tools/vllm_cpu/serve.sh
    assert engine["has_priority"] is True
    assert engine["has_prefix_cache"] is True
    assert engine["kv_tokens"] > engine["context_tokens"] == 4096
    found = {one["id"]: one for one in document["findings"]}
    assert found["requests_differ"]["advice"].startswith("set engine.requests = 32")
    assert result.exit_code == 2
