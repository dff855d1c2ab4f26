"""Pictures of simulated runs, drawn with matplotlib (the extra `plots`); importing this needs it.

One run over time, and several arms beside each other. Colours mean the same in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stoker.runtime.replay import Ceilings
from stoker.sim.report import Report, Series

mpl.use("Agg")

INK = "#222222"
GRID = "#dddddd"
LIMIT, RESIDENT, WAITING = "#d1495b", "#00798c", "#edae49"
PREDICTED, ACTUAL = "#8d6a9f", "#2e4057"
PEOPLE = "#f4d8cd"
_GIB = 2**30
_SMOOTH_S = 30.0
_CEILINGS = {
    "requests_p2": "Ceiling of P2, places",
    "requests_p1": "Ceiling of P1, places",
    "tokens": "Ceiling of tokens in flight",
}

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "text.color": INK,
}


def draw_run(report: Report, path: Path) -> None:
    """One run over time: limits, tokens in flight, memories, throughput; and P0's first tokens."""
    with mpl.rc_context(_STYLE):
        rows = 5 if report.people is not None else 4
        figure = Figure(figsize=(10, 2.1 * rows), layout="constrained")
        axes = list(figure.subplots(rows, 1))
        over_time = axes[:4]
        for ax, panel in zip(over_time, (_limits, _tokens, _pools, _throughput), strict=True):
            _shade_people(ax, report.series)
            panel(ax, report)
            ax.set_xlim(0, report.box_s / 60.0)
            ax.axvline(report.warm_up_s / 60.0, color="#999999", linewidth=0.8, linestyle=":")
        over_time[-1].set_xlabel("minutes (measured from the dotted line on)")
        if report.people is not None:
            _first_tokens(axes[4], {report.arm: [report]})
        title = f"{report.scenario} · {report.arm} · seed {report.seed}"
        figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
        figure.savefig(path, dpi=110)


@dataclass(frozen=True, slots=True)
class Curve:
    """Throughput under each fixed limit: the means over the seeds, and their range."""

    places: Sequence[float]
    """How many were in the engine under it, on average."""
    means: Sequence[float]
    lows: Sequence[float]
    highs: Sequence[float]


def draw_operating_points(
    title: str, curve: Curve, arms: Mapping[str, Sequence[Report]], run: Report, path: Path
) -> None:
    """Throughput over concurrency, with Stoker's way along it and where the other arms ended."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 4.6), layout="constrained")
        ax = figure.subplots()
        ax.fill_between(
            curve.places, curve.lows, curve.highs, color="#cccccc", alpha=0.6, label="its seeds"
        )
        ax.plot(curve.places, curve.means, color=ACTUAL, marker="o", markersize=4, label="fixed")
        _trajectory(ax, run)
        for index, (name, reports) in enumerate(arms.items()):
            ax.plot(
                _mean([_place(report) for report in reports]),
                _mean([report.work.output_per_s for report in reports]),
                marker="*" if name == "stoker" else "sDv^<>ph"[index % 8],
                markersize=13 if name == "stoker" else 7,
                linestyle="none",
                color=LIMIT if name == "stoker" else f"C{index}",
                label=name,
                zorder=4,
            )
        ax.set_ylim(bottom=0)
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.set_xlabel("background requests, or agent sessions, in the engine")
        ax.set_ylabel("useful output tokens/s")
        ax.set_title(title)
        ax.legend(loc="lower right", ncols=2)
        figure.savefig(path, dpi=110)


def draw_first_tokens(title: str, arms: Mapping[str, Sequence[Report]], path: Path) -> None:
    """The distribution of P0's time to first token under each arm."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 4), layout="constrained")
        ax = figure.subplots()
        _first_tokens(ax, arms)
        ax.set_title(title)
        figure.savefig(path, dpi=110)


def draw_replay(title: str, ceilings: Sequence[Ceilings], path: Path) -> None:
    """The recorded ceilings over time, and those that a replay gave."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10, 6.6), layout="constrained")
        panels = dict(zip(_CEILINGS, figure.subplots(len(_CEILINGS), 1, sharex=True), strict=True))
        start = ceilings[0].at
        minutes = [(one.at - start) / 60.0 for one in ceilings]
        for name, ax in panels.items():
            recorded = [_height(getattr(one.recorded, name)) for one in ceilings]
            replayed = [_height(getattr(one.replayed, name)) for one in ceilings]
            ax.step(minutes, recorded, where="post", color=ACTUAL, linewidth=2.2, label="recorded")
            ax.step(minutes, replayed, where="post", color=LIMIT, linewidth=1.0, label="replayed")
            ax.set_title(_CEILINGS[name])
            ax.set_ylim(bottom=0)
        panels["requests_p2"].legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
        panels["tokens"].set_xlabel(f"minutes from {start:,.0f} s on (no line: no ceiling)")
        figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
        figure.savefig(path, dpi=110)


# ---------------------------------------------------------------------------- panels over time


def _limits(ax: Axes, report: Report) -> None:
    series, minutes = report.series, _minutes(report.series)
    ax.plot(minutes, series.resident, color=RESIDENT, linewidth=1.1, label="in the engine")
    if any(series.waiting):
        ax.plot(minutes, series.waiting, color=WAITING, linewidth=0.9, label="held back inside it")
    limits = [float("nan") if limit is None else float(limit) for limit in series.limit]
    if any(limit is not None for limit in series.limit):
        ax.plot(minutes, limits, color=LIMIT, linewidth=1.4, label="limit")
        ax.set_ylim(0, 1.25 * max(*series.resident, 1))
    ax.set_ylim(bottom=0)
    ax.set_title("Background requests")
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.1, ncols=3)


def _tokens(ax: Axes, report: Report) -> None:
    series, minutes = report.series, _minutes(report.series)
    ax.plot(minutes, _thousands(series.kv_tokens), color=ACTUAL, linewidth=1.1, label="actual")
    if any(tokens is not None for tokens in series.predicted_tokens):
        predicted = [0.0 if tokens is None else tokens for tokens in series.predicted_tokens]
        ax.plot(
            minutes, _thousands(predicted), color=PREDICTED, linewidth=1.1, label="predicted at end"
        )
    ax.set_title("Tokens in flight, thousands")
    ax.set_ylim(bottom=0)
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.1, ncols=2)


def _pools(ax: Axes, report: Report) -> None:
    series, minutes = report.series, _minutes(report.series)
    usage = [100.0 * share for share in _shares(report)]
    ax.plot(minutes, usage, color=RESIDENT, linewidth=1.1, label="KV cache in use, %")
    ax.set_ylim(0, 105)
    ax.set_title("Memories")
    host = ax.twinx()
    host.grid(visible=False)
    available = [value / _GIB for value in series.host_available_bytes]
    host.plot(minutes, available, color=LIMIT, linewidth=1.1, label="MemAvailable, GiB")
    host.set_ylim(0, 1.25 * max(*available, 1.0))
    handles = [*ax.get_lines(), *host.get_lines()]
    names = [str(line.get_label()) for line in handles]
    ax.legend(handles, names, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)


def _throughput(ax: Axes, report: Report) -> None:
    series = report.series
    minutes, rates = _smoothed(series, series.output_tokens)
    ax.plot(minutes, rates, color=ACTUAL, linewidth=1.3, label="useful output")
    mean = report.work.output_per_s
    ax.axhline(mean, color="#999999", linewidth=0.9, linestyle="--")
    ax.set_title(f"Background output tokens/s over {_SMOOTH_S:g} s; mean {mean:,.0f}")
    ax.set_ylim(bottom=0)


def _shade_people(ax: Axes, series: Series) -> None:
    """Where people are."""
    if not any(series.p0_present):
        return
    ax.fill_between(
        _minutes(series),
        0,
        1,
        where=[present > 0 for present in series.p0_present],
        transform=ax.get_xaxis_transform(),
        color=PEOPLE,
        linewidth=0,
        zorder=0,
    )


# ---------------------------------------------------------------------------- parts


def _first_tokens(ax: Axes, arms: Mapping[str, Sequence[Report]]) -> None:
    for index, (name, reports) in enumerate(arms.items()):
        people = [report.people for report in reports if report.people is not None]
        ttfts = sorted(ttft for one in people for ttft in one.ttfts_s)
        if not ttfts:
            continue
        shares = [100.0 * (place + 1) / len(ttfts) for place in range(len(ttfts))]
        ax.plot(
            ttfts,
            shares,
            drawstyle="steps-post",
            color=LIMIT if name == "stoker" else INK if name == "p0-alone" else f"C{index}",
            linestyle="--" if name == "p0-alone" else "-",
            linewidth=1.8 if name == "stoker" else 1.2,
            label=name,
        )
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_ylim(0, 101)
    ax.set_title("P0: time to first token")
    ax.set_xlabel("seconds")
    ax.set_ylabel("% of requests")
    ax.legend(loc="lower right")


def _trajectory(ax: Axes, run: Report) -> None:
    """Where it was, minute by minute, from pale to strong."""
    series = run.series
    places, rates = [], []
    for start in range(0, int(run.box_s) - 59, 60):
        inside = [
            resident
            for at, resident in zip(series.at_s, series.resident, strict=True)
            if start <= at < start + 60
        ]
        places.append(max(1.0, _mean(inside)))
        rates.append(series.output_per_s(start, start + 60.0))
    ax.plot(places, rates, color=LIMIT, linewidth=0.7, alpha=0.5)
    ax.scatter(places, rates, c=range(len(places)), cmap="Reds", s=16, zorder=3)


def _place(report: Report) -> float:
    return max(1.0, report.work.resident_mean)


def _height(ceiling: int | None) -> float:
    return float("nan") if ceiling is None else float(ceiling)


def _minutes(series: Series) -> list[float]:
    return [at / 60.0 for at in series.at_s]


def _thousands(values: Sequence[float]) -> list[float]:
    return [value / 1000.0 for value in values]


def _shares(report: Report) -> list[float]:
    most = max(*report.series.kv_tokens, 1.0)
    full = most / report.work.kv_usage_max if report.work.kv_usage_max else most
    return [min(1.0, tokens / full) for tokens in report.series.kv_tokens]


def _smoothed(series: Series, counts: Sequence[float]) -> tuple[list[float], list[float]]:
    """Growth per second over the time around each sample."""
    times = series.at_s
    step = max(1, round(_SMOOTH_S / 2.0 / (times[1] - times[0])))
    minutes, rates = [], []
    for index in range(len(times)):
        first, last = max(0, index - step), min(len(times) - 1, index + step)
        minutes.append(times[index] / 60.0)
        rates.append((counts[last] - counts[first]) / (times[last] - times[first]))
    return minutes, rates


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
