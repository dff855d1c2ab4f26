"""The replay: the same decisions from the same recording, and what it says where it cannot know."""

from __future__ import annotations

import json

import pytest

from stoker.core.climb import ClimbPolicy
from stoker.core.errors import CannotReplay
from stoker.core.optimizer import OptimizerPolicy
from stoker.runtime.event_file import BrokenLine, read_events
from stoker.runtime.recorder import LoggedEvent
from stoker.runtime.replay import replay
from stoker.runtime.replay_numbers import changed, numbers_of
from tests.recordings import record


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    path = tmp_path_factory.mktemp("recorded") / "events.jsonl"
    record(path)
    return path


@pytest.fixture
def events(recorded):
    return list(read_events(recorded))


def places(events, kind):
    return [index for index, event in enumerate(events) if event.kind == kind]


def test_what_a_service_recorded_is_replayed_to_the_same_decisions(events):
    found = replay(events)

    assert (found.steps, found.starts) == (len(places(events, "OptimizerStepped")), 1)
    assert found.steps >= 20
    assert found.differences == ()
    assert found.notes == ()
    assert found.largest is None


def test_other_numbers_show_where_the_ceilings_would_have_been_otherwise(events):
    found = replay(events, numbers_of(["growth=0.05"]))

    assert 0 < found.differing < found.steps
    first = found.differences[0]
    assert first.of in {"p2", "tokens"}
    assert all(
        one.replayed.ceiling < one.recorded.ceiling
        for one in found.differences[:6]
        if one.of == "p2"
    )
    assert found.largest.places == max(one.places for one in found.differences) > 0


def test_a_latency_target_moves_the_ceiling_of_its_class_alone(events):
    found = replay(events, {"p0_itl_target_s": 0.2})

    assert {one.of for one in found.differences} == {"p0"}
    assert found.largest.of == "p0"


def test_a_recording_of_two_lives_is_replayed_in_both(tmp_path):
    path = tmp_path / "events.jsonl"
    record(path, seconds=12.0)
    record(path, seconds=12.0)

    found = replay(read_events(path))

    assert found.starts == 2
    assert (found.differences, found.notes) == ((), ())


def test_the_file_before_is_read_first(recorded, tmp_path):
    lines = recorded.read_bytes().splitlines(keepends=True)
    half = len(lines) // 2
    (tmp_path / "events.jsonl.1").write_bytes(b"".join(lines[:half]))
    (tmp_path / "events.jsonl").write_bytes(b"".join(lines[half:]))

    entries = list(read_events(tmp_path / "events.jsonl"))

    assert entries == list(read_events(recorded))


def test_a_file_that_turned_over_too_often_has_lost_its_beginning_and_says_so(tmp_path):
    path = tmp_path / "events.jsonl"
    record(path, seconds=30.0, max_bytes=15_000)

    with pytest.raises(CannotReplay, match=r"steps without their OptimizerBegan, left out: \d"):
        replay(read_events(path))


def test_the_steps_are_replayed_from_their_own_file_when_the_log_has_turned_over(tmp_path):
    path, steps = tmp_path / "events.jsonl", tmp_path / "optimizer.jsonl"
    for _ in range(2):
        record(path, seconds=30.0, max_bytes=15_000, steps=steps)

    found = replay(read_events(steps))

    assert (found.starts, found.differences, found.notes) == (2, (), ())
    assert found.steps >= 20


def test_a_last_line_that_is_cut_short_is_left_out(recorded, tmp_path):
    path = tmp_path / "events.jsonl"
    whole = recorded.read_bytes()
    last_step = whole.rindex(b'{"seq":', 0, whole.rindex(b'"kind":"OptimizerStepped"'))
    path.write_bytes(whole[: last_step + 200])

    *read, cut = read_events(path)
    found = replay([*read, cut])

    assert isinstance(cut, BrokenLine)
    assert found.steps == len(places(read, "OptimizerStepped"))
    assert found.notes == (f"line {len(read) + 1} of events.jsonl is cut short",)


def test_foreign_lines_are_counted_and_the_replay_goes_on(recorded, tmp_path):
    path = tmp_path / "events.jsonl"
    foreign = b'hello\n\n{"level":"info"}\n\xff\xfe\n[1]\n'
    path.write_bytes(foreign + recorded.read_bytes())

    found = replay(read_events(path))

    assert found.steps >= 20
    assert found.differences == ()
    assert found.notes == ("lines that are no events: 5, line 1 of events.jsonl first",)


def test_after_lost_events_it_waits_for_the_next_beginning(events):
    [began] = places(events, "OptimizerBegan")
    steps = places(events, "OptimizerStepped")
    lost = steps[4]
    again = events[began:]

    # A second life follows the damaged first one.
    found = replay([*events[:lost], *events[lost + 1 :], *again])

    assert found.starts == 2
    assert found.steps == 4 + len(steps)
    assert found.differences == ()
    seq = events[lost].seq
    assert found.notes == (
        f"gaps in seq: 1 (the first: {seq} to {seq}); "
        "after one, the replay goes on from the next OptimizerBegan",
        f"steps without their OptimizerBegan, left out: {len(steps) - 5}",
    )


def test_without_a_beginning_there_is_nothing_to_replay(events):
    rest = events[places(events, "OptimizerBegan")[0] + 1 :]

    with pytest.raises(CannotReplay, match="no step to replay; steps without their Optimizer"):
        replay(rest)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "KeyError('window')"),
        ({"window": {"at": "noon"}, "step": {}}, "ValidationError"),
        ({"window": None, "step": None}, "ValidationError"),
    ],
)
def test_a_step_that_cannot_be_read_stops_the_replay_until_the_next_beginning(
    events, fields, words
):
    bad = places(events, "OptimizerStepped")[3]
    event = events[bad]
    events[bad] = LoggedEvent(event.seq, event.kind, event.at, fields)

    found = replay(events)

    assert found.steps == 3
    [note] = [note for note in found.notes if note.startswith("events that cannot be read: 1 ")]
    assert words in note


def test_events_of_unknown_kinds_are_named_and_left_out(events):
    last = events[-1].seq
    later = [
        LoggedEvent(last + 1, "EngineSang", 1.0, {}),
        LoggedEvent(last + 2, "Arrived", 2.0, {}),
    ]

    found = replay([*events, *later])

    assert found.notes == ("events of unknown kinds, left out: 1 (EngineSang)",)
    assert found.differences == ()


def test_a_step_that_fails_now_differs_from_one_that_did_not(events):
    found = replay(events, {"step_every": 0})  # it divides by this

    failed = [one for one in found.differences if one.replayed.reason == "failed"]
    assert failed
    assert {one.of for one in failed} <= {"p1", "p2"}


def test_a_step_that_failed_then_and_does_not_now_differs(events):
    steps = places(events, "OptimizerStepped")
    event = events[steps[-1]]
    fields = {"window": event.fields["window"], "error": "ZeroDivisionError()"}
    events[steps[-1]] = LoggedEvent(event.seq, "OptimizerFailed", event.at, fields)

    found = replay(events)

    assert found.differing == 1
    assert {one.recorded.reason for one in found.differences} >= {"failed"}


def test_numbers_go_to_the_optimizer_or_to_its_climbers():
    numbers = numbers_of(["p1_itl_target_s=0.4", "start=3", "has_dither=false"])

    policy = changed(OptimizerPolicy(), numbers)

    assert policy == OptimizerPolicy(
        climb=ClimbPolicy(start=3, has_dither=False), p1_itl_target_s=0.4
    )


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("speed=1", "'speed' is no number of the optimizer or the scheduler; there are p0_"),
        ("climb=1", "'climb' is no number"),
        ("start", "start: '' is not of type int"),
        ("start=few", "start: 'few' is not of type int"),
        ("growth=nan", "growth: 'nan' is not finite"),
        ("start=0", "nothing can start with these numbers"),
    ],
)
def test_a_number_that_cannot_be_used_is_refused(setting, words):
    with pytest.raises(ValueError, match=words):
        numbers_of([setting])


def test_no_prompt_and_no_answer_is_in_the_file(recorded):
    text = recorded.read_text()

    assert json.loads(text.splitlines()[0])["seq"] == 1
    assert "a few words" not in text
