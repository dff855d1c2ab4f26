"""Events and actions as the fields of a log line, and exactly back: what a replay rests on.

A line's kind is the name of its class. Windows and steps are `optimizer_record.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from stoker.core.actions import Action
from stoker.core.events import Event, FirstToken, Progressed
from stoker.core.limits import Capacity
from stoker.core.policy import Policy

EVENTS: dict[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}
ACTIONS: dict[str, type[Action]] = {kind.__name__: kind for kind in get_args(Action)}
FREQUENT: dict[str, type[Event]] = {kind.__name__: kind for kind in (FirstToken, Progressed)}
"""They come several times a second, and only a replay of the scheduler needs them."""


def fields_of(record: object) -> dict[str, object]:
    """The fields of an event or an action. What is inside them becomes JSON when it is written."""
    return {name: getattr(record, name) for name in type(record).__dataclass_fields__}  # type: ignore[attr-defined]


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
