"""`stoker sim`: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import json
import sys

import pytest
from click.testing import CliRunner

from stoker.cli import main
from stoker.sim.checkers import Checkers


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    return CliRunner().invoke(main, ["sim", *arguments], catch_exceptions=False)


def test_the_list_names_scenarios_and_arms():
    result = run("--list")

    assert result.exit_code == 0
    assert "azure-arxiv" in result.output
    assert "naive-newton" in result.output


@pytest.mark.slow
def test_a_run_ends_with_a_report_and_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    result = run("azure-leases", "--minutes", "3", "--out", "found")

    assert result.exit_code == 0, result.output
    assert "P0 first token p50, p95, p99" in result.output
    assert (tmp_path / "found" / "sim-azure-leases-stoker-1.png").stat().st_size > 10_000
    written = json.loads((tmp_path / "found" / "azure-leases-stoker-1.json").read_text())
    assert written["scenario"] == "azure-leases"


@pytest.mark.slow
def test_the_same_command_prints_the_same_report():
    command = ("kv-tight", "--arm", "aimd", "--minutes", "3", "--seed", "4")

    assert run(*command).output == run(*command).output


@pytest.mark.slow
def test_without_matplotlib_one_line_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "stoker.plots", None)
    result = run("kv-tight", "--minutes", "1")

    assert result.exit_code == 0
    assert "pip install 'stoker[plots]'" in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_broken_invariant_prints_how_to_see_it_again(monkeypatch):
    def broken(checkers):
        checkers.violations.append("1.0 s: planted")

    monkeypatch.setattr(Checkers, "close", broken)
    result = run("kv-tight", "--arm", "fixed:8", "--seed", "9", "--minutes", "2")

    assert result.exit_code == 1
    assert "stoker sim kv-tight --arm fixed:8 --seed 9 --minutes 2" in result.output
    assert "planted" in result.output


@pytest.mark.parametrize("arguments", [("nowhere",), ("kv-tight", "--arm", "nobody")])
def test_a_wrong_name_is_wrong_usage(arguments):
    result = run(*arguments)

    assert result.exit_code == 2
    assert "there are" in result.output


def test_an_arm_without_the_core_has_no_events_to_write(tmp_path):
    result = run("kv-tight", "--arm", "aimd", "--events", "events.jsonl")

    assert result.exit_code == 2
    assert "aimd decides without Stoker's core" in result.output
    assert list(tmp_path.iterdir()) == []
