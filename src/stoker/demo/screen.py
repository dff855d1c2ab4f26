"""The live view: one picture of the journal and the service's state. Pure, but for the numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stoker.core.reasons import Explanation, Reason
from stoker.core.work import Priority
from stoker.demo import journal as seen
from stoker.demo.journal import Answer, Journal
from stoker.demo.report import spread
from stoker.demo.watch import State, Watch
from stoker.demo.words import COLOURS, number, seconds
from stoker.ports import Clock

_NARROW = 76
_LINES_WITHOUT_NOTES = 19


@dataclass(slots=True)
class Screen:
    """Renders what is now. `phase` and `ends_at` are set by whoever runs the phases."""

    url: str
    journal: Journal
    watch: Watch
    clock: Clock
    phase: str = "starting the engine"
    ends_at: float | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.height or console.size.height
        is_narrow = options.max_width < _NARROW
        state = self.watch.state
        parts: list[RenderableType] = [self._head(state)]
        if state is not None:
            parts += [self._backlog(state), "", self._classes(state, is_narrow=is_narrow), ""]
            parts += [*self._reasons(state), self._kv_cache(state), self._latest(), ""]
        parts += self._notes(max(1, height - _LINES_WITHOUT_NOTES), state)
        title = f"[b]Stoker[/] · [cyan]{self.url}[/]"
        yield Panel(Group(*parts), title=title, title_align="left", padding=(0, 1), height=height)

    def _head(self, state: State | None) -> RenderableType:
        line = Table.grid(expand=True)
        line.add_column()
        line.add_column(justify="right")
        phase = f"[b]{self.phase}[/]"
        if self.ends_at is not None:
            left_s = self.ends_at - self.clock.monotonic()
            # A slow box is given time to finish what the end needs: one question, one document.
            phase += f"  {left_s:.0f} s left" if left_s > 0 else "  [dim]finishing[/]"
        line.add_row(phase, _engine(state) if state else "")
        return Group(line, _lease(state) if state else "")

    def _backlog(self, state: State) -> RenderableType:
        done, total = len(self.journal.of(seen.Group.DOCUMENTS)), len(self.journal.jobs)
        line = Table.grid(expand=True, padding=(0, 1))
        line.add_column(no_wrap=True)
        line.add_column(ratio=1)
        line.add_column(justify="right", no_wrap=True)
        bar = ProgressBar(total=max(total, 1), completed=done, complete_style="blue")
        line.add_row("[blue]documents[/]", bar, f"[b]{done}[/] of {total}")
        return line

    def _classes(self, state: State, *, is_narrow: bool) -> RenderableType:
        table = Table(box=None, expand=True, padding=(0, 1, 0, 0), header_style="dim")
        table.add_column("class", no_wrap=True)
        names = ["waiting", "running", "done", "TTFT p50", "p95"]
        for name in names if is_narrow else [*names, "tokens/s"]:
            table.add_column(name, justify="right", no_wrap=True)
        for priority in Priority:
            cells = [_TITLES[priority], *self._cells(priority, state)]
            table.add_row(*cells[: len(table.columns)])
        return table

    def _cells(self, priority: Priority, state: State) -> Iterator[str]:
        view = state["scheduler"]["classes"][priority.label]
        waiting = view["waiting"]
        if priority is Priority.P2:
            waiting += sum(state["jobs"][name] for name in ("available", "scheduled", "retryable"))
        answers = [answer for answer in self._shown() if answer.group.priority is priority]
        yield number(waiting)
        yield number(view["running"])
        yield number(len(answers))
        ttft = spread(answer.ttft_s for answer in answers)
        yield seconds(ttft.p50_s if ttft else None)
        yield seconds(ttft.p95_s if ttft else None)
        since = self.journal.mixed_since
        busy_s = self.journal.alone_s if since is None else self.clock.monotonic() - since
        tokens = sum(answer.prompt_tokens + answer.output_tokens for answer in answers)
        yield number(tokens / busy_s) if busy_s else ""

    def _shown(self) -> list[Answer]:
        """The answers of this phase: the reference is for the table, not to be mixed in."""
        is_mixed = self.journal.mixed_since is not None
        alone = seen.Group.ALONE
        return [found for found in self.journal.answers if (found.group is alone) != is_mixed]

    def _reasons(self, state: State) -> Iterator[RenderableType]:
        """Why each class that waits does, in the service's own words."""
        found = {priority: why for priority in Priority if (why := _why(priority, state))}
        for priority, why in found.items():
            text = f"{priority.label} waits: {why}"
            yield Text(text, COLOURS[priority], no_wrap=True, overflow="ellipsis")
        if not found:
            yield "[dim]nobody waits[/]"

    def _kv_cache(self, state: State) -> RenderableType:
        scheduler = state["scheduler"]
        size, held = scheduler["capacity"]["kv_tokens"], scheduler["held_tokens"]
        forecast = scheduler["kv_peak_forecast_tokens"]
        line = Table.grid(padding=(0, 1))
        line.add_column(no_wrap=True)
        line.add_column(width=18)
        line.add_column(no_wrap=True, overflow="ellipsis")
        numbers = f"[b]{number(held)}[/] tokens in flight, peak forecast {number(forecast)}"
        if size:
            numbers += f" of {number(size)}"
        bar = ProgressBar(total=max(size or forecast, 1), completed=held, complete_style="green")
        line.add_row("KV cache", bar, numbers)
        return line

    def _latest(self) -> RenderableType:
        """Something to read: what the model made of a document."""
        if self.journal.latest is None:
            return ""
        name, text = self.journal.latest
        line = Text.assemble(
            ("newest ", "dim"), (name, "blue"), (f"  {' '.join(text.split())}", "italic")
        )
        line.no_wrap, line.overflow = True, "ellipsis"
        return line

    def _notes(self, count: int, state: State | None) -> list[RenderableType]:
        now = state["scheduler"]["at"] if state else 0.0
        newest = list(self.watch.notes.lines)[-count:]
        return [
            Text.from_markup(
                f"[dim]{max(0.0, now - at):4.0f} s ago[/]  {note}", overflow="ellipsis"
            )
            for at, note in reversed(newest)
        ]


_TITLES = {
    Priority.P0: f"[{COLOURS[Priority.P0]}]P0 interactive[/]",
    Priority.P1: f"[{COLOURS[Priority.P1]}]P1 agents[/]",
    Priority.P2: f"[{COLOURS[Priority.P2]}]P2 documents[/]",
}


def plain_line(screen: Screen, at_s: float) -> str:
    """One line for a log: where a terminal is not there to be drawn on."""
    state, done = screen.watch.state, len(screen.journal.of(seen.Group.DOCUMENTS))
    parts = [f"{at_s:5.0f} s  {screen.phase}"]
    if state is not None:
        classes = state["scheduler"]["classes"]
        parts += [f"{p.label} {classes[p.label]['running']} running" for p in Priority]
        parts.append(f"documents {done}/{len(screen.journal.jobs)}")
        why = _why(Priority.P2, state)
        if why:
            parts.append(f"p2 waits: {why}")
    return " · ".join(parts)


def _engine(state: State) -> str:
    engine = state["engine"]
    name = escape(str(engine["name"]))
    if not engine["is_ready"]:
        return f"[red]{name}: {escape(str(engine['cause']))}[/]"
    return f"[dim]{name} engine, {state['scheduler']['capacity']['requests']} slots[/]"


def _lease(state: State) -> str:
    leases = state["scheduler"]["leases"]
    if leases:
        left_s = max(lease["expires_in_s"] for lease in leases)
        return f"[black on magenta] P0 LEASE [/] [magenta]{left_s:.0f} s left[/]"
    if state["scheduler"]["is_p0_held"]:
        return "[magenta]P0 holds the box[/] [dim](a request, or the seconds after one)[/]"
    return "[dim]no P0 lease[/]"


def _why(priority: Priority, state: State) -> str | None:
    blocked = state["scheduler"]["classes"][priority.label]["blocked_by"]
    if blocked is not None:
        return str(blocked["message"])
    code = state["background_waits_for"]
    if priority is Priority.P2 and code is not None:
        return Explanation(Reason(code)).message
    return None
