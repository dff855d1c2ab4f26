"""The tables of the real evaluation."""

from __future__ import annotations

from pathlib import Path

from benchmarks.real.p0 import arms_for, compare_to_alone
from benchmarks.real.report import Report, markdown, read_rows, shown, side_by_side, write_csv


def test_a_table_has_every_column_that_any_row_has() -> None:
    table = markdown([{"arm": "a", "x_s": 0.12345}, {"arm": "b", "y": None}])

    assert table == "| arm | x_s | y |\n|---|--:|--:|\n| a | 0.123 | – |\n| b | – | – |"


def test_numbers_are_shown_with_the_digits_that_mean_something() -> None:
    assert [shown(value) for value in (3040.4, 0.0361, 12.0, None, "cut")] == [
        "3,040",
        "0.0361",
        "12",
        "–",
        "cut",
    ]


def test_a_csv_reads_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"

    write_csv(
        path,
        [{"arm": "N=4", "n": 4, "ttft_p50_s": 0.25, "kv_usage": None}],
        ["n", "kv_usage", "ttft_p50_s"],
    )

    assert path.read_text().splitlines() == ["n,kv_usage,ttft_p50_s", "4,,0.25"]
    assert read_rows(path) == [{"n": 4, "kv_usage": None, "ttft_p50_s": 0.25}]


def test_a_report_is_on_disk_after_each_arm(tmp_path: Path) -> None:
    report = Report("p0", tmp_path, {"engine": "vllm"})

    report.add({"arm": "P0 alone", "p0_n": 3})

    assert read_rows(tmp_path / "p0.json") == [{"arm": "P0 alone", "p0_n": 3}]
    assert "P0 alone" in (tmp_path / "p0.md").read_text()


def test_real_and_simulated_stand_side_by_side_where_both_know_the_figure() -> None:
    real = [{"n": 4, "per_s": 200.0, "itl_s": 0.1, "kv": None}, {"n": 8, "per_s": 300.0}]
    simulated = [{"n": 4, "per_s": 190.0, "itl_s": None, "kv": 0.3}]

    table = side_by_side(real, simulated, "n")

    assert table.splitlines()[2:] == ["| 4 | per_s | 200 | 190 | 0.95 |"]


def test_an_engine_without_priority_has_no_arm_for_it() -> None:
    with_it = arms_for(has_priority=True, p2=32, cap=8)
    without = arms_for(has_priority=False, p2=32, cap=8)

    assert set(with_it) - set(without) == {"priority"}
    assert with_it["cap"].name == "P2 cap 8, priority"
    assert without["cap"].name == "P2 cap 8"


def test_arms_are_compared_with_p0_alone_and_with_the_most_background_work() -> None:
    rows = [
        {"arm": "P0 alone", "p0_ttft_p95_s": 0.04, "p0_e2e_p50_s": 0.6, "p2_tokens_per_s": None},
        {"arm": "priority", "p0_ttft_p95_s": 0.2, "p0_e2e_p50_s": 2.4, "p2_tokens_per_s": 3000.0},
        {"arm": "Stoker", "p0_ttft_p95_s": 0.04, "p0_e2e_p50_s": 0.6, "p2_tokens_per_s": 2400.0},
        {"arm": "Stoker + lease", "error": "cut: out of time"},
    ]

    compare_to_alone(rows)

    assert [row["p0_ttft_p95_x_alone"] for row in rows] == [1.0, 5.0, 1.0, None]
    assert [row["p0_e2e_p50_x_alone"] for row in rows] == [1.0, 4.0, 1.0, None]
    assert [row["p2_kept"] for row in rows] == [None, 1.0, 0.8, None]
