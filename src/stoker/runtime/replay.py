"""A recorded optimizer stepped again: where today's code, or other numbers, decide otherwise.

Pure: the events of a log in, a report out. It steps over the recorded windows, which cannot react:
after the first difference they still show what the recorded ceilings had done.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, get_args, get_type_hints

import msgspec

from stoker.core.actions import Action
from stoker.core.climb import ClimbPolicy
from stoker.core.errors import StokerError
from stoker.core.events import Event
from stoker.core.optimizer import Optimizer, OptimizerPolicy, Step
from stoker.core.window import Window
from stoker.core.work import Priority
from stoker.runtime.event_file import BrokenLine
from stoker.runtime.optimizer_record import known_of, policy_of, step_of, window_of
from stoker.runtime.recorder import LoggedEvent

_FAILED = "failed"
_OTHERS = frozenset(kind.__name__ for kind in (*get_args(Event), *get_args(Action))) | {
    "JobsRescued"
}
_UNREADABLE = (AttributeError, KeyError, TypeError, ValueError)


class CannotReplay(StokerError):
    """A recording has nothing that could be replayed; the message says why."""

    code = "cannot_replay"


@dataclass(frozen=True, slots=True)
class Decision:
    """What one step said about one class. `ceiling` is `None` where capacity alone binds."""

    ceiling: int | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """One ceiling, or its reason, that a replayed step gave otherwise."""

    at: float
    of: str
    """`p0`, `p1`, `p2`; or `tokens`, the ceiling of all together."""
    recorded: Decision
    replayed: Decision
    places: int
    """How far apart the ceilings are; no ceiling counts as the engine's slots. Of tokens 0."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What came out: how many steps were taken again, from how many starts, and what differs."""

    steps: int
    starts: int
    differing: int
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    """What could not be replayed, a line each."""

    @property
    def largest(self) -> Difference | None:
        """The first of those that are furthest apart; `None` where no places differ."""
        found = max(self.differences, key=lambda one: one.places, default=None)
        return found if found is not None and found.places else None


def replay(
    entries: Iterable[LoggedEvent | BrokenLine], numbers: Mapping[str, Any] | None = None
) -> Replay:
    """Step today's optimizer over what was recorded, with other `numbers` if there are some.

    Raises `CannotReplay` where not one step can be taken.
    """
    replaying = _Replaying(numbers or {})
    for entry in entries:
        if isinstance(entry, BrokenLine):
            replaying.notes.broken(entry)
        else:
            replaying.take(entry)
    return replaying.result()


def numbers_of(settings: Iterable[str]) -> dict[str, Any]:
    """`KEY=VALUE` as numbers of the optimizer's or the climber's policy. Raises `ValueError`."""
    hints = {**get_type_hints(OptimizerPolicy), **get_type_hints(ClimbPolicy)}
    del hints["climb"]
    numbers: dict[str, Any] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in hints:
            raise ValueError(
                f"{name!r} is no number of the optimizer; there are {', '.join(hints)}"
            )
        try:
            numbers[name] = msgspec.convert(text, hints[name], strict=False)
        except msgspec.ValidationError:
            raise ValueError(f"{name}: {text!r} is not of type {hints[name].__name__}") from None
        if not math.isfinite(numbers[name]):
            raise ValueError(f"{name}: {text!r} is not finite")
    try:
        Optimizer(changed(OptimizerPolicy(), numbers))
    except ValueError as error:
        raise ValueError(f"no optimizer can start with these numbers: {error}") from None
    return numbers


def changed(policy: OptimizerPolicy, numbers: Mapping[str, Any]) -> OptimizerPolicy:
    """The policy with some numbers of its own, or of its climbers, replaced."""
    inner = {one.name for one in fields(ClimbPolicy)} & set(numbers)
    climb = replace(policy.climb, **{name: numbers[name] for name in inner})
    outer = {name: value for name, value in numbers.items() if name not in inner}
    return replace(policy, climb=climb, **outer)


class _Replaying:
    """The replay while it goes on. Without an optimizer it waits for the next that began."""

    def __init__(self, numbers: Mapping[str, Any]) -> None:
        self.notes = _Notes()
        self._numbers = numbers
        self._policy = OptimizerPolicy()
        self._optimizer: Optimizer | None = None
        self._seq: int | None = None
        self._steps = self._starts = self._differing = 0
        self._differences: list[Difference] = []

    def take(self, event: LoggedEvent) -> None:
        self._follow(event.seq)
        try:
            match event.kind:
                case "OptimizerBegan":
                    self._begin(event.fields)
                case "OptimizerStepped" | "OptimizerFailed":
                    window = window_of(event.fields["window"])
                    has_failed = event.kind == "OptimizerFailed"
                    recorded = None if has_failed else step_of(_mapping(event.fields["step"]))
                    self._step(window, recorded)
                case kind if kind not in _OTHERS:
                    self.notes.unknown(kind)
        except _UNREADABLE as error:
            # Whatever it was, the optimizer has missed it.
            self.notes.unreadable(event, error)
            self._optimizer = None

    def result(self) -> Replay:
        if not self._steps:
            raise CannotReplay("; ".join(("it has no step to replay", *self.notes.lines())))
        return Replay(
            self._steps,
            self._starts,
            self._differing,
            tuple(self._differences),
            tuple(self.notes.lines()),
        )

    def _follow(self, seq: int) -> None:
        """Notice a new life, which counts from the start again, and events that were lost."""
        before, self._seq = self._seq, seq
        if before is None or seq == before + 1:
            return
        self._optimizer = None
        if seq > before:
            self.notes.gap(before + 1, seq - 1)

    def _begin(self, document: Mapping[str, object]) -> None:
        self._policy = changed(policy_of(document["policy"]), self._numbers)
        self._optimizer = Optimizer(self._policy, known=known_of(document["known"]))
        self._starts += 1

    def _step(self, window: Window, recorded: Step | None) -> None:
        if self._optimizer is None:
            self.notes.skipped += 1
            return
        replayed: Step | None
        try:
            replayed = self._optimizer.step(window)
        except Exception:  # noqa: BLE001 - as in the service: a step that fails is an outcome
            replayed = None
            self._optimizer = Optimizer(self._policy)
        before, after = _decisions(recorded), _decisions(replayed)
        found = [
            Difference(
                window.at, of, before[of], after[of], _places(of, before[of], after[of], window)
            )
            for of in before
            if before[of] != after[of]
        ]
        self._steps += 1
        self._differing += bool(found)
        self._differences += found


def _decisions(step: Step | None) -> dict[str, Decision]:
    """What a step decided; `None` has failed, and lifts every ceiling."""
    bulk = (Priority.P1, Priority.P2)
    if step is None:
        failed = {priority.label: Decision(None, _FAILED) for priority in bulk}
        return {Priority.P0.label: Decision(None), **failed, "tokens": Decision(None)}
    limits = step.limits
    return {
        Priority.P0.label: Decision(limits.requests_p0),
        **{
            priority.label: Decision(limits.requests(priority), step.climbs[priority].reason.value)
            for priority in bulk
        },
        "tokens": Decision(limits.tokens),
    }


def _places(of: str, before: Decision, after: Decision, window: Window) -> int:
    if of == "tokens":
        return 0
    slots = window.capacity.requests
    places = [slots if one.ceiling is None else one.ceiling for one in (before, after)]
    return abs(places[0] - places[1])


def _mapping(value: object) -> Mapping[str, Any]:
    return msgspec.convert(value, dict[str, Any])


class _Notes:
    """What could not be replayed: one line for each kind of trouble, however often it came."""

    def __init__(self) -> None:
        self.skipped = 0
        self._gaps: list[tuple[int, int]] = []
        self._foreign: list[str] = []
        self._cut: list[str] = []
        self._unreadable: list[str] = []
        self._unknown: dict[str, int] = {}

    def gap(self, first: int, last: int) -> None:
        self._gaps.append((first, last))

    def broken(self, line: BrokenLine) -> None:
        (self._cut if line.is_cut else self._foreign).append(line.where)

    def unreadable(self, event: LoggedEvent, error: Exception) -> None:
        self._unreadable.append(f"{event.kind} with seq {event.seq}: {error!r}")

    def unknown(self, kind: str) -> None:
        self._unknown[kind] = self._unknown.get(kind, 0) + 1

    def lines(self) -> list[str]:
        lines: list[str] = []
        if self._gaps:
            first, last = self._gaps[0]
            lines.append(
                f"gaps in seq: {len(self._gaps)} (the first: {first} to {last}); "
                "after one, the replay goes on from the next OptimizerBegan"
            )
        if self.skipped:
            lines.append(f"steps without their OptimizerBegan, left out: {self.skipped}")
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
