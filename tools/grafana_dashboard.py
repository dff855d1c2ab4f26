"""Writes deploy/grafana/stoker.json, the Grafana dashboard, from the list of its panels below.

`python tools/grafana_dashboard.py deploy/grafana/stoker.json`; a test keeps the two equal.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WIDE, HALF, THIRD, QUARTER = 24, 12, 8, 6
_ON = '{engine=~"$engine"}'
_SOURCE = {"type": "prometheus", "uid": "${source}"}


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: its title, its queries with their legends, and how it is shown."""

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    width: int = HALF
    kind: str = "timeseries"
    is_stacked: bool = False
    note: str = ""


def quantile(share: float, metric: str) -> str:
    """A percentile of one of the histograms, per class, over the last minutes."""
    rate = f"rate({metric}_bucket{_ON}[$__rate_interval])"
    return f"histogram_quantile({share}, sum by (priority, le) ({rate}))"


def tokens(kind: str) -> str:
    """Tokens per second, per class."""
    return f"sum by (priority) (rate(stoker_{kind}_tokens_total{_ON}[$__rate_interval]))"


RATE_OF_MEMORIES = (
    "rate(stoker_memories_prompt_tokens_total[$__rate_interval])"
    " + rate(stoker_memories_output_tokens_total[$__rate_interval])"
)

ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Now",
        (
            Panel("Engine", ((f"stoker_engine_up{_ON}", "{{engine}}"),), "bool_yes_no", 4, "stat"),
            Panel(
                "P0 lease", (("stoker_p0_lease_seconds", "left"),), "s", 4, "stat",
                note="How long people have the box for themselves.",
            ),
            Panel(
                "TTFT p95", ((quantile(0.95, "stoker_ttft_seconds"), "{{priority}}"),),
                "s", 4, "stat",
            ),
            Panel(
                "Jobs waiting",
                (('sum(stoker_jobs{engine=~"$engine",state=~"available|retryable"})', "jobs"),),
                "short", 4, "stat",
            ),
            Panel(
                "KV cache", ((f"stoker_engine_kv_cache_usage_ratio{_ON}", "{{engine}}"),),
                "percentunit", 4, "gauge",
            ),
            Panel(
                "RAM above the floor",
                ((
                    "stoker_host_ram_available_bytes"
                    ' - on () stoker_host_ram_floor_bytes{level="hold"}',
                    "left",
                ),),
                "bytes", 4, "stat",
            ),
        ),
    ),
    (
        "What people feel",
        (
            Panel(
                "Time to first token",
                (
                    (quantile(0.5, "stoker_ttft_seconds"), "{{priority}} p50"),
                    (quantile(0.95, "stoker_ttft_seconds"), "{{priority}} p95"),
                ),
                "s",
                note="Waiting included.",
            ),
            Panel(
                "Time per output token",
                (
                    (quantile(0.5, "stoker_tpot_seconds"), "{{priority}} p50"),
                    (quantile(0.95, "stoker_tpot_seconds"), "{{priority}} p95"),
                ),
                "s",
            ),
            Panel(
                "End to end", ((quantile(0.95, "stoker_request_seconds"), "{{priority}} p95"),), "s"
            ),
            Panel(
                "Waited for a turn",
                ((quantile(0.95, "stoker_queue_seconds"), "{{priority}} p95"),),
                "s",
            ),
        ),
    ),
    (
        "What the box does",
        (
            Panel("Output tokens", ((tokens("output"), "{{priority}}"),), is_stacked=True),
            Panel("Prompt tokens", ((tokens("prompt"), "{{priority}}"),), is_stacked=True),
            Panel(
                "Running, and the ceilings",
                (
                    (f"stoker_requests_running{_ON}", "{{engine}} {{priority}}"),
                    (f"stoker_limit_requests{_ON}", "{{engine}} {{priority}} ceiling"),
                ),
                note="A ceiling is learned, or the engine's number of slots.",
            ),
            Panel(
                "Tokens in flight",
                (
                    (f"stoker_actual_tokens_in_flight{_ON}", "{{engine}} now"),
                    (f"stoker_predicted_tokens_in_flight{_ON}", "{{engine}} predicted end"),
                    (f"stoker_kv_peak_forecast_tokens{_ON}", "{{engine}} forecast peak"),
                    (f"stoker_limit_tokens{_ON}", "{{engine}} ceiling"),
                    (f"stoker_capacity_tokens{_ON}", "{{engine}} KV cache"),
                ),
            ),
        ),
    ),
    (
        "Who waits, and why",
        (
            Panel(
                "Waiting", ((f"stoker_requests_waiting{_ON}", "{{engine}} {{priority}}"),),
                is_stacked=True, width=THIRD,
            ),
            Panel(
                "Oldest wait", ((f"stoker_oldest_wait_seconds{_ON}", "{{engine}} {{priority}}"),),
                "s", THIRD,
            ),
            Panel(
                "Blocked by", ((f"stoker_blocked{_ON}", "{{priority}}: {{reason}}"),), width=THIRD,
                note="1 while the head of a class waits for this reason.",
            ),
            Panel(
                "Decisions",
                ((
                    "sum by (priority, reason)"
                    f" (rate(stoker_admission_total{_ON}[$__rate_interval]))",
                    "{{priority}}: {{reason}}",
                ),),
                "reqps",
            ),
            Panel(
                "Left, by outcome",
                ((
                    "sum by (priority, outcome)"
                    f" (rate(stoker_requests_total{_ON}[$__rate_interval]))",
                    "{{priority}}: {{outcome}}",
                ),),
                "reqps",
            ),
        ),
    ),
    (
        "Background work",
        (
            Panel("Jobs", ((f"stoker_jobs{_ON}", "{{engine}} {{state}}"),), width=THIRD),
            Panel(
                "Preemptions",
                (
                    (f"rate(stoker_preemptions_total{_ON}[$__rate_interval])", "{{engine}} ours"),
                    (
                        f"rate(stoker_engine_preemptions_total{_ON}[$__rate_interval])",
                        "{{engine}} the engine's own",
                    ),
                ),
                "ops", THIRD,
                note="The engine's own should be 0: there its KV cache was overrun.",
            ),
            Panel(
                "The optimizer says",
                ((
                    "sum by (priority, reason)"
                    f" (increase(stoker_optimizer_steps_total{_ON}[$__rate_interval]))",
                    "{{priority}}: {{reason}}",
                ),),
                width=THIRD, is_stacked=True,
            ),
        ),
    ),
    (
        "Memories",
        (
            Panel(
                "Work by state",
                (
                    ('stoker_memories_work{state!="done"}', "{{state}}"),
                    ("stoker_memories_documents_open", "documents open"),
                ),
                width=THIRD,
                note="A chunk to extract, or tiles to judge. Ready has no job yet, queued has one.",
            ),
            Panel(
                "Share of all tokens",
                ((
                    f"({RATE_OF_MEMORIES})"
                    " / (sum(rate(stoker_prompt_tokens_total[$__rate_interval]))"
                    " + sum(rate(stoker_output_tokens_total[$__rate_interval])))",
                    "of the box",
                ),),
                "percentunit", THIRD,
                note="Counted when an answer is taken over: short peaks may pass 100 %.",
            ),
            Panel(
                "Search",
                tuple(
                    (
                        f"histogram_quantile({share}, sum by (le)"
                        " (rate(stoker_memories_search_seconds_bucket[$__rate_interval])))",
                        f"p{share * 100:.0f}",
                    )
                    for share in (0.5, 0.95)
                ),
                "s", THIRD,
            ),
            Panel("Tiles", (("stoker_memories_tiles", "{{status}}"),), width=QUARTER),
            Panel(
                "Claims by guard",
                ((
                    "sum by (guard) (rate(stoker_memories_claims_total[$__rate_interval]))",
                    "{{guard}}",
                ),),
                "cps", QUARTER, is_stacked=True,
                note="Accepted and reattributed become tiles; the rest is refused.",
            ),
            Panel(
                "Quarantine", (("stoker_memories_quarantined", "{{reason}}"),), width=QUARTER,
                is_stacked=True,
            ),
            Panel(
                "Without a vector", (("stoker_memories_without_vector", "rows"),), width=QUARTER,
                note="Found by words alone until the embedder has seen them.",
            ),
        ),
    ),
    (
        "The host",
        (
            Panel(
                "RAM",
                (
                    ("stoker_host_ram_available_bytes", "available"),
                    ("stoker_host_ram_forecast_bytes", "in 10 s"),
                    ("stoker_host_ram_floor_bytes", "floor: {{level}}"),
                    ("stoker_engine_rss_bytes", "engine"),
                    ("stoker_host_swap_used_bytes", "swap"),
                ),
                "bytes",
            ),
            Panel(
                "Pressure",
                (
                    ("stoker_host_stalled_ratio", "stalled for RAM"),
                    ('stoker_host_guard{level!="ok"}', "guard: {{level}}"),
                ),
                "percentunit", QUARTER,
            ),
            Panel(
                "Stoker itself",
                (
                    ('rate(process_cpu_seconds_total{job="stoker"}[$__rate_interval])', "cores"),
                    ("stoker_event_loop_lag_seconds", "event loop late by (s)"),
                ),
                width=QUARTER,
            ),
        ),
    ),
)  # fmt: skip


def dashboard() -> dict[str, Any]:
    """The whole document."""
    return {
        "uid": "stoker",
        "title": "Stoker",
        "tags": ["llm", "stoker"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_source(), _engines()]},
        "panels": _panels(),
    }


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Source", "type": "datasource", "query": "prometheus"}


def _engines() -> dict[str, Any]:
    query = "label_values(stoker_engine_up, engine)"
    return {
        "name": "engine",
        "label": "Engine",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": "engines"},
        "definition": query,
        "includeAll": True,
        "multi": True,
        "refresh": 2,
        "current": {"text": "All", "value": "$__all"},
    }


def _panels() -> list[dict[str, Any]]:
    placed: list[dict[str, Any]] = []
    y = 0
    for title, panels in ROWS:
        place = {"x": 0, "y": y, "w": WIDE, "h": 1}
        placed.append({"id": len(placed) + 1, "type": "row", "title": title, "gridPos": place})
        x, y = 0, y + 1
        height = 4 if panels[0].kind == "stat" else 8
        for panel in panels:
            if x + panel.width > WIDE:
                x, y = 0, y + height
            place = {"x": x, "y": y, "w": panel.width, "h": height}
            placed.append(_panel(panel, len(placed) + 1, place))
            x += panel.width
        y += height
    return placed


def _panel(panel: Panel, id: int, place: dict[str, int]) -> dict[str, Any]:
    custom = {"fillOpacity": 10, "showPoints": "never"}
    if panel.is_stacked:
        custom |= {"fillOpacity": 40, "stacking": {"mode": "normal"}}
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.kind == "timeseries":
        defaults |= {"custom": custom, "min": 0}
    if panel.kind == "gauge":
        defaults |= {"min": 0, "max": 1}
    return {
        "id": id,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.note,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            {"refId": chr(65 + index), "datasource": _SOURCE, "expr": expr, "legendFormat": legend}
            for index, (expr, legend) in enumerate(panel.queries)
        ],
    }


def text() -> str:
    """The file's content."""
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text(), encoding="utf-8")
