"""Who writes down what the core is told and what it decides, for a replay. The simulator writes no
files itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stoker.core.actions import Action
from stoker.core.events import Event
from stoker.core.limits import Capacity
from stoker.core.optimizer import OptimizerPolicy, Step
from stoker.core.policy import Policy
from stoker.core.window import Window


class Diary(Protocol):
    """Told of everything, in its order."""

    def scheduler_began(self, at: float, policy: Policy, capacity: Capacity) -> None: ...

    def optimizer_began(self, at: float, policy: OptimizerPolicy) -> None: ...

    def handled(self, event: Event, actions: Sequence[Action]) -> None: ...

    def stepped(self, window: Window, step: Step) -> None: ...
