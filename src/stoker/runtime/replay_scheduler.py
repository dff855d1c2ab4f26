"""A recorded scheduler run again: the same facts in, and where today's orders differ.

Pure: the events of a full log in, a report out. The facts cannot react: after the first difference
requests still come, progress and leave as they did under the recorded orders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from stoker.core.actions import Action
from stoker.core.errors import CannotReplay
from stoker.core.events import Event
from stoker.core.scheduler import Scheduler
from stoker.core.window import Window
from stoker.runtime.event_codec import ACTIONS, action_of, began_of, event_of
from stoker.runtime.event_file import BrokenLine
from stoker.runtime.optimizer_record import window_of
from stoker.runtime.recorder import LoggedEvent
from stoker.runtime.recording import UNREADABLE, Recording
from stoker.runtime.replay_numbers import Numbers, changed_policy

ORDERS_MAX = 1000
"""So many of those that differ are kept; all are counted."""

_Lengths = tuple[tuple[tuple[str, ...], tuple[float, ...]], ...]


@dataclass(frozen=True, slots=True)
class OtherOrders:
    """One event that was answered otherwise, in what was ordered or in which order."""

    at: float
    seq: int
    event: str
    recorded: tuple[Action, ...]
    replayed: tuple[Action, ...]
    error: str | None = None
    """What the scheduler of today raised, if it did."""


@dataclass(frozen=True, slots=True)
class SchedulerReplay:
    """What came out: events and windows that were run again, from how many starts."""

    events: int
    starts: int
    differing: int
    first: tuple[OtherOrders, ...]
    orders: Mapping[str, tuple[int, int]]
    """Kind -> how many were recorded, and how many a replay gives."""
    windows: int
    windows_differing: int
    """Windows that the replayed scheduler closed otherwise: the optimizer would have seen them."""
    notes: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        return not self.differing and not self.windows_differing


def replay_scheduler(
    entries: Iterable[LoggedEvent | BrokenLine], numbers: Numbers | None = None
) -> SchedulerReplay | None:
    """Run today's scheduler over what was recorded, with other `numbers` if there are some.

    Its ceilings are the recorded ones. `None`: the log is not full. Raises `CannotReplay` where it
    is, and still not one event can be handled.
    """
    recording = Recording(entries, counted="events", beginning="SchedulerBegan")
    replaying = _Replaying(recording, numbers or {})
    for event, follows in recording:
        replaying.take(event, follows=follows)
    return replaying.result()


class _Replaying:
    """The replay while it goes on. Without a scheduler it waits for the next that began."""

    def __init__(self, recording: Recording, numbers: Numbers) -> None:
        self._recording = recording
        self._numbers = numbers
        self._scheduler: Scheduler | None = None
        self._ordered: list[Action] = []
        """The recorded orders so far; in a log they stand before the event that they follow."""
        self._events = self._starts = self._differing = 0
        self._first: list[OtherOrders] = []
        self._recorded: Counter[str] = Counter()
        self._replayed: Counter[str] = Counter()
        self._windows = self._windows_differing = 0

    def take(self, event: LoggedEvent, *, follows: bool) -> None:
        if not follows:
            self._stop()
        try:
            if event.kind == "SchedulerBegan":
                self._begin(event.fields)
            elif self._scheduler is not None:
                self._go_on(self._scheduler, event)
            else:
                self._recording.skipped += 1
        except UNREADABLE as error:
            # Whatever it was, the scheduler has missed it.
            self._recording.unreadable(event, error)
            self._stop()

    def result(self) -> SchedulerReplay | None:
        if not self._events:
            if not self._recording.is_full:
                return None
            raise CannotReplay("; ".join(("it has no SchedulerBegan", *self._recording.notes())))
        return SchedulerReplay(
            events=self._events,
            starts=self._starts,
            differing=self._differing,
            first=tuple(self._first),
            orders={kind: (self._recorded[kind], self._replayed[kind]) for kind in ACTIONS},
            windows=self._windows,
            windows_differing=self._windows_differing,
            notes=tuple(self._recording.notes()),
        )

    def _stop(self) -> None:
        self._scheduler = None
        self._ordered.clear()

    def _begin(self, fields: Mapping[str, object]) -> None:
        policy, capacity = began_of(fields)
        self._stop()
        self._scheduler = Scheduler(changed_policy(policy, self._numbers), capacity)
        self._starts += 1

    def _go_on(self, scheduler: Scheduler, entry: LoggedEvent) -> None:
        match entry.kind:
            case "ServiceForgotten":
                scheduler.state.service.forget()
                scheduler.state.predictor.forget()
            case "ServiceRestored":
                evidence = msgspec.convert(entry.fields["service"], dict[str, tuple[float, ...]])
                scheduler.state.service.restore(evidence, entry.at)
                lengths = msgspec.convert(entry.fields.get("lengths", ()), _Lengths)
                scheduler.state.predictor.restore(lengths)
            case "OptimizerStepped" | "OptimizerFailed":
                self._close(scheduler, window_of(entry.fields["window"]))
            case kind if kind in ACTIONS:
                action = action_of(kind, entry.fields)
                assert action is not None
                self._ordered.append(action)
            case kind:
                event = event_of(kind, entry.fields)
                if event is not None:
                    self._handle(scheduler, event, entry)

    def _close(self, scheduler: Scheduler, recorded: Window) -> None:
        self._windows += 1
        self._windows_differing += scheduler.close_window(recorded.at) != recorded

    def _handle(self, scheduler: Scheduler, event: Event, entry: LoggedEvent) -> None:
        recorded, error = tuple(self._ordered), None
        self._ordered.clear()
        try:
            replayed = tuple(scheduler.handle(event))
        except Exception as caught:  # noqa: BLE001 - a fault of today's code is an outcome
            replayed, error = (), repr(caught)
            self._scheduler = None
        self._events += 1
        self._count(self._recorded, recorded)
        self._count(self._replayed, replayed)
        if recorded == replayed and error is None:
            return
        self._differing += 1
        if len(self._first) < ORDERS_MAX:
            kind = type(event).__name__
            self._first.append(OtherOrders(event.at, entry.seq, kind, recorded, replayed, error))

    def _count(self, counter: Counter[str], actions: Sequence[Action]) -> None:
        for action in actions:
            counter[type(action).__name__] += 1


def plain_orders(actions: Sequence[Action]) -> list[dict[str, Any]]:
    """The orders with their kinds, as JSON says them."""
    return [{"kind": type(one).__name__, **msgspec.to_builtins(one)} for one in actions]
