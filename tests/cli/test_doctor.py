"""`stoker doctor` against a service, an engine, and nothing at all."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import pytest
from click.testing import CliRunner

from stoker.api.serve import listening
from stoker.cli import main
from stoker.config import Config
from stoker.fabric import Fabric
from stoker.runtime.clock import SystemClock
from stoker.testing.fake_engine import FakeEngine
from stoker.testing.job_store import InMemoryJobStore
from tests.in_a_thread import in_a_thread

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    # Nobody listens there, whatever runs on this machine.
    monkeypatch.delenv("STOKER_URL", raising=False)


def run(*arguments):
    return CliRunner().invoke(main, ["doctor", *arguments], catch_exceptions=False)


def findings(result):
    return {one["id"]: one for one in json.loads(result.output)["findings"]}


@asynccontextmanager
async def serving():
    engine, store = FakeEngine(), InMemoryJobStore()
    async with (
        Fabric.assemble(Config(), engine=engine, store=store, clock=SystemClock()) as fabric,
        listening(fabric, port=0) as url,
    ):
        await fabric.wait_ready()
        yield url


@pytest.fixture
def service():
    """A service with a loop of its own: the command blocks."""
    with in_a_thread(serving()) as url:
        yield url


def test_an_engine_and_a_service_that_are_named_and_away_are_problems():
    result = run("--engine", "http://127.0.0.1:9", "--url", "http://127.0.0.1:9", "--json")

    assert result.exit_code == 2
    found = findings(result)
    assert found["engine_unreachable"]["severity"] == "problem"
    assert found["service_unreachable"]["severity"] == "problem"
    assert "127.0.0.1:9" in found["engine_unreachable"]["measured"]


def test_a_running_service_tells_about_itself_and_its_engine(service):
    result = run("--url", service, "--json")

    document = json.loads(result.output)
    assert "service_unreachable" not in findings(result)
    assert [one["kind"] for one in document["facts"]["engines"]] == ["fake"]
    assert document["facts"]["service"]["guard_level"] == "ok"
    assert len(document["checked"]) > 30


def test_a_service_is_looked_at_as_an_engine_too(service):
    """It speaks OpenAI: a doctor that is pointed at it finds an engine that completes."""
    document = json.loads(run("--engine", service, "--json", "--kind", "openai").output)

    [engine] = document["facts"]["engines"]
    assert engine["probe_s"] is not None
    assert engine["cause"] is None


def test_for_people_each_finding_has_its_figure_and_what_to_do():
    result = run("--engine", "http://127.0.0.1:9")

    assert "PROBLEM default  An engine does not answer.  engine_unreachable" in result.output
    assert "→ start it" in result.output
    assert "rules had nothing to say" in result.output
