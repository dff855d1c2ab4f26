"""Other numbers for a replay: `KEY=VALUE` of the scheduler's policy, the optimizer's or its
climbers'. A key that both policies have goes to both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, get_type_hints

import msgspec

from stoker.core.climb import ClimbPolicy
from stoker.core.optimizer import Optimizer, OptimizerPolicy
from stoker.core.policy import Policy
from stoker.core.scheduler import Scheduler

Numbers = Mapping[str, Any]


def numbers_of(settings: Iterable[str]) -> dict[str, Any]:
    """`KEY=VALUE` as numbers of one of the policies. Raises `ValueError`."""
    hints = {
        **get_type_hints(OptimizerPolicy),
        **get_type_hints(ClimbPolicy),
        **get_type_hints(Policy),
    }
    del hints["climb"]
    numbers: dict[str, Any] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in hints:
            raise ValueError(
                f"{name!r} is no number of the optimizer or the scheduler; "
                f"there are {', '.join(hints)}"
            )
        numbers[name] = _value(name, text, hints[name])
    try:
        Optimizer(changed(OptimizerPolicy(), numbers))
        Scheduler(changed_policy(Policy(), numbers))
    except ValueError as error:
        raise ValueError(f"nothing can start with these numbers: {error}") from None
    return numbers


def changed(policy: OptimizerPolicy, numbers: Numbers) -> OptimizerPolicy:
    """The policy with some numbers of its own, or of its climbers, replaced."""
    climb = replace(policy.climb, **_named(ClimbPolicy, numbers))
    return replace(policy, climb=climb, **_named(OptimizerPolicy, numbers))


def changed_policy(policy: Policy, numbers: Numbers) -> Policy:
    """The scheduler's policy with some numbers replaced."""
    return replace(policy, **_named(Policy, numbers))


def of_scheduler_alone(numbers: Numbers) -> list[str]:
    """Those that say nothing to an optimizer."""
    theirs = {**_named(ClimbPolicy, numbers), **_named(OptimizerPolicy, numbers)}
    return [name for name in numbers if name not in theirs]


def _named(policy: type, numbers: Numbers) -> dict[str, Any]:
    names = {one.name for one in fields(policy)}
    return {name: value for name, value in numbers.items() if name in names}


def _value(name: str, text: str, hint: Any) -> Any:  # noqa: ANN401 - as the field says
    try:
        value = msgspec.convert(text, hint, strict=False)
    except msgspec.ValidationError:
        kind = getattr(hint, "__name__", str(hint))
        raise ValueError(f"{name}: {text!r} is not of type {kind}") from None
    if value is not None and not math.isfinite(value):
        raise ValueError(f"{name}: {text!r} is not finite")
    return value
