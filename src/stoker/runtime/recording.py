"""What a replay reads: the events of a log in their order, where the order is broken, and a line
for each kind of trouble.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stoker.runtime.event_codec import ACTIONS, EVENTS, FREQUENT
from stoker.runtime.event_file import CLOCK_READ, BrokenLine
from stoker.runtime.recorder import LoggedEvent

UNREADABLE = (AttributeError, KeyError, TypeError, ValueError)
"""What reading a line may raise whose fields are not what its kind says."""

_KNOWN = frozenset(
    (
        *EVENTS,
        *ACTIONS,
        "JobsRescued",
        "KeyRefused",
        "OptimizerBegan",
        "OptimizerFailed",
        "OptimizerStepped",
        "SchedulerBegan",
        "ServiceForgotten",
        "ServiceRestored",
    )
)


class Recording:
    """Iterate it once, for the events and whether each follows the one before with none missing."""

    def __init__(
        self, entries: Iterable[LoggedEvent | BrokenLine], *, counted: str, beginning: str
    ) -> None:
        self.skipped = 0
        """How many there were to replay, but without their beginning; for the reader to count."""
        self.is_full = False
        """Whether it has frequent events."""
        self._entries = entries
        self._counted = counted
        """What it counts as skipped, by name."""
        self._beginning = beginning
        self._lost = 0
        self._gaps: list[tuple[int, int]] = []
        self._foreign: list[str] = []
        self._cut: list[str] = []
        self._unreadable: list[str] = []
        self._unknown: dict[str, int] = {}

    def __iter__(self) -> Iterator[tuple[LoggedEvent, bool]]:
        before: int | None = None
        follows = False
        for entry in self._entries:
            if isinstance(entry, BrokenLine):
                (self._cut if entry.is_cut else self._foreign).append(entry.where)
                continue
            if entry.kind == CLOCK_READ:
                continue
            if entry.kind == "EventsLost":
                self._note_lost(entry)
                follows = False
                continue
            if entry.kind in FREQUENT:
                self.is_full = True
            else:
                follows = self._follows(before, entry.seq) and follows
                before = entry.seq
            if entry.kind not in _KNOWN:
                self._unknown[entry.kind] = self._unknown.get(entry.kind, 0) + 1
            yield entry, follows
            follows = True

    def unreadable(self, event: LoggedEvent, error: Exception) -> None:
        """Its fields are not what its kind says."""
        self._unreadable.append(f"{event.kind} with seq {event.seq}: {error!r}")

    def notes(self) -> list[str]:
        """One line for each kind of trouble, however often it came."""
        lines: list[str] = []
        if self._gaps:
            first, last = self._gaps[0]
            lines.append(
                f"gaps in seq: {len(self._gaps)} (the first: {first} to {last}); "
                f"after one, the replay goes on from the next {self._beginning}"
            )
        if self._lost:
            lines.append(f"events that could not be written when they came: {self._lost}")
        if self.skipped:
            lines.append(
                f"{self._counted} without their {self._beginning}, left out: {self.skipped}"
            )
        if self._foreign:
            lines.append(
                f"lines that are no events: {len(self._foreign)}, {self._foreign[0]} first"
            )
        lines += [f"{where} is cut short" for where in self._cut]
        if self._unreadable:
            count, first_one = len(self._unreadable), self._unreadable[0]
            lines.append(f"events that cannot be read: {count} (the first: {first_one})")
        if self._unknown:
            count, kinds = sum(self._unknown.values()), ", ".join(sorted(self._unknown)[:5])
            lines.append(f"events of unknown kinds, left out: {count} ({kinds})")
        return lines

    def _follows(self, before: int | None, seq: int) -> bool:
        """Notice a new life, which counts from the start again, and events that are missing."""
        if before is None or seq <= before:
            return False
        if seq > before + 1:
            self._gaps.append((before + 1, seq - 1))
        return seq == before + 1

    def _note_lost(self, event: LoggedEvent) -> None:
        count = event.fields.get("count")
        self._lost += count if isinstance(count, int) else 1
