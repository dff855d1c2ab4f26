"""What goes wrong: the engine stalls or dies, its gauges go silent, a crowd comes at once.

Clients that hang up and jobs under a wrong label are part of the demand (`workload.py`); a
co-tenant that takes memory is part of the host (`host_model.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from stoker.sim.work import SimRequest
from stoker.sim.workload import People
from stoker.sim.world import Arm, World


@dataclass(frozen=True, slots=True)
class Stall:
    """The engine stands still and goes on as if nothing had been."""

    at_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Restart:
    """The engine dies with all that it runs and is back, empty, after some time."""

    at_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Silence:
    """The gauges cannot be read; the engine itself works."""

    at_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Crowd:
    """So many interactive requests at once, on top of the usual ones."""

    at_s: float
    count: int


Fault = Stall | Restart | Silence | Crowd


def install(fault: Fault, world: World, arm: Arm, people: People | None) -> None:
    """Let it happen at its time."""
    kernel = world.kernel
    match fault:
        case Stall(at_s=at, seconds=seconds):
            kernel.at(at, world.stall)
            kernel.at(at + seconds, world.go_on)
        case Restart(at_s=at, seconds=seconds):
            kernel.at(at, lambda: _die(world, arm))
            kernel.at(at + seconds, lambda: _come_back(world, arm))
        case Silence(at_s=at, seconds=seconds):
            kernel.at(at, lambda: world.hear(is_heard=False))
            kernel.at(at + seconds, lambda: world.hear(is_heard=True))
        case Crowd(at_s=at, count=count):
            assert people is not None, "a crowd of what? the scenario has no interactive load"
            kernel.at(at, lambda: people.crowd(count))
        case _:
            assert_never(fault)


def _die(world: World, arm: Arm) -> None:
    lost: list[SimRequest] = world.die()
    for request in lost:
        arm.lost(request)


def _come_back(world: World, arm: Arm) -> None:
    world.revive()
    arm.engine_is_back()
