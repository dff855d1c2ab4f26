"""Events and actions as the fields of a log line, and exactly back: what a replay rests on.

A line's kind is the name of its class. Windows and steps are `optimizer_record.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from operator import attrgetter
from typing import Any, get_args

import msgspec

from stoker.core.actions import Action
from stoker.core.events import Event, FirstToken, Progressed
from stoker.core.limits import Capacity
from stoker.core.policy import Policy

EVENTS: dict[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}
ACTIONS: dict[str, type[Action]] = {kind.__name__: kind for kind in get_args(Action)}
_Reader = tuple[tuple[str, ...], Callable[[object], tuple[object, ...]]]
FREQUENT: dict[str, type[Event]] = {kind.__name__: kind for kind in (FirstToken, Progressed)}
"""They come several times a second, and only a replay of the scheduler needs them."""


def fields_of(record: object) -> dict[str, object]:
    """The fields of an event or an action. What is inside them becomes JSON when it is written."""
    names, values_of = _READERS[type(record)]
    return dict(zip(names, values_of(record), strict=True))


def _reader(kind: type[Event] | type[Action]) -> _Reader:
    names = tuple(field.name for field in fields(kind))
    if len(names) == 1:  # of one name alone, `attrgetter` gives no tuple
        return names, lambda record: (getattr(record, names[0]),)
    return names, attrgetter(*names)


_READERS: dict[type, _Reader] = {
    kind: _reader(kind) for kind in (*EVENTS.values(), *ACTIONS.values())
}


def event_of(kind: str, fields: Mapping[str, object]) -> Event | None:
    """The event again; `None` for any other kind. Raises `msgspec.ValidationError`."""
    known = EVENTS.get(kind)
    return None if known is None else msgspec.convert(fields, known)


def action_of(kind: str, fields: Mapping[str, object]) -> Action | None:
    """The action again; `None` for any other kind. Raises `msgspec.ValidationError`."""
    known = ACTIONS.get(kind)
    return None if known is None else msgspec.convert(fields, known)


def beginning(policy: Policy, capacity: Capacity) -> dict[str, Any]:
    """The fields of `SchedulerBegan`: what a scheduler starts from."""
    return {"policy": msgspec.to_builtins(policy), "capacity": msgspec.to_builtins(capacity)}


def began_of(fields: Mapping[str, object]) -> tuple[Policy, Capacity]:
    """What it started from. Raises `KeyError` or `msgspec.ValidationError`."""
    policy = msgspec.convert(fields["policy"], Policy)
    return policy, msgspec.convert(fields["capacity"], Capacity)
