"""deploy/: what Prometheus and Grafana load names metrics that there are, and promtool agrees."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from stoker.api.histograms import DISTRIBUTIONS
from stoker.api.memories_metrics import MEMORIES_FAMILIES, SEARCH_SECONDS
from stoker.api.metrics import FAMILIES
from tools.grafana_dashboard import ROWS, dashboard, text

ROOT = Path(__file__).parents[1]
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
GRAFANA = ROOT / "deploy/grafana/stoker.json"
OTHERS = {"process_cpu_seconds_total", "process_open_fds", "process_max_fds"}
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus"
)


def known_names() -> set[str]:
    parts = ("_bucket", "_sum", "_count")
    named = [*(one.name for one in DISTRIBUTIONS), SEARCH_SECONDS]
    histograms = {name + part for name in named for part in parts}
    families = {family.name for family in (*FAMILIES, *MEMORIES_FAMILIES)}
    return families | histograms | OTHERS


def unknown_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:stoker|process)_\w+", expression)) - known_names()


def alert_expressions() -> list[str]:
    rules = re.split(r"^ +- alert: ", ALERTS.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return [
        re.search(r"expr: (.*?)^ +(?:for|labels):", rule, re.DOTALL | re.MULTILINE)[1]
        for rule in rules
    ]


def test_every_metric_of_an_alert_exists() -> None:
    expressions = alert_expressions()

    assert len(expressions) > 10
    assert {one: unknown_in(one) for one in expressions if unknown_in(one)} == {}


def test_every_metric_of_the_dashboard_exists() -> None:
    queries = [query for _, panels in ROWS for panel in panels for query, _ in panel.queries]

    assert {one: unknown_in(one) for one in queries if unknown_in(one)} == {}
    assert unknown_in("rate(stoker_no_such_total[5m])") == {"stoker_no_such_total"}


def test_the_dashboard_file_is_what_its_list_of_panels_says() -> None:
    assert GRAFANA.read_text(encoding="utf-8") == text()
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert json.loads(text())["uid"] == "stoker"


def test_no_panel_lies_on_another_or_beyond_the_edge() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


@needs_promtool
def test_promtool_takes_the_rules_and_their_tests_pass() -> None:
    for command in (["check", "rules", ALERTS], ["test", "rules", ALERTS.with_suffix(".test.yml")]):
        found = subprocess.run(
            ["promtool", *command], capture_output=True, text=True, check=False, cwd=ALERTS.parent
        )

        assert found.returncode == 0, found.stdout + found.stderr
