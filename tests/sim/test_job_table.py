"""The job store in virtual time."""

from __future__ import annotations

from stoker.sim.arms.job_table import ROWS, JobTable
from stoker.sim.kernel import Kernel
from stoker.sim.lengths import LogNormal
from stoker.sim.workload import Background, Backlog, JobKind

SHAPE = LogNormal(100, 10)


def table(*families):
    kinds = tuple(JobKind(family, SHAPE) for family in families)
    backlog = Backlog(Background(kinds), Kernel(1))
    return JobTable(backlog), backlog


def test_jobs_are_claimed_in_the_order_in_which_they_were_handed_in():
    jobs, _ = table("a")

    assert [row.place for row in jobs.claim(2, "")] == [0, 1]
    assert [row.place for row in jobs.claim(1, "a")] == [2]


def test_a_job_that_went_back_comes_first_and_keeps_its_text():
    jobs, _ = table("a")
    first, _second = jobs.claim(2, "")
    jobs.give_back(first.request, 7)

    again, new = jobs.claim(2, "")

    assert (again.place, again.kept_tokens) == (0, 7)
    assert (new.place, new.kept_tokens) == (2, 0)


def test_the_family_that_is_asked_for_goes_before_older_jobs():
    jobs, _ = table("a", "b")

    rows = jobs.claim(5, "b")

    assert {row.request.family for row in rows} == {"b"}
    assert jobs.claim(1, "")[0].request.family == "a"


def test_the_oldest_fill_what_the_family_leaves():
    jobs, _ = table("a", "b")
    everything = jobs.claim(ROWS, "")
    of_a, of_b = (
        [row.place for row in everything if row.request.family == family] for family in "ab"
    )
    jobs, _ = table("a", "b")

    rows = jobs.claim(len(of_b) + 3, "b")

    assert [row.place for row in rows] == sorted([*of_b, *of_a[:3]])


def test_jobs_of_one_family_are_drawn_only_when_they_start():
    one, one_backlog = table("a")
    two, two_backlog = table("a", "b")
    one.claim(1, "")
    two.claim(1, "")

    assert one_backlog.taken == 1
    assert two_backlog.taken == ROWS


def test_a_table_without_a_backlog_has_only_what_went_back():
    jobs = JobTable(None)

    assert jobs.claim(3, "") == []
    assert len(jobs) == 0
