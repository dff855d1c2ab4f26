"""What is read from the event log, a part at a time."""

from __future__ import annotations

from stoker.core.actions import Preempt
from stoker.history.happenings import Happenings
from stoker.runtime.event_codec import fields_of
from stoker.runtime.recorder import EventLog


def test_a_long_log_is_read_in_parts_and_nothing_of_it_is_lost():
    log = EventLog()
    happenings = Happenings(log, "default")
    for number in range(1_200):
        log.record("JobsRescued", float(number), {"count": number})

    has_more = [happenings.read_some(1_000.0) for _ in range(4)]

    assert has_more == [True, True, False, False]
    assert [one.fields["count"] for one in happenings.take()] == list(range(1_200))


def test_more_than_can_be_read_at_a_look_is_passed_over_oldest_first():
    log = EventLog(size=20_000)
    happenings = Happenings(log, "default")
    for number in range(12_000):
        log.record("JobsRescued", float(number), {"count": number})

    while happenings.read_some(0.0):
        pass

    assert [one.fields["count"] for one in happenings.take()] == list(range(2_000, 12_000))


def test_what_began_in_one_part_is_known_in_the_next():
    log = EventLog()
    happenings = Happenings(log, "default")
    log.record("Dispatch", 1.0, {"id": "req_1"})
    for number in range(600):
        log.record("Dispatch", 2.0, {"id": f"req_a{number}"})
    log.record("Preempt", 3.0, fields_of(Preempt("req_1", "LeaseGranted")))

    while happenings.read_some(0.0):
        pass

    happenings._end_bursts()
    assert [(one.kind, one.fields["ids"]) for one in happenings.take()] == [
        ("preempted", ["req_1"])
    ]
