"""`stoker sim`: a scenario in virtual time, ending with a report and a picture of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table

from stoker.cli.sim_events import writing_events
from stoker.sim.lengths import load_traces
from stoker.sim.report import Forecast, People, Report, Work
from stoker.sim.run import ARMS, OURS, run, shortened
from stoker.sim.scenarios import BUILDERS, Scenario, scenario

_HINT = "no picture: matplotlib is missing (pip install 'stoker[plots]')"


@click.command()
@click.argument("name", metavar="SCENARIO", required=False)
@click.option("--list", "is_list", is_flag=True, help="Name the scenarios and the arms.")
@click.option("--seed", default=1, show_default=True, help="The same seed is the same run.")
@click.option(
    "--arm", default="stoker", show_default=True, help="What stands in front of the engine."
)
@click.option("--minutes", type=click.FloatRange(min=1, max=1440), help="Another length.")
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the report as JSON and the picture there, instead of the picture here.",
)
@click.option(
    "--events",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write what a service's event log would have, in full, for `stoker replay`.",
)
@click.option(
    "--data",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder of the recorded traces; their parametric twins else.",
)
def sim(
    name: str | None,
    seed: int,
    arm: str,
    minutes: float | None,
    out: Path | None,
    data: Path | None,
    events: Path | None,
    *,
    is_list: bool,
) -> None:
    """Run a SCENARIO on the simulated engine and report what it delivered and what people felt."""
    console = Console(highlight=False)
    if is_list or name is None:
        console.print(*_listing(), sep="\n")
        return
    try:
        chosen = scenario(name, load_traces(data))
        if minutes is not None:
            chosen = shortened(chosen, minutes)
        report = _run(chosen, arm, seed, events)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    console.print(f"[bold]{name}[/]: {chosen.description}")
    console.print(*_figures(report), sep="\n")
    _keep(report, out, console)
    if report.violations:
        command = f"stoker sim {name} --arm {arm} --seed {seed}"
        length = "" if minutes is None else f" --minutes {minutes:g}"
        console.print(f"[bold red]seed {seed} breaks what must hold[/]; to see it again:")
        console.print(f"  {command}{length}", soft_wrap=True)
        for violation in report.violations:
            console.print(f"  {violation}", markup=False)
        raise click.exceptions.Exit(1)


def _run(chosen: Scenario, arm: str, seed: int, events: Path | None) -> Report:
    if events is None:
        return run(chosen, arm, seed)
    if arm not in OURS:
        raise ValueError(f"{arm} decides without Stoker's core: there are no events of it")
    try:
        with writing_events(events) as diary:
            return run(chosen, arm, seed, diary=diary)
    except OSError as error:
        raise ValueError(f"{events}: cannot be written: {error.strerror}") from error


def _listing() -> Iterator[RenderableType]:
    table = Table("scenario", "minutes", "what happens", box=box.SIMPLE)
    for name in BUILDERS:
        one = scenario(name)
        table.add_row(name, f"{one.box_s / 60:g}", one.description)
    yield table
    yield f"arms: {', '.join(ARMS)}"


def _figures(report: Report) -> Iterator[RenderableType]:
    measured_s = report.box_s - report.warm_up_s
    yield (
        f"arm {report.arm}, seed {report.seed}: "
        f"{measured_s / 60:g} minutes measured after {report.warm_up_s / 60:g} of warm-up"
    )
    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    for label, value in (*_work(report.work), *_host(report)):
        table.add_row(label, value)
    for label, value in _people(report.people) if report.people is not None else ():
        table.add_row(label, value)
    for label, value in _forecast(report.forecast) if report.forecast is not None else ():
        table.add_row(label, value)
    yield table
    if report.reasons:
        counts = ", ".join(f"{reason} {count}" for reason, count in report.reasons.items())
        yield f"heads of queues were held back for: {counts}"


def _work(work: Work) -> Iterator[tuple[str, str]]:
    yield "background output, tokens/s", f"{work.output_per_s:,.0f}"
    yield "prompt and output, tokens/s", f"{work.total_per_s:,.0f}"
    yield "jobs or turns finished/s", f"{work.finished_per_s:.2f}"
    yield "variation of whole minutes", _number(work.cv60)
    yield "in the engine, mean", f"{work.resident_mean:.1f}"
    yield "KV cache in use, mean and most", f"{work.kv_usage_mean:.0%}, {work.kv_usage_max:.0%}"
    yield "prompt tokens from the prefix cache", _share(work.cached_share)
    yield "preempted by the engine, /min", f"{work.preemptions_per_min:.2f}"
    yield "taken back, /min", f"{work.aborts_per_min:.2f}"
    yield "wasted, tokens/s", f"{work.wasted_per_s:,.0f}"
    if work.jain is not None:
        yield "evenness between tenants (Jain)", f"{work.jain:.3f}"


def _host(report: Report) -> Iterator[tuple[str, str]]:
    yield "lowest MemAvailable", f"{report.host_available_min_bytes / 2**30:.1f} GiB"
    if report.freezes:
        yield "host froze", f"{report.freezes} times"


def _people(people: People) -> Iterator[tuple[str, str]]:
    yield "P0 served, refused", f"{people.served}, {people.refused}"
    yield (
        "P0 first token p50, p95, p99",
        _times(people.ttft_p50_s, people.ttft_p95_s, people.ttft_p99_s),
    )
    yield (
        "P0 between tokens p50, p95, p99",
        _times(people.itl_p50_s, people.itl_p95_s, people.itl_p99_s),
    )
    target = f"{1000 * people.itl_target_s:g} ms"
    yield f"P0 tokens within {target}", _share(people.tokens_in_target)
    yield f"P0 requests within {target}", _share(people.requests_in_target)
    yield "P0 end to end p50", _times(people.e2e_p50_s)


def _forecast(forecast: Forecast) -> Iterator[tuple[str, str]]:
    yield "KV peak forecasts that held", f"{forecast.coverage:.1%} of {forecast.judged}"
    yield "their mean over-estimate", f"{forecast.over_estimate:.1%}"


def _keep(report: Report, out: Path | None, console: Console) -> None:
    """Write what there is to write; without matplotlib, say so."""
    stem = f"{report.scenario}-{report.arm.replace(':', '-')}-{report.seed}"
    folder = out or Path()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{stem}.json").write_text(report.to_json(), encoding="utf-8")
        console.print(f"report: {out / f'{stem}.json'}")
    try:
        from stoker.plots import draw_run  # noqa: PLC0415 - half a second, and an extra
    except ImportError:
        console.print(_HINT, markup=False)
        return
    draw_run(report, folder / f"sim-{stem}.png")
    console.print(f"picture: {folder / f'sim-{stem}.png'}")


def _times(*seconds: float | None) -> str:
    return ", ".join("–" if one is None else f"{one:.3g} s" for one in seconds)


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
