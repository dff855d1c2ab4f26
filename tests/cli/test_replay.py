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


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    path = tmp_path_factory.mktemp("full") / "events.jsonl"
    record(path, seconds=20.0, is_full=True)
    return path


def test_of_a_full_log_the_scheduler_is_replayed_too(full):
    result = run(full)

    assert result.exit_code == 0
    steps, events = result.output.splitlines()
    assert steps.startswith("steps ")
    assert events.startswith("events ")
    assert "differing 0; windows " in events


def test_other_orders_end_with_1_and_show_both_sides(full):
    result = run(full, "--policy", "prefill_debt_steps=0.01")

    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[0].endswith(" differing 0")
    assert "  Arrived (seq " in lines[1]
    assert lines[2].split() == ["recorded:", "Dispatch", lines[2].split()[-1]]
    assert lines[3].split() == ["replayed:", "nothing"]
    assert "no longer reacts" in lines[-1]


def test_programs_get_the_orders_too(full):
    result = run(full, "--policy", "prefill_debt_steps=0.01", "--json")

    document = json.loads(result.output)
    assert document["differing"] == 0
    scheduler = document["scheduler"]
    assert scheduler["equal"] + scheduler["differing"] == scheduler["events"]
    assert scheduler["first"][0]["recorded"][0]["kind"] == "Dispatch"


def test_the_optimizer_alone_can_be_asked_for(full):
    result = run(full, "--optimizer-only")

    assert result.exit_code == 0
    assert len(result.output.splitlines()) == 1


def test_a_number_of_the_scheduler_needs_a_full_log(recorded):
    result = run(recorded, "--policy", "ramp_s=1")

    assert result.exit_code == 4
    assert "no scheduler can be replayed from it, and ramp_s is of no other" in result.stderr


def test_a_full_log_without_its_beginning_is_replayed_as_far_as_it_goes(full, tmp_path):
    lines = full.read_bytes().splitlines(keepends=True)
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(lines[1:]))

    result = run(path)

    assert result.exit_code == 0
    assert "Note: the scheduler is not replayed: it has no SchedulerBegan" in result.stderr


@pytest.mark.slow
def test_the_ceilings_are_drawn(recorded, tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "replay.png"

    result = run(recorded, "--policy", "growth=0.05", "--plot", picture)

    assert result.exit_code == 1
    assert picture.stat().st_size > 10_000


@pytest.mark.slow
def test_a_simulated_run_is_replayed_to_the_same_decisions(tmp_path):
    path = tmp_path / "sim.jsonl"
    simulated = CliRunner().invoke(
        main,
        ["sim", "azure-leases", "--minutes", "2", "--events", str(path), "--out", str(tmp_path)],
        catch_exceptions=False,
    )
    assert simulated.exit_code == 0, simulated.output

    same, other = run(path), run(path, "--policy", "prefill_debt_steps=1")

    assert same.exit_code == 0, same.output
    assert [line.split(", ")[0].split()[0] for line in same.output.splitlines()] == [
        "steps",
        "events",
    ]
    assert other.exit_code == 1
