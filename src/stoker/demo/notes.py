"""From the service's events to lines for people, and to counts of what happened to jobs (pure)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rich.markup import escape

from stoker.core.work import JobId, Outcome
from stoker.demo.journal import Journal

Event = dict[str, Any]

NOTES_MAX = 50


class Notes:
    """`lines` holds the newest notes; times are the service's own."""

    def __init__(self, journal: Journal) -> None:
        self.lines: deque[tuple[float, str]] = deque(maxlen=NOTES_MAX)
        self._journal = journal
        self._stopped: set[str] = set()
        """Preempted, and not back yet."""
        self._resuming: dict[str, tuple[float, str]] = {}
        """Back with their text, and the line that says so: unsent, they may have to go again."""
        self._kept: dict[str, int] = {}
        """Tokens that each brought along when it came back last."""
        self._handlers: dict[str, Callable[[Event], str | None]] = {
            "Preempt": self._preempted,
            "Arrived": self._arrived,
            "Left": self._left,
            "Reject": self._rejected,
            "LeaseGranted": self._lease_granted,
            "LeaseReleased": self._lease_released,
            "EngineDown": self._engine_down,
            "EngineUp": self._engine_up,
        }

    def take(self, event: Event) -> None:
        """Count one event, and write a line when it tells people something."""
        handler = self._handlers.get(event["kind"])
        line = None if handler is None else handler(event)
        if line is not None:
            self.lines.append((event["at"], line))

    def _preempted(self, event: Event) -> str | None:
        id, tokens = event["id"], event["tokens"]
        if tokens is None:
            return None  # not sent yet: it merely goes back to its place
        self._journal.preempted += 1
        self._resuming.pop(id, None)
        self._stopped.add(id)
        tokens += self._kept.get(id, 0)
        kept = f"{tokens} tokens kept" if tokens else "nothing written yet"
        cause = str(event["cause"])
        why = _CAUSES.get(cause, cause)
        return f"[yellow]preempted[/] {self._name(id)}, {kept}: {why}"

    def _arrived(self, event: Event) -> str | None:
        request = event["request"]
        id, kept = request["id"], request["resumed_tokens"]
        if id not in self._stopped or not kept:
            return None
        self._journal.resumed += 1
        self._kept[id] = kept
        self._stopped.discard(id)
        line = f"[green]resumed[/] {self._name(id)} with {kept} tokens kept"
        self._resuming[id] = event["at"], line
        return line

    def _left(self, event: Event) -> None:
        id = event["id"]
        said = self._resuming.pop(id, None)
        if said is None or event["outcome"] != Outcome.PREEMPTED.value:
            return
        self._stopped.add(id)  # it came back, and had to go again before it was sent
        self._journal.resumed -= 1
        with suppress(ValueError):
            self.lines.remove(said)

    def _rejected(self, event: Event) -> str:
        return f"[red]refused[/] {event['id']}: {event['explanation']['reason']}"

    def _lease_granted(self, event: Event) -> str:
        return f"[magenta]lease[/] granted for {event['expires_at'] - event['at']:.0f} s"

    def _lease_released(self, event: Event) -> str:
        return "[magenta]lease[/] released, background work returns gradually"

    def _engine_down(self, event: Event) -> str:
        return f"[red]engine down[/]: {escape(event['cause'])}"

    def _engine_up(self, event: Event) -> str:
        return "[green]engine up[/]"

    def _name(self, id: str) -> str:
        return escape(self._journal.jobs.get(JobId(id), id))


_CAUSES = {"LeaseGranted": "a P0 lease was taken", "Arrived": "a P0 request came"}
