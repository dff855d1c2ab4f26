"""Log lines: every event, action, window and step comes back from the file as it was."""

from __future__ import annotations

from collections import abc
from dataclasses import fields, is_dataclass
from enum import Enum
from types import NoneType
from typing import NewType, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.core.limits import Capacity
from stoker.core.optimizer import Learned, OptimizerPolicy, Step
from stoker.core.policy import Policy
from stoker.core.window import Window
from stoker.runtime.event_codec import (
    ACTIONS,
    EVENTS,
    action_of,
    began_of,
    beginning,
    event_of,
    fields_of,
)
from stoker.runtime.event_file import EventFile, read_events
from stoker.runtime.optimizer_record import (
    known_of,
    plain,
    policy_of,
    step_document,
    step_of,
    window_of,
)
from stoker.runtime.recorder import LoggedEvent

# JSON has neither infinity nor NaN, and its readers disagree on what lies beyond 64 bits.
LEAVES = {
    bool: st.booleans(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    int: st.integers(-(2**63), 2**64 - 1),
    str: st.text(max_size=8),
    NoneType: st.none(),
}

few = settings(max_examples=15)


def of(hint):
    """Anything of that type, down through records, unions, mappings and tuples."""
    inner = [of(one) for one in get_args(hint) if one is not Ellipsis]
    if isinstance(hint, NewType):
        return of(hint.__supertype__)
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        return st.builds(hint, **{one.name: of(hints[one.name]) for one in fields(hint)})
    match get_origin(hint):
        case None:
            return st.sampled_from(hint) if issubclass(hint, Enum) else LEAVES[hint]
        case abc.Mapping:
            return st.dictionaries(*inner, max_size=3)
        case origin if origin is tuple:
            return st.lists(*inner, max_size=3).map(tuple)
        case _:
            return st.one_of(inner)


def through_json(fields):
    """As a line of the file has them."""
    line = msgspec.json.encode(LoggedEvent(1, "kind", 0.0, fields), enc_hook=str)
    return msgspec.json.decode(line, type=LoggedEvent).fields


@pytest.mark.parametrize("kind", EVENTS)
@few
@given(data=st.data())
def test_every_event_comes_back_as_it_was(kind, data):
    event = data.draw(of(EVENTS[kind]))

    assert event_of(kind, through_json(fields_of(event))) == event


@pytest.mark.parametrize("kind", ACTIONS)
@few
@given(data=st.data())
def test_every_action_comes_back_as_it_was(kind, data):
    action = data.draw(of(ACTIONS[kind]))

    assert action_of(kind, through_json(fields_of(action))) == action


@few
@given(window=of(Window))
def test_a_window_comes_back_as_it_was(window):
    assert window_of(through_json({"window": plain(window)})["window"]) == window


@pytest.mark.slow
@few
@given(step=of(Step))
def test_a_step_comes_back_as_it_was(step):
    assert step_of(through_json(step_document(step))) == step


@few
@given(policy=of(OptimizerPolicy), known=of(tuple[Learned, ...]))
def test_what_an_optimizer_began_with_comes_back_as_it_was(policy, known):
    fields = through_json({"policy": plain(policy), "known": plain(known)})

    assert (policy_of(fields["policy"]), known_of(fields["known"])) == (policy, known)


@few
@given(policy=of(Policy), capacity=of(Capacity))
def test_what_a_scheduler_began_with_comes_back_as_it_was(policy, capacity):
    assert began_of(through_json(beginning(policy, capacity))) == (policy, capacity)


def test_progress_comes_back_in_its_order_through_a_file(tmp_path):
    tokens = {f"req_{number}": number for number in (3, 1, 2)}
    file = EventFile(tmp_path / "events.jsonl")
    file.write([LoggedEvent(1, "Progressed", 0.1 + 0.2, {"at": 0.1 + 0.2, "tokens": tokens})])

    [line] = read_events(tmp_path / "events.jsonl")

    event = event_of(line.kind, line.fields)
    assert event.at == 0.1 + 0.2
    assert list(event.tokens.items()) == list(tokens.items())


def test_other_kinds_are_neither_events_nor_actions():
    assert event_of("Dispatch", {}) is None
    assert action_of("Arrived", {}) is None
    assert event_of("OptimizerStepped", {}) is None


def test_fields_that_are_no_event_are_refused():
    with pytest.raises(msgspec.ValidationError):
        event_of("Arrived", {"at": 1.0, "request": None})
