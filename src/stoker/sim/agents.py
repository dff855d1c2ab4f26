"""Agents with a growing context: turn after turn, each sends all that was said before.

A session thinks or uses a tool between its turns. When it is done, a new one takes its place, so
that the number of sessions offered stays what it was; how many of them run is up to the arm.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from stoker.core.work import Priority, RequestId
from stoker.sim.kernel import Kernel
from stoker.sim.lengths import lognormal
from stoker.sim.work import Segment, SimRequest
from stoker.sim.workload import Door


@dataclass(frozen=True, slots=True)
class AgentLoad:
    """The agents of the H100 baseline run: 1,500 shared + 500 own + 300 a turn, output 150."""

    sessions: int = 64
    """Offered at once."""
    priority: Priority = Priority.P1
    turns: int = 10
    system_tokens: int = 1500
    own_tokens: int = 500
    turn_tokens: int = 300
    output_mean: float = 150.0
    output_sigma: float = 0.7
    output_max: int = 1024
    think_mean_s: float = 1.0
    spread_s: float = 20.0
    """Time over which the first sessions come."""


SYSTEM_KEY = "agent system prompt"


class Session:
    """One agent: its text so far, and its own source of chance."""

    def __init__(self, id: str, load: AgentLoad, random: Random) -> None:
        self.id = id
        self._load = load
        self._random = random
        self._tokens = load.own_tokens
        self.turn = 0

    @property
    def is_over(self) -> bool:
        return self.turn >= self._load.turns

    def next_turn(self) -> SimRequest:
        """Say the next thing; its answer will be part of the text."""
        load = self._load
        self.turn += 1
        self._tokens += load.turn_tokens
        output = lognormal(self._random, load.output_mean, load.output_sigma)
        request = SimRequest(
            RequestId(f"{self.id}/{self.turn}"),
            load.priority,
            (Segment(SYSTEM_KEY, load.system_tokens), Segment(self.id, self._tokens)),
            min(output, load.output_max),
            max_tokens=load.output_max,
            family="agent",
            session=self.id,
            extends=True,
        )
        self._tokens += request.output_tokens
        return request

    def think_s(self) -> float:
        return self._random.expovariate(1.0 / self._load.think_mean_s)


class Agents:
    """Keeps the sessions going: tell it when a turn has ended."""

    def __init__(self, load: AgentLoad, kernel: Kernel, door: Door) -> None:
        self.priority = load.priority
        self._load = load
        self._kernel = kernel
        self._door = door
        self._sessions: dict[str, Session] = {}
        self.started = 0
        starts = kernel.random("agent starts")
        for _ in range(load.sessions):
            kernel.at(starts.uniform(0.0, load.spread_s), self._start)

    def is_last(self, request: SimRequest) -> bool:
        """Whether its session says nothing more after it."""
        session = self._sessions.get(request.session)
        return session is None or session.is_over

    def turn_ended(self, request: SimRequest) -> None:
        """Think, then say the next thing; or let another session begin."""
        session = self._sessions[request.session]
        if session.is_over:
            del self._sessions[session.id]
            self._start()
        else:
            self._kernel.after(session.think_s(), lambda: self._door.arrive(session.next_turn()))

    def _start(self) -> None:
        id = f"agent-{self.started}"
        self.started += 1
        session = Session(id, self._load, self._kernel.random(id))
        self._sessions[id] = session
        self._door.arrive(session.next_turn())
