"""Events as lines for people, and the counts of preempted and resumed jobs."""

from __future__ import annotations

import pytest
from rich.text import Text

from stoker.core.work import JobId
from stoker.demo.journal import Journal
from stoker.demo.notes import NOTES_MAX, Notes


@pytest.fixture
def journal():
    return Journal(jobs={JobId("job_1"): "csv [rfc]"})


@pytest.fixture
def notes(journal):
    return Notes(journal)


def arrived(kept, id="job_1"):
    return {"kind": "Arrived", "at": 2.0, "request": {"id": id, "resumed_tokens": kept}}


def preempt(tokens, cause="LeaseGranted"):
    return {"kind": "Preempt", "at": 1.0, "id": "job_1", "cause": cause, "tokens": tokens}


def left(outcome):
    return {"kind": "Left", "at": 3.0, "id": "job_1", "outcome": outcome}


def texts(notes):
    return [Text.from_markup(line).plain for _, line in notes.lines]


def test_a_preempted_job_that_comes_back_with_its_text_is_told_and_counted(notes, journal):
    for event in (arrived(0), preempt(7), left("preempted"), arrived(7), left("finished")):
        notes.take(event)

    assert (journal.preempted, journal.resumed) == (1, 1)
    assert texts(notes) == [
        "preempted csv [rfc], 7 tokens kept: a P0 lease was taken",
        "resumed csv [rfc] with 7 tokens kept",
    ]


def test_what_an_earlier_run_wrote_counts_as_kept_again(notes):
    for event in (preempt(7), left("preempted"), arrived(7), preempt(4), left("preempted")):
        notes.take(event)

    assert texts(notes)[-1] == "preempted csv [rfc], 11 tokens kept: a P0 lease was taken"


def test_a_job_without_text_starts_again_and_is_not_called_resumed(notes, journal):
    for event in (preempt(0, "Arrived"), left("preempted"), arrived(0), left("finished")):
        notes.take(event)

    assert (journal.preempted, journal.resumed) == (1, 0)
    assert texts(notes) == ["preempted csv [rfc], nothing written yet: a P0 request came"]


def test_going_back_unsent_is_no_preemption_and_undoes_the_return(notes, journal):
    sent_back = [preempt(None), arrived(7), left("preempted")]  # in the log, causes come last
    for event in (preempt(7), left("preempted"), *sent_back):
        notes.take(event)
    assert (journal.preempted, journal.resumed) == (1, 0)
    assert [text.split()[0] for text in texts(notes)] == ["preempted"]

    for event in (arrived(7), left("finished")):
        notes.take(event)
    assert (journal.preempted, journal.resumed) == (1, 1)


def test_what_tells_nobody_anything_leaves_no_line(notes):
    for kind in ("HostSampled", "EngineSampled", "JobsClaimed", "SomethingNew"):
        notes.take({"kind": kind, "at": 0.0})

    assert texts(notes) == []


def test_only_the_newest_notes_are_kept(notes):
    for second in range(NOTES_MAX + 5):
        notes.take({"kind": "LeaseGranted", "at": float(second), "expires_at": second + 30.0})

    assert len(notes.lines) == NOTES_MAX
    assert notes.lines[-1] == (NOTES_MAX + 4.0, "[magenta]lease[/] granted for 30 s")
