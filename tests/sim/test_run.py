"""Whole runs: one seed is one run, nobody is lost, and the arms differ where they must."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from stoker.core.policy import Policy
from stoker.core.work import Priority
from stoker.sim import stats
from stoker.sim.agents import AgentLoad
from stoker.sim.faults import Crowd, Restart, Silence, Stall
from stoker.sim.host_model import GIB, HostModel
from stoker.sim.lengths import LogNormal
from stoker.sim.profiles import EngineProfile
from stoker.sim.report import Report
from stoker.sim.run import ARMS, Run, run, shortened
from stoker.sim.scenarios import BUILDERS, Scenario, scenario, sweep
from stoker.sim.workload import Background, Interactive, JobKind

BOX = EngineProfile(
    "small", 0.01, 0.004, 0.7, 0.0, 0.0002, requests=32, kv_tokens=12_000, context_tokens=4096
)
JOBS = Background((JobKind("job", LogNormal(300, 120), max_tokens=1000),))
PEOPLE = Interactive(0.3, LogNormal(200, 40), on_s=20.0, off_s=20.0)
SMALL = Scenario(
    "small", "people over jobs", BOX, interactive=PEOPLE, background=JOBS, box_s=240.0,
    warm_up_s=60.0,
)  # fmt: skip
ALL_ARMS = [arm.replace(":N", ":12") for arm in ARMS]


@pytest.mark.slow
@pytest.mark.parametrize("arm", ALL_ARMS)
def test_no_arm_breaks_an_invariant(arm):
    report = run(SMALL, arm)

    assert report.violations == ()
    assert report.people.served > 10
    assert (report.work.output_per_s > 0) == (arm != "p0-alone")


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["stoker", "aimd"])
def test_the_same_seed_is_the_same_run(arm):
    assert run(SMALL, arm, 5) == run(SMALL, arm, 5)
    assert run(SMALL, arm, 5).work != run(SMALL, arm, 6).work


@pytest.mark.slow
def test_a_report_survives_its_json():
    report = run(shortened(SMALL, 1.0))

    assert Report.from_json(report.to_json()) == report


@pytest.mark.slow
def test_stoker_keeps_the_box_clear_for_people_where_a_limit_cannot():
    leased = replace(SMALL, interactive=replace(PEOPLE, has_leases=True))
    alone, stoker, capped = (run(leased, arm).people for arm in ("p0-alone", "stoker", "fixed:16"))

    assert stoker.e2e_p50_s < 1.3 * alone.e2e_p50_s
    assert capped.e2e_p50_s > 2.0 * alone.e2e_p50_s


@pytest.mark.slow
def test_a_promised_first_token_is_kept_on_a_fast_gpu_that_is_never_without_people():
    fast = scenario("h100-people")
    alone = run(fast, "p0-alone").people
    promise = replace(fast, policy=Policy(p0_ttft_slack_s=0.01))
    default, promised = (run(one, "stoker") for one in (fast, promise))

    assert promised.people.ttft_p95_s <= alone.ttft_p95_s + 0.01 < default.people.ttft_p95_s
    assert promised.people.ttft_p99_s <= alone.ttft_p99_s + 0.02 < default.people.ttft_p99_s
    assert 0.0 < promised.work.output_per_s < default.work.output_per_s


@pytest.mark.slow
def test_engine_priority_lets_people_pass_the_queue_inside_the_engine():
    crowded = replace(SMALL, profile=replace(BOX, requests=8))
    first_come, priority = (run(crowded, arm).people for arm in ("everything", "priority"))

    assert priority.ttft_p50_s < 0.2 * first_come.ttft_p50_s


@pytest.mark.slow
def test_a_preempted_job_keeps_its_text():
    report = run(SMALL, "stoker")

    assert report.work.aborts_per_min > 1
    assert report.work.wasted_per_s < 0.2 * report.work.output_per_s


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [Stall(80.0, 10.0), Restart(80.0, 15.0), Silence(80.0, 12.0), Crowd(80.0, 12)],
    ids=lambda fault: type(fault).__name__.lower(),
)
@pytest.mark.parametrize("arm", ["stoker", "fixed:12"])
def test_work_goes_on_after_a_fault_and_nobody_is_lost(arm, fault):
    report = run(replace(SMALL, faults=(fault,)), arm)

    assert report.violations == ()
    assert report.series.output_per_s(200.0, 240.0) > 0.5 * report.work.output_per_s


@pytest.mark.slow
@pytest.mark.parametrize("priority", [Priority.P1, Priority.P2])
@pytest.mark.parametrize("arm", ["stoker", "fixed:6", "concur"])
def test_agents_get_on_under_every_kind_of_arm(arm, priority):
    load = AgentLoad(
        sessions=12, priority=priority, turns=4, system_tokens=300, own_tokens=100, turn_tokens=60,
        output_mean=40, spread_s=5.0,
    )  # fmt: skip
    report = run(replace(SMALL, interactive=None, background=None, agents=load), arm)

    assert report.violations == ()
    assert report.work.finished_per_s > 0.5
    assert report.work.cached_share > 0.5


@pytest.mark.slow
def test_a_limit_on_agents_counts_sessions():
    load = AgentLoad(sessions=12, turns=4, output_mean=40, spread_s=0.0)
    made = Run(replace(SMALL, interactive=None, background=None, agents=load), "fixed:3", 1)
    report = made.report()

    assert max(report.series.resident) <= 3


@pytest.mark.slow
def test_an_engine_may_idle_while_the_only_session_thinks():
    load = AgentLoad(sessions=2, turns=4, output_mean=40, think_mean_s=20.0, spread_s=0.0)
    report = run(replace(SMALL, interactive=None, background=None, agents=load), "fixed:1")

    assert report.violations == ()


@pytest.mark.slow
def test_stoker_stops_before_a_co_tenant_freezes_the_host():
    taken = ((100.0, 12 * GIB), (105.0, 17 * GIB), (160.0, 0))
    host = HostModel(64 * GIB, 40 * GIB, cotenant=taken, kv_token_bytes=400_000)
    report = run(replace(SMALL, interactive=None, host=host), "stoker")

    assert report.freezes == 0
    assert report.violations == ()
    assert report.series.output_per_s(200.0, 240.0) > 0


def test_a_shorter_run_keeps_a_third_for_the_warm_up():
    short = shortened(SMALL, 2.0)

    assert (short.box_s, short.warm_up_s) == (120.0, 40.0)


def test_the_sweep_goes_in_steps_of_about_a_quarter():
    limits = sweep((8, 64))

    assert limits[0] == 8
    assert limits[-1] == 64
    assert all(1.1 < b / a < 1.45 for a, b in itertools.pairwise(limits))


@pytest.mark.parametrize("name", BUILDERS)
def test_every_scenario_says_what_happens_and_measures_after_its_warm_up(name):
    found = scenario(name)

    assert found.name == name
    assert found.description
    assert found.warm_up_s < found.box_s


@pytest.mark.parametrize("arm", ["nobody", "fixed:0", "fixed:many", "aimd:3"])
def test_an_unknown_arm_is_refused_with_the_list(arm):
    with pytest.raises(ValueError, match="there are stoker, guard-only"):
        run(SMALL, arm)


def test_an_unknown_scenario_is_refused_with_the_list():
    with pytest.raises(ValueError, match="azure-arxiv"):
        scenario("nowhere")


def test_the_variation_within_phases_does_not_count_the_change_between_them():
    assert stats.variation_within([[240.0, 240.0], [60.0, 60.0, 60.0]]) == 0.0
    assert stats.variation_within([[1.0, 3.0]]) == stats.variation([1.0, 3.0])
    assert stats.variation_within([[], [0.0, 0.0]]) is None


def test_output_has_to_be_even_only_while_the_box_stays_what_it_is():
    changing = scenario("co-tenant")
    assert changing.host is not None
    moments = [at for at, _ in changing.host.cotenant]

    assert len(changing.steady) == 3
    for start, end in changing.steady:
        assert not any(start <= at < end for at in moments)
    assert SMALL.steady == SMALL.phases
