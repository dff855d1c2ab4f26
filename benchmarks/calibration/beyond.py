"""Loads that no calibration saw: P0 beside a P2 closed loop, and agents whose contexts grow.

The measured figures are those of vLLM 0.23.0 on an H100 (benchmarks/data/README.md); a model that
was fitted to unshared prompts at one length must tell these too, or it is good for nothing else.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass

from stoker.core.work import Priority, RequestId
from stoker.sim.engine_model import EngineModel
from stoker.sim.profiles import EngineProfile
from stoker.sim.work import Ended, Segment, SimRequest, Started

from .figures import Figures, lognormal, percentile

CONTEXT_MAX = 6000
"""A session ends early rather than outgrow `--max-model-len 8192`."""


@dataclass(frozen=True, slots=True)
class Agents:
    """Turns of 300 new tokens on a context that keeps all before them, ten to a session."""

    count: int
    measured: Figures
    warm_up_s: float = 60.0
    window_s: float = 120.0

    @property
    def name(self) -> str:
        return f"{self.count} agents"


@dataclass(frozen=True, slots=True)
class Interactive:
    """P0 (500 + 100 tokens, Poisson 0.5/s) with priority, beside a closed loop of P2."""

    callers: int
    measured: Figures
    uses_priority: bool = True
    warm_up_s: float = 20.0
    window_s: float = 200.0

    @property
    def name(self) -> str:
        return f"P0 beside {self.callers} P2" + ("" if self.uses_priority else ", no priority")


H100_GRAPHS: tuple[Agents | Interactive, ...] = (
    Interactive(0, {"p0_ttft_p50_s": 0.030, "p0_e2e_p50_s": 0.60}),
    Interactive(32, {"p0_ttft_p50_s": 0.060, "p0_e2e_p50_s": 1.73, "p2_tokens_per_s": 1922}),
    Interactive(64, {"p0_ttft_p50_s": 0.070, "p0_e2e_p50_s": 2.11, "p2_tokens_per_s": 3080}),
    Interactive(128, {"p0_ttft_p50_s": 0.096, "p0_e2e_p50_s": 2.35, "p2_tokens_per_s": 3186}),
    Interactive(
        128,
        {"p0_ttft_p50_s": 7.665, "p0_e2e_p50_s": 9.94, "p2_tokens_per_s": 3162},
        uses_priority=False,
    ),
    Agents(16, {"turns_per_s": 5.79, "cached_share": 0.92, "ttft_p50_s": 0.054}),
    Agents(32, {"turns_per_s": 8.51, "cached_share": 0.75, "ttft_p50_s": 0.079}),
    Agents(48, {"turns_per_s": 6.79, "cached_share": 0.34, "ttft_p50_s": 1.521}),
)


def simulate(profile: EngineProfile, case: Agents | Interactive, *, seed: int = 1) -> Figures:
    """What the engine model gives."""
    world = _World(profile, random.Random(seed))
    if isinstance(case, Agents):
        return _agents(world, case)
    return _interactive(world, case)


class _World:
    """Asks when it is time to, and remembers what was answered when."""

    def __init__(self, profile: EngineProfile, chance: random.Random) -> None:
        self.engine = EngineModel(profile)
        self.chance = chance
        self.asks: list[tuple[float, int, SimRequest]] = []
        self.asked_at: dict[RequestId, float] = {}
        self.started: dict[RequestId, Started] = {}
        self.number = 0

    def plan(self, at: float, request: SimRequest) -> None:
        self.number += 1
        heapq.heappush(self.asks, (at, self.number, request))

    def step(self, until: float) -> Sequence[Ended] | None:
        """Go to the next event; `None` when there is none by `until`."""
        next_at = self.engine.next_at()
        asks_at = self.asks[0][0] if self.asks else until + 1
        if min(asks_at, until + 1 if next_at is None else next_at) > until:
            return None
        if next_at is not None and next_at < asks_at:
            return self._hear(next_at)
        ended = self._hear(asks_at)
        _, _, request = heapq.heappop(self.asks)
        self.asked_at[request.id] = asks_at
        self.engine.submit(asks_at, request, engine_priority=int(request.priority))
        return ended

    def _hear(self, to: float) -> Sequence[Ended]:
        ended = []
        for notice in self.engine.advance(to):
            if isinstance(notice, Started):
                self.started[notice.id] = notice
            else:
                ended.append(notice)
        return ended


def _agents(world: _World, case: Agents) -> Figures:
    chance, until = world.chance, case.warm_up_s + case.window_s
    session = dict.fromkeys(range(case.count), 0)
    turn = {agent: chance.randrange(10) for agent in session}
    context = {agent: 500 + 450 * turn[agent] for agent in session}

    def ask(agent: int, at: float) -> None:
        name = f"{agent}/{session[agent]}"
        own = Segment(name, context[agent])
        world.plan(
            at,
            SimRequest(
                RequestId(f"{name}/{turn[agent]}"), Priority.P1, (Segment("system", 1500), own),
                lognormal(chance, 150, 0.7), extends=True,
            ),
        )  # fmt: skip

    for agent in session:
        ask(agent, chance.expovariate(1.0))
    done: list[Ended] = []
    while (ended := world.step(until)) is not None:
        for end in ended:
            done.append(end)
            agent = int(end.id.split("/")[0])
            turn[agent] += 1
            context[agent] += end.usage.output_tokens + 300
            if turn[agent] == 10 or context[agent] > CONTEXT_MAX:
                session[agent] += 1
                turn[agent], context[agent] = 0, 500
            ask(agent, end.at + chance.expovariate(1.0))
    counted = [end for end in done if end.at > case.warm_up_s]
    ttft_s = [
        one.at - world.asked_at[id] for id, one in world.started.items() if one.at > case.warm_up_s
    ]
    cached = sum(end.usage.cached_tokens or 0 for end in counted)
    return {
        "turns_per_s": len(counted) / case.window_s,
        "cached_share": cached / sum(end.usage.prompt_tokens for end in counted),
        "ttft_p50_s": percentile(ttft_s, 0.5),
    }


def _interactive(world: _World, case: Interactive) -> Figures:
    chance, until = world.chance, case.warm_up_s + case.window_s

    def ask(priority: Priority, at: float, prompt: int, output: int) -> None:
        name = f"{priority.label} {world.number}"
        standing = priority if case.uses_priority else Priority.P2
        world.plan(at, SimRequest(RequestId(name), standing, (Segment(name, prompt),), output))

    at = 0.0
    while (at := at + chance.expovariate(0.5)) < until:
        ask(Priority.P0, at, 500, 100)
    for _ in range(case.callers):
        ask(Priority.P2, 0.0, 1000, max(1, round(lognormal(chance, 650, 0.7) * chance.random())))
    done: list[Ended] = []
    while (ended := world.step(until)) is not None:
        for end in ended:
            done.append(end)
            if end.id.startswith("p2"):
                ask(Priority.P2, end.at, 1000, lognormal(chance, 400, 0.7))
    p0 = [end for end in done if end.id.startswith("p0") and end.at > case.warm_up_s]
    p2 = [end for end in done if end.id.startswith("p2") and end.at > case.warm_up_s]
    ttft_s = [world.started[end.id].at - world.asked_at[end.id] for end in p0]
    return {
        "p0_ttft_p50_s": percentile(ttft_s, 0.5),
        "p0_e2e_p50_s": percentile([end.at - world.asked_at[end.id] for end in p0], 0.5),
        "p2_tokens_per_s": sum(end.usage.output_tokens for end in p2) / case.window_s,
    }
