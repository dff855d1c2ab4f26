"""What the tables of the simulated evaluation compare, and with what."""

from __future__ import annotations

import pytest

from benchmarks.evaluation_tables import of_oracle, oracle, targets
from stoker.sim.report import Report, Series, Work


def report(scenario: str, arm: str, output_per_s: float, *phases: float) -> Report:
    work = Work(
        output_per_s=output_per_s,
        prompt_per_s=0.0,
        finished_per_s=0.0,
        cv60=None,
        preemptions_per_min=0.0,
        aborts_per_min=0.0,
        wasted_per_s=0.0,
        cached_share=None,
        resident_mean=1.0,
        kv_usage_mean=0.0,
        kv_usage_max=0.0,
        jain=None,
    )
    return Report(
        scenario=scenario,
        arm=arm,
        seed=1,
        box_s=3600.0,
        warm_up_s=0.0,
        work=work,
        phases=phases,
        people=None,
        forecast=None,
        freezes=0,
        host_available_min_bytes=0,
        reasons={},
        violations=(),
        series=Series(),
    )


def test_where_jobs_change_for_good_nobody_wins_with_those_drawn_before():
    results = {
        "priority": [report("flip", "priority", 160.0, 240.0, 64.0)],
        "fixed:8": [report("flip", "fixed:8", 99.0, 160.0, 66.0)],
        "fixed:34": [report("flip", "fixed:34", 129.0, 250.0, 65.0)],
    }

    assert oracle(results) == "fixed:34"
    assert of_oracle(results, "priority") == pytest.approx((240 * 64 / (250 * 65)) ** 0.5)


def test_everywhere_else_all_output_counts():
    results = {
        "priority": [report("arxiv", "priority", 300.0, 300.0)],
        "fixed:8": [report("arxiv", "fixed:8", 200.0, 200.0)],
    }

    assert of_oracle(results, "priority") == pytest.approx(1.5)


def test_beside_a_ratio_to_a_rule_stands_what_it_can_be_at_most():
    results = {
        "stoker": [report("agents", "stoker", 110.0, 110.0)],
        "aimd": [report("agents", "aimd", 100.0, 100.0)],
        "gradient2": [report("agents", "gradient2", 50.0, 50.0)],
        "fixed:8": [report("agents", "fixed:8", 120.0, 120.0)],
    }

    told = {one.measure: one for one in targets({"agents": results}, {})}

    assert told["output / aimd"].value == pytest.approx(1.1)
    assert told["output / aimd"].note == "best fixed: 1.20"
    assert told["output / gradient2"].note == "best fixed: 2.40"
