"""From what the clients saw to the table and its ratios."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from stoker.core.work import JobId
from stoker.demo.closing import closing, how_to_call
from stoker.demo.journal import Answer, Group, Journal
from stoker.demo.report import Condition, Spread, report, spread
from stoker.demo.words import number, seconds, times


def an_answer(group, ttft_s=None, e2e_s=1.0, **fields):
    return Answer(group, ttft_s, e2e_s, **{"prompt_tokens": 30, "output_tokens": 10, **fields})


def a_journal():
    """P0 alone takes 100 to 119 ms; a lease doubles it, an agent makes it ten times as much."""
    journal = Journal(alone_s=4.0, mixed_s=10.0, preempted=3, resumed=2)
    journal.answers += [an_answer(Group.ALONE, 0.1 + i / 1000) for i in range(20)]
    journal.answers += [an_answer(Group.LEASED, 0.236)] * 5
    journal.answers += [an_answer(Group.LEASED, 1.18, is_beside_agent=True)] * 2
    journal.answers += [an_answer(Group.AGENTS, 0.5)] * 4
    journal.answers += [an_answer(Group.DOCUMENTS, prompt_tokens=300)] * 6
    journal.jobs = {JobId(f"job_{i}"): f"doc {i}" for i in range(8)}
    journal.refused[Group.AGENTS] = 1
    journal.cut_off[Group.AGENTS] = 2
    return journal


def printed(journal, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(closing(report(journal)))
    return console.file.getvalue()


def test_percentiles_are_ranks_of_what_was_measured():
    assert spread([]) is None
    assert spread([None, None]) is None
    assert spread([0.3]) == Spread(0.3, 0.3)
    assert spread([None, *(i / 100 for i in range(101))]) == Spread(0.5, 0.95)


def test_each_group_has_its_own_row_over_its_own_time():
    rows = {row.group: row for row in report(a_journal()).rows}

    assert list(rows) == list(Group)
    assert rows[Group.ALONE].completed == 20
    assert rows[Group.ALONE].written_per_s == pytest.approx(20 * 10 / 4.0)
    assert rows[Group.AGENTS].read_per_s == pytest.approx(4 * 30 / 10.0)
    assert rows[Group.AGENTS].refused == 1
    assert rows[Group.AGENTS].preempted is None
    documents = rows[Group.DOCUMENTS]
    assert documents.read_per_s == pytest.approx(6 * 300 / 10.0)
    assert (documents.ttft, documents.e2e) == (None, None)
    assert (documents.preempted, documents.resumed) == (3, 2)
    assert rows[Group.UNLEASED].ttft is None


def test_ratios_are_against_p0_alone_and_an_agents_share_is_told_apart():
    ratios = {ratio.condition: ratio for ratio in report(a_journal()).ratios}

    assert list(ratios) == [Condition.ALONE, Condition.LEASED, Condition.LEASED_BESIDE_AGENT]
    assert ratios[Condition.ALONE].times == 1.0
    assert ratios[Condition.LEASED].times == pytest.approx(2.0)
    assert ratios[Condition.LEASED_BESIDE_AGENT].times == pytest.approx(10.0)
    assert [ratio.count for ratio in ratios.values()] == [20, 5, 2]


def test_without_a_reference_there_is_no_ratio():
    journal = Journal(answers=[an_answer(Group.LEASED, 0.2)])

    assert report(journal).ratios == ()
    assert "there is no ratio" in printed(journal)


def test_success_is_a_completed_job_and_no_failure():
    journal = a_journal()
    assert report(journal).is_success
    assert (report(journal).jobs_done, report(journal).jobs_left) == (6, 2)

    journal.failures.append("P1 agents: [boom]")
    assert not report(journal).is_success
    assert "P1 agents: [boom]" in printed(journal)
    assert not report(Journal()).is_success
    assert "No job was completed" in printed(Journal())


def test_the_end_fits_80_columns_and_has_the_measured_numbers():
    text = printed(a_journal())

    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text
    cells = {
        line.split("│")[1].strip(): line.split("│")[2:-1]
        for line in text.splitlines()[3:]
        if "│" in line
    }
    assert [cell.strip() for cell in cells["TTFT p95"]] == ["118 ms", "1.18 s", "–", "500 ms", "–"]
    assert [cell.strip() for cell in cells["completed"]] == ["20", "7", "0", "4", "6"]
    assert [cell.strip() for cell in cells["preempted"]] == ["–", "–", "–", "–", "3"]
    assert "under a lease, backlog waiting               236 ms  2.00×  n = 5" in text
    assert "6 of 8 documents done, 2 left" in text
    assert "2 answers were still being written" in text


def test_numbers_are_written_for_people():
    assert [seconds(value) for value in (None, 0.0123, 0.9996, 1.239, 31.4)] == [
        "",
        "12 ms",
        "1.00 s",
        "1.24 s",
        "31 s",
    ]
    assert [number(value) for value in (0, 3, 1.25, 9.96, 1234.6)] == [
        "0",
        "3",
        "1.2",
        "10",
        "1,235",
    ]
    assert [times(value) for value in (1.0, 9.994, 12.3)] == ["1.00×", "9.99×", "12×"]


def test_the_calls_name_the_service_and_the_model():
    text = how_to_call("http://127.0.0.1:5", "a-model")

    assert "curl http://127.0.0.1:5/v1/p0" in text
    assert 'base_url="http://127.0.0.1:5/v1"' in text
    assert 'model="a-model"' in text
    assert 'service_tier="priority"' in text
