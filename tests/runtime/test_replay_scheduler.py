"""The scheduler run again over a full log: the same orders, or where they differ, and why not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stoker.core.actions import Dispatch
from stoker.core.errors import CannotReplay
from stoker.runtime.event_file import read_events
from stoker.runtime.recorder import LoggedEvent
from stoker.runtime.replay import replay
from stoker.runtime.replay_numbers import numbers_of
from stoker.runtime.replay_scheduler import replay_scheduler
from tests.recordings import record


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    path = tmp_path_factory.mktemp("recorded") / "events.jsonl"
    record(path, seconds=30.0, is_full=True)
    return path


@pytest.fixture
def events(recorded):
    return list(read_events(recorded))


def first_of(events, kind):
    return next(index for index, event in enumerate(events) if event.kind == kind)


def without(events, index):
    """As if that line had never been: those after it move up."""
    rest = [replace(event, seq=event.seq - 1) for event in events[index + 1 :]]
    return [*events[:index], *rest]


def test_what_a_service_was_told_is_answered_with_the_same_orders_and_windows(events):
    found = replay_scheduler(events)

    assert found.is_same
    assert (found.starts, found.differing, found.notes) == (1, 0, ())
    assert found.orders["Dispatch"][0] == found.orders["Dispatch"][1] > 20
    assert found.windows >= 10
    assert found.events > 300


def test_the_optimizer_of_a_full_log_is_replayed_as_ever(events):
    assert replay(events).differing == 0


def test_another_number_shows_the_first_orders_that_differ(events):
    found = replay_scheduler(events, numbers_of(["prefill_debt_steps=0.01"]))

    assert not found.is_same
    assert 0 < found.differing < found.events
    first = found.first[0]
    assert first.event == "Arrived"
    assert [type(order) for order in first.recorded] == [Dispatch]
    assert first.replayed == ()
    assert found.windows_differing > 0


def test_an_order_that_was_not_recorded_is_the_one_difference(events):
    index = first_of(events, "Dispatch")

    found = replay_scheduler(without(events, index))

    assert (found.differing, found.windows_differing) == (1, 0)
    assert found.first[0].replayed == (
        Dispatch(events[index].fields["id"], events[index].fields["cause"]),
    )
    assert found.orders["Dispatch"][1] == found.orders["Dispatch"][0] + 1


def test_a_fact_that_today_cannot_be_borne_is_a_difference_and_ends_the_replay(events):
    index = first_of(events, "Arrived")
    later = [replace(event, seq=event.seq + 1) for event in events[index:]]

    found = replay_scheduler([*events[: index + 1], *later])  # the same request comes twice

    last = found.first[-1]
    assert "AssertionError" in last.error
    assert (last.seq, last.replayed) == (events[index].seq + 1, ())
    assert found.events <= 10


def test_a_log_of_decisions_alone_has_no_scheduler_to_replay(tmp_path):
    path = tmp_path / "events.jsonl"
    record(path, seconds=6.0)

    assert replay_scheduler(read_events(path)) is None


def test_a_full_log_that_has_lost_its_beginning_says_so(events):
    with pytest.raises(CannotReplay, match=r"no SchedulerBegan; events without .* left out: \d"):
        replay_scheduler(events[first_of(events, "SchedulerBegan") + 1 :])


@pytest.mark.parametrize("is_told", [False, True])
def test_after_lost_events_it_waits_for_the_next_beginning(events, is_told):
    index = first_of(events, "Left")
    marker = LoggedEvent(events[index + 1].seq, "EventsLost", 0.0, {"count": 1})

    found = replay_scheduler(
        [*events[:index], *([marker] if is_told else []), *events[index + 1 :], *events]
    )

    assert found.is_same
    assert found.starts == 2
    assert any(note.startswith("gaps in seq: 1") for note in found.notes)
    assert any("events without their SchedulerBegan, left out" in note for note in found.notes)


def test_lost_frequent_events_leave_no_gap_but_are_told(events):
    index = first_of(events, "FirstToken")
    marker = LoggedEvent(events[index + 1].seq, "EventsLost", 0.0, {"count": 1})

    found = replay_scheduler([*events[:index], marker, *events[index + 1 :]])

    assert found.events < len(events)
    assert found.notes[0] == "events that could not be written when they came: 1"


def test_an_event_that_cannot_be_read_stops_it(events):
    index = first_of(events, "Left")
    events[index] = replace(events[index], fields={"at": "noon"})

    found = replay_scheduler(events)

    assert found.is_same
    assert any("events that cannot be read: 1 (the first: Left" in note for note in found.notes)


def test_a_warm_start_is_replayed_with_what_had_been_learned(tmp_path):
    path, learned = tmp_path / "events.jsonl", tmp_path / "learned.json"
    record(path, seconds=20.0, is_full=True, learned=learned)
    record(path, seconds=20.0, is_full=True, learned=learned)

    kinds = [event.kind for event in read_events(path)]
    found = replay_scheduler(read_events(path))

    assert kinds.count("ServiceRestored") == 1
    assert (found.starts, found.is_same) == (2, True)


def test_a_warm_start_that_is_missing_shows_in_the_windows(tmp_path):
    path, learned = tmp_path / "events.jsonl", tmp_path / "learned.json"
    record(path, seconds=20.0, learned=learned)
    path.unlink()
    record(path, seconds=20.0, is_full=True, learned=learned)
    events = list(read_events(path))

    found = replay_scheduler(without(events, first_of(events, "ServiceRestored")))

    assert found.windows_differing > 0
