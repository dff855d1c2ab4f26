"""Windows and steps as plain JSON in the event log, and back: enough to step the optimizer again.

`OptimizerBegan` has `policy` and `known` (what it starts from), `OptimizerStepped` has `window` and
`step`. Numbers are written in full, so the same windows give the very same steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from stoker.core.climb import ClimbStep
from stoker.core.limits import Limits
from stoker.core.optimizer import Learned, OptimizerPolicy, Shape, Step
from stoker.core.window import Window
from stoker.core.work import Priority

Json = Mapping[str, Any]

KINDS = frozenset({"OptimizerBegan", "OptimizerFailed", "OptimizerStepped"})
"""All that a replay of the optimizer needs."""


def plain(value: object) -> Any:  # noqa: ANN401 - whatever JSON can say
    """A frozen record as JSON's own types; keys that are numbers become text."""
    return msgspec.to_builtins(value, str_keys=True)


def step_document(step: Step) -> dict[str, Any]:
    """A step, with its classes by name."""
    return {
        "at": step.at,
        "limits": plain(step.limits),
        "climbs": {priority.label: plain(climb) for priority, climb in step.climbs.items()},
        "shapes": {priority.label: shape.value for priority, shape in step.shapes.items()},
    }


def window_of(document: object) -> Window:
    """The window again. Raises `msgspec.ValidationError` for anything else."""
    return msgspec.convert(document, Window, str_keys=True)


def policy_of(document: object) -> OptimizerPolicy:
    """The optimizer's numbers again. Raises `msgspec.ValidationError`."""
    return msgspec.convert(document, OptimizerPolicy)


def known_of(document: object) -> tuple[Learned, ...]:
    """What an optimizer started from. Raises `msgspec.ValidationError`."""
    return msgspec.convert(document, tuple[Learned, ...])


def step_of(document: Json) -> Step:
    """The step again. Raises `KeyError` or `msgspec.ValidationError`."""
    return Step(
        at=document["at"],
        limits=msgspec.convert(document["limits"], Limits),
        climbs={
            _priority(label): msgspec.convert(climb, ClimbStep)
            for label, climb in document["climbs"].items()
        },
        shapes={_priority(label): Shape(shape) for label, shape in document["shapes"].items()},
    )


def _priority(label: str) -> Priority:
    return Priority[label.upper()]
