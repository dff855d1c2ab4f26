"""What the demo prints at the end: the table, the ratios, what is left, and how to go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from stoker.demo import journal as seen
from stoker.demo.report import Condition, Ratio, Report, Row, Spread
from stoker.demo.words import COLOURS, number, seconds, times

_FAILURES_SHOWN = 5


def closing(report: Report) -> RenderableType:
    """The whole end, but for how to call the service."""
    return Group(
        table(report), "", *_ratio_lines(report), *_backlog_lines(report), *_faults(report)
    )


def table(report: Report) -> RenderableType:
    """One column per group of requests: what is compared stands side by side, in 80 columns."""
    made = Table(box=box.ROUNDED, header_style="bold", title="What each class got")
    made.add_column("", no_wrap=True)
    for row in report.rows:
        made.add_column(_HEADS[row.group], justify="right", no_wrap=True)
    for name, cells in _lines(report.rows):
        made.add_row(name, *cells, end_section=name in _SECTION_ENDS)
    return made


_HEADS = {
    group: Text(head, COLOURS[group.priority])
    for group, head in {
        seen.Group.ALONE: "P0\nalone",
        seen.Group.LEASED: "P0 under\na lease",
        seen.Group.UNLEASED: "P0 without\na lease",
        seen.Group.AGENTS: "P1\nagents",
        seen.Group.DOCUMENTS: "P2\ndocuments",
    }.items()
}
_SECTION_ENDS = {"TTFT p95", "E2E p95", "tokens/s written"}


def _lines(rows: tuple[Row, ...]) -> Iterator[tuple[str, list[str]]]:
    for name, cell in _CELLS.items():
        yield name, [cell(row) for row in rows]


def _p50(value: Spread | None) -> str:
    return "–" if value is None else seconds(value.p50_s)


def _p95(value: Spread | None) -> str:
    return "–" if value is None else seconds(value.p95_s)


def _count(value: int | None) -> str:
    return "–" if value is None else str(value)


_CELLS: dict[str, Callable[[Row], str]] = {
    "TTFT p50": lambda row: _p50(row.ttft),
    "TTFT p95": lambda row: _p95(row.ttft),
    "E2E p50": lambda row: _p50(row.e2e),
    "E2E p95": lambda row: _p95(row.e2e),
    "tokens/s read": lambda row: number(row.read_per_s),
    "tokens/s written": lambda row: number(row.written_per_s),
    "completed": lambda row: str(row.completed),
    "preempted": lambda row: _count(row.preempted),
    "resumed": lambda row: _count(row.resumed),
    "refused": lambda row: str(row.refused),
}


def _ratio_lines(report: Report) -> Iterator[RenderableType]:
    if not report.ratios:
        yield "[dim]P0 alone was not measured, so there is no ratio.[/]"
        return
    lines = Table.grid(padding=(0, 2))
    for index, ratio in enumerate(report.ratios):
        lines.add_row("[b]P0 TTFT p95[/]" if index == 0 else "", *_ratio_cells(ratio))
    yield lines


def _ratio_cells(ratio: Ratio) -> Iterator[str]:
    yield ratio.condition.value
    yield f"[b]{seconds(ratio.ttft_p95_s)}[/]"
    yield "" if ratio.condition is Condition.ALONE else f"[b]{times(ratio.times)}[/]"
    yield f"[dim]n = {ratio.count}[/]"


def _backlog_lines(report: Report) -> Iterator[str]:
    done = f"[b]Backlog[/]      {report.jobs_done} of {report.jobs} documents done"
    yield f"{done}, {report.jobs_left} left" if report.jobs_left else done
    if report.cut_off:
        yield f"[dim]{report.cut_off} answers were still being written when the time was up.[/]"


def _faults(report: Report) -> Iterator[str]:
    if report.jobs_done == 0:
        yield "[red]No job was completed.[/]"
    if report.failures:
        yield f"[red]{len(report.failures)} requests failed:[/]"
    for failure in report.failures[:_FAILURES_SHOWN]:
        yield f"[red]  {escape(failure)}[/]"


def how_to_call(url: str, model: str) -> str:
    """Commands that work as they stand, for a service at `url`."""
    return f"""\
curl {url}/v1/p0 -H 'content-type: application/json' \\
  -d '{{"messages": [{{"role": "user", "content": "Hello!"}}], "max_tokens": 40}}'

python - <<'END'
from openai import OpenAI
client = OpenAI(base_url="{url}/v1", api_key="unused")
answer = client.chat.completions.create(
    model="{model}",
    messages=[{{"role": "user", "content": "Hello!"}}],
    max_tokens=40,
    service_tier="priority",  # interactive; "flex" is background, and without it: normal
)
print(answer.choices[0].message.content)
END"""
