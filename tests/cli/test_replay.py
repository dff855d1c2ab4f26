"""`stoker replay`: what it prints, and how it ends."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from stoker.cli import main
from tests.recordings import record


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    path = tmp_path_factory.mktemp("recorded") / "events.jsonl"
    record(path)
    return path


def run(*arguments):
    return CliRunner().invoke(main, ["replay", *map(str, arguments)], catch_exceptions=False)


def test_the_same_decisions_end_with_0_and_one_line(recorded):
    result = run(recorded)

    assert result.exit_code == 0
    [line] = result.output.splitlines()
    assert line.startswith("steps 2")
    assert line.endswith("differing 0")


def test_other_decisions_end_with_1_and_a_short_table(recorded):
    result = run(recorded, "--policy", "growth=0.05", "--policy", "samples_min=20")

    assert result.exit_code == 1
    head, *rows, summary, caveat = result.output.splitlines()
    assert head.split() == ["at", "of", "recorded", "replayed"]
    assert rows[0].split()[1:3] == ["s", "p2"]
    assert len(rows) <= 21
    assert "; largest difference " in summary
    assert "no longer react" in caveat


def test_programs_get_every_difference(recorded):
    result = run(recorded, "--policy", "growth=0.05", "--json")

    assert result.exit_code == 1
    document = json.loads(result.output)
    assert document["equal"] + document["differing"] == document["steps"]
    assert document["policy"] == {"growth": 0.05}
    assert document["largest"] in document["differences"]
    assert set(document["differences"][0]) == {"at", "of", "recorded", "replayed", "places"}


def test_what_could_not_be_replayed_is_noted(recorded, tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"hello\n" + recorded.read_bytes())

    result = run(path)

    assert result.exit_code == 0
    assert result.output.startswith("Note: lines that are no events: 1, line 1 of events.jsonl")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        (b"", "it has no step to replay"),
        (b'{"seq":1,"kind":"EngineUp","at":1.0,"fields":{}}\n', "it has no step to replay"),
        (b'{"seq":1,"kind":"Eng', "it has no step to replay; line 1 of events.jsonl is cut short"),
        (b"\x00\x01\n\x02\n", "lines that are no events: 2, line 1 of events.jsonl first"),
    ],
)
def test_a_file_without_steps_ends_with_4_and_one_line(tmp_path, content, words):
    path = tmp_path / "events.jsonl"
    if content is not None:
        path.write_bytes(content)

    result = run(path)

    assert result.exit_code == 4
    [line] = result.stderr.splitlines()
    assert line.startswith(f"Error: {path}: ")
    assert words in line


def test_a_folder_is_no_recording(tmp_path):
    result = run(tmp_path)

    assert result.exit_code == 4
    assert len(result.stderr.splitlines()) == 1


def test_a_number_that_is_none_is_wrong_usage(recorded):
    result = run(recorded, "--policy", "speed=3")

    assert result.exit_code == 2
    assert "'speed' is no number of the optimizer" in result.output
