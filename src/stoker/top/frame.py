"""One frame, for a terminal of 80 columns or more. Pure: the same view, the same picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stoker.top.view import View

LEAST_WIDTH = 80
_BAR_WIDTH = 20
_COLOURS = {"p0": "magenta", "p1": "cyan", "p2": "green"}
_STATES = {"running": "green", "available": "", "retryable": "yellow", "discarded": "red"}
_SHOWN_STATES = ("running", "available", "scheduled", "retryable", "completed", "discarded")
_UNKNOWN = "–"
_LINES_PER_ENGINE = 8
_OTHER_LINES = 10
KEYS = "l lease  r release  ↑↓ choose  c cancel job  q quit"


def frame(view: View, *, height: int = 40, has_keys: bool = True) -> RenderableType:
    """The whole picture, in at most so many lines."""
    parts: list[RenderableType] = [_head(view)]
    if view.state is not None:
        engines = view.state["engines"]
        parts += [_engine(view, name, one) for name, one in engines.items()]
        parts += [_host(view.state)]
        left = height - _OTHER_LINES - _LINES_PER_ENGINE * len(engines) - len(_extra(view))
        parts += [_jobs(view, max(2, (left + 1) // 2))]
        if view.told:
            parts += [_reasons(view, max(1, left // 2))]
    if has_keys:
        parts.append(_foot(view))
    return Group(*parts)


def _head(view: View) -> RenderableType:
    line = Table.grid(expand=True)
    line.add_column(no_wrap=True)
    line.add_column(justify="right", no_wrap=True)
    left = Text.assemble(("Stoker ", "bold"), (view.url, "cyan"))
    if view.state is not None:
        left.append(f"  up {_long(view.state['uptime_s'])}", "dim")
    line.add_row(left, _lease(view))
    return line


def _lease(view: View) -> Text:
    if view.trouble is not None:
        return Text.assemble((" no answer, trying again ", "bold white on red"))
    if view.state is None:
        return Text("")
    scheduler = view.state["scheduler"]
    left_s = max((one["expires_in_s"] for one in scheduler["leases"]), default=None)
    if left_s is not None:
        return Text.assemble((f" P0 lease {left_s:.0f} s ", "bold white on magenta"))
    if scheduler["is_p0_held"]:
        return Text("P0 holds the box", "magenta")
    return Text(f"no lease  {view.clock}", "dim")


def _engine(view: View, name: str, one: Mapping[str, Any]) -> RenderableType:
    engine, scheduler = one["engine"], one["scheduler"]
    is_ready = engine["is_ready"]
    state = Text("ready", "green") if is_ready else Text(engine["cause"] or "not ready", "bold red")
    title = Text.assemble((name, "bold"), f" · {engine['name']} · ", state)
    body = Group(_classes(view, name, one), _kv_cache(scheduler), _queue(scheduler))
    style = "dim" if view.trouble is not None else ""
    border = "blue" if is_ready else "red"
    return Panel(
        body, title=title, title_align="left", padding=(0, 1), style=style, border_style=border
    )


def _classes(view: View, name: str, one: Mapping[str, Any]) -> RenderableType:
    table = Table(box=None, pad_edge=False, expand=True, header_style="dim")
    table.add_column("")
    for column in ("run/most", "wait", "oldest", "TTFT p50", "p95", "tok/s"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("why it waits", ratio=1, no_wrap=True, overflow="ellipsis")
    scheduler = one["scheduler"]
    for priority, found in scheduler["classes"].items():
        meter = one["meters"][priority]
        most = scheduler["limits"][f"requests_{priority}"]
        is_learned = most is not None
        shown = most if is_learned else scheduler["capacity"]["requests"]
        rate = view.rates.get((name, priority), meter["output_tokens_per_s"])
        why = found["blocked_by"]
        table.add_row(
            Text(priority.upper(), f"bold {_COLOURS[priority]}"),
            f"{found['running']}/{shown}" + ("" if is_learned else "*"),
            str(found["waiting"]),
            _short(found["oldest_wait_s"]),
            _short(meter["ttft_p50_s"]),
            _short(meter["ttft_p95_s"]),
            f"{rate:.0f}",
            Text("" if why is None else why["reason"], "yellow"),
        )
    return table


def _kv_cache(scheduler: Mapping[str, Any]) -> RenderableType:
    used = scheduler["engine"]["kv_cache_usage"]
    line = Table.grid(padding=(0, 1))
    now, end = _number(scheduler["held_tokens"]), _number(scheduler["predicted_final_tokens"])
    room = scheduler["capacity"]["kv_tokens"]
    tokens = f"{now} tokens, {end} at their ends" + (f", of {_number(room)}" if room else "")
    line.add_row(Text("KV cache", "dim"), *_bar(used, 0.9), tokens)
    return line


def _queue(scheduler: Mapping[str, Any]) -> Text:
    waiting, cached = scheduler["engine"]["waiting"], scheduler["cached_share"]
    parts = [
        f"engine's own queue {_UNKNOWN if waiting is None else waiting}",
        f"cached {_UNKNOWN if cached is None else format(cached, '.0%')}",
        f"preempted {scheduler['preemptions']}",
        "* not learned: its slots",
    ]
    limits = scheduler["limits"].values()
    if all(limit is not None for limit in limits):
        parts.pop()
    text = Text("   ".join(parts), "dim", no_wrap=True, overflow="ellipsis")
    if waiting:
        text.stylize("bold yellow", 0, len(parts[0]))
    return text


def _host(state: Mapping[str, Any]) -> RenderableType:
    host, guard = state["scheduler"]["host"], state["scheduler"]["guard"]
    available, total = host["ram_available_bytes"], host["ram_total_bytes"]
    line = Table.grid(padding=(0, 1))
    share = None if not total or available is None else 1 - available / total
    level = Text(f"guard {guard['level']}", "green" if guard["level"] == "ok" else "bold red")
    shown = f"{_gib(available)} of {_gib(total)} GiB left, floor {_gib(guard['floors']['hold'])}"
    swap = host["swap_used_bytes"]
    line.add_row(
        Text("  host RAM", "dim"),
        *_bar(share, 0.9),
        shown,
        level,
        Text(f"swap {_gib(swap)} GiB", "yellow") if swap else "",
    )
    return line


def _jobs(view: View, lines: int) -> RenderableType:
    assert view.state is not None
    counts = view.state["jobs"]
    shown = [f"{counts[name]} {name}" for name in _SHOWN_STATES if counts.get(name)]
    table = Table.grid(padding=(0, 2))
    first = max(0, min(view.chosen - lines + 1, len(view.jobs) - lines))
    for index, job in enumerate(islice(view.jobs, first, first + lines), start=first):
        is_chosen = index == view.chosen
        table.add_row(
            Text("▸" if is_chosen else " ", "bold"),
            Text(job["job_id"], "reverse" if is_chosen else ""),
            Text(job["status"], _STATES.get(job["status"], "dim")),
            Text(job["reason"] or "", "yellow"),
            Text(f"{job['preemptions']} × gave way" if job["preemptions"] else "", "dim"),
        )
    summary = ", ".join(shown) or "none"
    return Group(Text.assemble(("  Jobs  ", "bold"), summary), table)


def _reasons(view: View, lines: int) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    has_several = view.state is not None and len(view.state["engines"]) > 1
    for told in islice(reversed(view.told), lines):
        table.add_row(
            Text(f"  {told.clock}", "dim"),
            Text(told.priority.upper(), _COLOURS[told.priority]),
            Text(told.reason, "yellow"),
            Text(f"× {told.count}", "dim"),
            told.engine if has_several else "",
        )
    return Group(Text("  Latest reasons", "bold"), table)


def _foot(view: View) -> RenderableType:
    return Group(*_extra(view), Text(f"  {KEYS}", "dim", no_wrap=True))


def _extra(view: View) -> list[Text]:
    return [Text(f"  {text}", "bold") for text in (view.trouble, view.message) if text]


def _bar(share: float | None, high: float) -> Iterator[RenderableType]:
    if share is None:
        yield Text(_UNKNOWN.ljust(_BAR_WIDTH), "dim")
        yield ""
        return
    style = "yellow" if share > high else "blue"
    yield ProgressBar(1.0, share, _BAR_WIDTH, style="grey30", complete_style=style)
    yield f"{share:4.0%}"


def _short(seconds: float | None) -> str:
    if seconds is None:
        return _UNKNOWN
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else _long(seconds)


def _long(seconds: float) -> str:
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if hours >= 48:
        return f"{hours // 24} d"
    return f"{hours} h {minutes % 60:02} m" if hours else f"{minutes} m {int(seconds % 60):02} s"


def _number(value: float) -> str:
    return f"{value / 1000:.1f}k" if value >= 9999.5 else f"{value:.0f}"


def _gib(count: float | None) -> str:
    return _UNKNOWN if count is None else f"{count / 2**30:.1f}"
