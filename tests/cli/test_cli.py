"""The commands: what they print, and how they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
from click.testing import CliRunner

from stoker.api.serve import bind, listening
from stoker.cli import main
from stoker.cli.explain import heading
from stoker.cli.flags import flags_of
from stoker.cli.outcomes import EXIT_CODES
from stoker.client import SyncClient
from stoker.config import Config
from stoker.core.errors import ConfigError
from stoker.core.policy import Policy
from stoker.fabric import Fabric
from stoker.runtime.clock import SystemClock
from stoker.settings import load
from stoker.testing.fake_engine import FakeEngine, FakeTiming
from stoker.testing.job_store import InMemoryJobStore
from tests.in_a_thread import in_a_thread

CHAT = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    """No settings of the machine's own."""
    for name in [name for name in os.environ if name.startswith("STOKER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    return CliRunner().invoke(main, [*arguments], catch_exceptions=False)


@asynccontextmanager
async def serving():
    timing = FakeTiming(prefill_s_per_token=0.0, decode_s=0.0005)
    engine = FakeEngine(slots=2, natural_tokens=8, timing=timing)
    config = Config(policy=Policy(ramp_s=0.0, p0_linger_s=0.0))
    async with (
        Fabric.assemble(
            config, engine=engine, store=InMemoryJobStore(), clock=SystemClock()
        ) as fabric,
        listening(fabric, port=0) as url,
    ):
        await fabric.wait_ready()
        yield url


@pytest.fixture(scope="module")
def service():
    """A service with a loop of its own: commands block."""
    with in_a_thread(serving()) as url:
        yield url


@pytest.fixture(scope="module")
def job_id(service):
    with SyncClient(service) as client:
        id = client.enqueue_p2(CHAT)
        client.await_job(id)
    return id


@pytest.mark.slow
def test_jobs_are_listed_for_people_and_for_programs(service, job_id):
    table = run("jobs", "list", "--url", service)
    listing = run("jobs", "list", "--json", "--state", "completed", "--url", service)

    assert job_id in table.output
    assert "1 completed" in table.output
    assert [job["job_id"] for job in json.loads(listing.output)["data"]] == [job_id]


@pytest.mark.slow
def test_a_job_is_shown_with_its_result(service, job_id):
    shown = run("jobs", "show", job_id, "--url", service)
    document = run("jobs", "show", job_id, "--json", "--url", service)

    assert "completed" in shown.output
    assert "chat.completion" in shown.output
    assert json.loads(document.output)["result"]["object"] == "chat.completion"


@pytest.mark.slow
def test_the_url_may_come_from_the_environment(service, job_id, monkeypatch):
    monkeypatch.setenv("STOKER_URL", service)

    assert run("jobs", "show", job_id).exit_code == 0


@pytest.mark.slow
def test_a_story_is_told_as_a_timeline(service, job_id):
    story = run("explain", job_id, "--url", service)
    document = run("explain", job_id, "--json", "--url", service)

    first, *rest = story.output.splitlines()
    assert first == f"{job_id} is completed"
    assert "+0.000 s" in story.output
    assert len(rest) >= 3
    assert not any(line.endswith(" ") for line in rest)
    assert json.loads(document.output)["id"] == job_id


@pytest.mark.slow
def test_what_the_service_refuses_is_one_line(service, job_id):
    for arguments in (["cancel", job_id], ["retry", "job_none"], ["show", "job_none"]):
        result = run("jobs", *arguments, "--url", service)

        assert result.exit_code == 1
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1


def test_no_service_is_exit_code_6():
    result = run("jobs", "list", "--url", "http://127.0.0.1:9")

    assert result.exit_code == 6
    assert "no answer from http://127.0.0.1:9" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "99999"], "server.port (--port): '99999'"),
        (["--engine", "nowhere"], "engine.url (--engine): 'nowhere'"),
        (["--host", "0.0.0.0"], "--insecure-bind"),
        (["--config", "none.toml"], "none.toml: cannot be read"),
        (["--kind", "vlm"], "engine.kind (--kind): 'vlm' is not one of vllm"),
    ],
)
def test_a_wrong_setting_is_exit_code_2_before_anything_starts(arguments, said):
    result = run("serve", *arguments)

    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_port_in_use_is_exit_code_3_before_anything_starts(tmp_path):
    with bind("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        result = run("serve", "--port", port, "--data", str(tmp_path / "data"))

    assert result.exit_code == 3
    assert f"port {port} on 127.0.0.1 is in use" in result.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_serve_without_an_engine_says_so_and_serves(tmp_path):
    command = [sys.executable, "-m", "stoker", "serve", "--engine", "http://127.0.0.1:9"]
    options = ["--kind", "openai", "--port", "0", "--data", str(tmp_path / "data")]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        lines = iter(process.stdout.readline, "")
        url = next(lines).split()[-1]
        with SyncClient(url) as client:
            job_id = client.enqueue_p2(CHAT)
            said = next(lines)
            document = client.get_job(job_id)
        process.send_signal(signal.SIGTERM)

    assert "The engine is not ready yet" in said
    assert (document["status"], document["reason"]) == ("available", "engine_down")
    assert process.returncode == 0


def test_a_model_is_a_name_beside_a_url_and_a_file_alone():
    named = flags_of({"model": "qwen", "port": None}, ["http://x"])
    alone = flags_of({"model": "qwen.gguf", "port": "0"})

    assert load(environ={}, flags=named).config.engine.model == "qwen"
    assert load(environ={}, flags=alone).config.engine.gguf.name == "qwen.gguf"
    assert load(environ={}, flags=alone).config.server.port == 0


@pytest.mark.parametrize(("engine", "ends"), [("big", " on big"), ("default", ""), (None, "")])
def test_a_story_names_the_engine_where_there_are_several(engine, ends):
    story = {"id": "req_1", "state": "running", "explanation": None, "entries": []}

    [line] = heading({**story, "engine": engine})

    assert line.plain == f"req_1 is running{ends}"


def test_several_engines_are_named_on_the_command_line():
    flags = flags_of({"model": None}, ["http://x:1", "big=https://y:2/a=b", "small=embedded"])

    config = load(environ={}, flags=flags).config

    assert list(config.all_engines()) == ["default", "big", "small"]
    assert config.engines["big"].url == "https://y:2/a=b"
    assert config.engines["small"].url is None


@pytest.mark.parametrize(
    ("options", "engines", "said"),
    [
        ({}, ["http://x:1", "http://y:1"], "need names: NAME=URL"),
        ({"model": "m"}, ["big=http://x:1"], "engines.NAME.model"),
        ({"kind": "vllm"}, ["big=http://x:1"], "engines.NAME.kind"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(options, engines, said):
    with pytest.raises(ConfigError, match=said):
        flags_of(options, engines)


def test_config_tells_each_value_and_who_set_it(monkeypatch, tmp_path):
    (tmp_path / "stoker.toml").write_text("[server]\nport = 1234\n[engine]\napi_key = 'hunter2'\n")
    monkeypatch.setenv("STOKER_LOG__LEVEL", "debug")

    shown = json.loads(run("config", "--json").output)
    table = run("config")

    assert shown["server.port"] == {"value": 1234, "origin": "stoker.toml:server.port"}
    assert shown["log.level"] == {"value": "debug", "origin": "$STOKER_LOG__LEVEL"}
    assert shown["server.host"]["origin"] == "default"
    assert "hunter2" not in json.dumps(shown) + table.output


def test_version_and_help_need_no_service():
    assert run("version").output == run("--version").output.split()[-1] + "\n"
    assert all(name in run("--help").output for name in ("serve", "jobs", "explain", "config"))


def test_exit_codes_are_distinct():
    codes = [code for _, code in EXIT_CODES]

    assert len(set(codes)) == len(codes)
    assert 0 not in codes
    assert 1 not in codes
