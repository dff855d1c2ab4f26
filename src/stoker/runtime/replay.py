"""A recorded optimizer stepped again: where today's code, or other numbers, decide otherwise.

Pure: the events of a log in, a report out. It steps over the recorded windows, which cannot react:
after the first difference they still show what the recorded ceilings had done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from stoker.core.errors import CannotReplay
from stoker.core.limits import Limits
from stoker.core.optimizer import Optimizer, OptimizerPolicy, Step
from stoker.core.window import Window
from stoker.core.work import Priority
from stoker.runtime.event_file import BrokenLine
from stoker.runtime.optimizer_record import known_of, policy_of, step_of, window_of
from stoker.runtime.recorder import LoggedEvent
from stoker.runtime.recording import UNREADABLE, Recording
from stoker.runtime.replay_numbers import Numbers, changed

_FAILED = "failed"


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
class Ceilings:
    """Every ceiling after one step; none where the step failed."""

    at: float
    recorded: Limits
    replayed: Limits


@dataclass(frozen=True, slots=True)
class Replay:
    """What came out: how many steps were taken again, from how many starts, and what differs."""

    steps: int
    starts: int
    differing: int
    differences: tuple[Difference, ...]
    ceilings: tuple[Ceilings, ...]
    """Of every step, for a picture."""
    notes: tuple[str, ...]
    """What could not be replayed, a line each."""

    @property
    def largest(self) -> Difference | None:
        """The first of those that are furthest apart; `None` where no places differ."""
        found = max(self.differences, key=lambda one: one.places, default=None)
        return found if found is not None and found.places else None


def replay(entries: Iterable[LoggedEvent | BrokenLine], numbers: Numbers | None = None) -> Replay:
    """Step today's optimizer over what was recorded, with other `numbers` if there are some.

    Raises `CannotReplay` where not one step can be taken.
    """
    recording = Recording(entries, counted="steps", beginning="OptimizerBegan")
    replaying = _Replaying(recording, numbers or {})
    for event, follows in recording:
        replaying.take(event, follows=follows)
    return replaying.result()


class _Replaying:
    """The replay while it goes on. Without an optimizer it waits for the next that began."""

    def __init__(self, recording: Recording, numbers: Numbers) -> None:
        self._recording = recording
        self._numbers = numbers
        self._policy = OptimizerPolicy()
        self._optimizer: Optimizer | None = None
        self._steps = self._starts = self._differing = 0
        self._differences: list[Difference] = []
        self._ceilings: list[Ceilings] = []

    def take(self, event: LoggedEvent, *, follows: bool) -> None:
        if not follows:
            self._optimizer = None
        try:
            match event.kind:
                case "OptimizerBegan":
                    self._begin(event.fields)
                case "OptimizerStepped" | "OptimizerFailed":
                    window = window_of(event.fields["window"])
                    has_failed = event.kind == "OptimizerFailed"
                    recorded = None if has_failed else step_of(_mapping(event.fields["step"]))
                    self._step(window, recorded)
        except UNREADABLE as error:
            # Whatever it was, the optimizer has missed it.
            self._recording.unreadable(event, error)
            self._optimizer = None

    def result(self) -> Replay:
        if not self._steps:
            raise CannotReplay("; ".join(("it has no step to replay", *self._recording.notes())))
        return Replay(
            self._steps,
            self._starts,
            self._differing,
            tuple(self._differences),
            tuple(self._ceilings),
            tuple(self._recording.notes()),
        )

    def _begin(self, document: Mapping[str, object]) -> None:
        self._policy = changed(policy_of(document["policy"]), self._numbers)
        self._optimizer = Optimizer(self._policy, known=known_of(document["known"]))
        self._starts += 1

    def _step(self, window: Window, recorded: Step | None) -> None:
        if self._optimizer is None:
            self._recording.skipped += 1
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
        self._ceilings.append(Ceilings(window.at, _limits(recorded), _limits(replayed)))
        self._differing += bool(found)
        self._differences += found


def _limits(step: Step | None) -> Limits:
    return Limits() if step is None else step.limits


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
