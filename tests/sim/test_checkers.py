"""The checkers find what is planted."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from stoker.core.limits import Limits
from stoker.core.work import Priority, RequestId, Usage
from stoker.sim.run import Run
from stoker.sim.work import Ended, Segment, SimRequest
from tests.sim.test_run import SMALL

QUIET = replace(SMALL, interactive=None, box_s=40.0, warm_up_s=10.0)


def stranger(output_tokens=10):
    segments = (Segment("stranger", 10),)
    return SimRequest(RequestId("stranger"), Priority.P2, segments, output_tokens)


def flaws_of(made):
    return " | ".join(made.report().violations)


def test_a_quiet_run_has_no_flaws():
    assert Run(QUIET, "stoker", 1).report().violations == ()


def test_a_request_that_is_sent_twice_is_noticed():
    made = Run(QUIET, "fixed:2", 1)
    made.kernel.at(5.0, lambda: made.world.submit(next(iter(made.world.running.values()))))

    assert "was sent to the engine twice" in flaws_of(made)


def test_a_job_that_vanishes_is_noticed():
    made = Run(QUIET, "fixed:2", 1)
    made.kernel.at(5.0, made.world.backlog.take)

    assert "jobs were taken" in flaws_of(made)


def test_an_idle_engine_before_a_full_backlog_is_noticed():
    made = Run(QUIET, "fixed:2", 1)
    made.arm.start = lambda: None

    assert "the engine is idle" in flaws_of(made)


def test_a_ledger_that_differs_from_the_engine_is_noticed():
    made = Run(QUIET, "stoker", 1)
    made.kernel.at(5.0, made.arm.scheduler.state.ledger.running.popitem)

    with suppress(AssertionError, KeyError):  # of the core, which falls over it a little later
        made.report()

    assert any("disagree about who runs" in flaw for flaw in made.checkers.violations)


def test_limits_outside_of_the_capacity_are_noticed():
    made = Run(QUIET, "stoker", 1)
    box = made.arm.scheduler.state.box
    made.kernel.at(5.0, lambda: setattr(box, "limits", Limits(requests_p2=1000)))

    assert "lie outside of" in flaws_of(made)


def test_a_wrong_number_of_tokens_is_noticed():
    made = Run(QUIET, "stoker", 1)
    made.checkers.ended(stranger(10), Ended(1.0, RequestId("stranger"), Usage(10, 7), ()))

    assert made.checkers.violations == ["0.0 s: stranger ended after 7 of 10 tokens"]


def test_a_freeze_under_stoker_is_noticed():
    made = Run(QUIET, "stoker", 1)
    made.world._engine.totals.freezes = 2

    assert "the host froze 2 times" in flaws_of(made)
