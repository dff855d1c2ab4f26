"""Agents with growing contexts: what many sessions at once do to the prefix cache."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp

from stoker.client import Client

from .calls import Answered, Ask, Latencies, opened_session, stream
from .loads import TAIL_MAX, Lengths, Prompt, Prompts, joined
from .p0 import learned
from .record import Times
from .report import Row
from .service import stoker_in_front_of
from .stats import Window, percentile
from .target import Gauges, Target, settle, watched

State = dict[str, object]

SHARED_SEED = 7
AFTER_ERROR_S = 0.5


@dataclass(frozen=True, slots=True)
class Habits:
    """What an agent's session looks like. The lengths are tokens."""

    shared: int
    """The system prompt that all have in common."""
    own: int
    new: int
    """What a tool adds before each turn."""
    output: Lengths
    think_s: float
    """Mean of an exponential."""
    turns: int


@dataclass(frozen=True, slots=True)
class Way:
    """Where the turns go, and how a session is named there."""

    url: str
    is_marked: bool = False

    def more(self, session: str) -> dict[str, object]:
        return {"stoker": {"session": session}} if self.is_marked else {}


async def run_agents(
    target: Target,
    habits: Habits,
    prompts: Prompts,
    agents: int,
    times: Times,
    *,
    through_stoker: bool,
    is_marked: bool = False,
    options: tuple[str, ...] = (),
) -> tuple[Row, State]:
    """So many sessions at once, for a while; and how Stoker stood at the end, if it was between."""
    state: State = {}
    turns: list[Answered] = []
    longest = (await target.engine.capacity()).context_tokens
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(opened_session())
        way = Way(target.completions)
        if through_stoker:
            service = await stack.enter_async_context(
                stoker_in_front_of(target.url, options=options)
            )
            way = Way(f"{service}/v1/p1", is_marked)
            client = await stack.enter_async_context(Client(service))
        gauges = await stack.enter_async_context(watched(target))
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(agent.live())
                for number in range(agents)
                for agent in [
                    _Agent(session, target.model, way, habits, prompts, turns, number, longest)
                ]
            ]
            window = await times.pass_by()
            if through_stoker:
                state = learned(await client.state())
            for task in running:
                task.cancel()
        row = row_of(agents, turns, gauges, window, through_stoker=through_stoker)
    await settle(target)
    return row, state


class _Agent:
    """One session after the other, each of `turns` turns. It is found in the middle of one."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        model: str,
        way: Way,
        habits: Habits,
        prompts: Prompts,
        turns: list[Answered],
        number: int,
        context_tokens: int | None,
    ) -> None:
        self._session = session
        self._context_tokens = context_tokens
        self._model = model
        self._way = way
        self._habits = habits
        self._prompts = prompts
        self._turns = turns
        self._number = number
        self._chance = random.Random(number + 1)

    async def live(self) -> None:
        # All agents at their first turn would be a load that no box ever sees.
        first = self._chance.randrange(self._habits.turns)
        serial = 0
        while True:
            await self._one_session(f"agent-{self._number}-{serial}", first)
            first = 0
            serial += 1

    async def _one_session(self, name: str, first: int) -> None:
        habits = self._habits
        context = self._begin()
        for _ in range(first):
            earlier = habits.new + habits.output.draw(self._chance)
            context = joined(context, self._prompts.fresh(earlier))
        for _ in range(first, habits.turns):
            await asyncio.sleep(self._chance.expovariate(1 / habits.think_s))
            context = joined(context, self._prompts.fresh(habits.new))
            turn = await self._turn(name, context)
            context = turn.continued(context)
            if self._is_full(turn):
                return

    def _begin(self) -> Prompt:
        shared = self._prompts.draw(random.Random(SHARED_SEED), self._habits.shared)
        return joined(shared, self._prompts.fresh(self._habits.own))

    def _is_full(self, turn: Answered) -> bool:
        """Whether the next turn may not fit: such an agent begins anew."""
        if self._context_tokens is None:
            return False
        next_turn = self._habits.new + TAIL_MAX * self._habits.output.mean
        return turn.prompt_tokens + turn.output_tokens + next_turn > self._context_tokens

    async def _turn(self, name: str, context: Prompt) -> Answered:
        length = self._habits.output.draw(self._chance)
        body = Ask(context, length, self._way.more(name)).body(self._model, is_streamed=True)
        turn = Answered(time.perf_counter())
        self._turns.append(turn)
        await stream(self._session, self._way.url, body, turn)
        if turn.error is not None:
            await asyncio.sleep(AFTER_ERROR_S)
        return turn


def row_of(
    agents: int, turns: list[Answered], gauges: Gauges, window: Window, *, through_stoker: bool
) -> Row:
    felt = Latencies.of(turns, window)
    prompt_per_s = gauges.per_s("prompt_tokens_total", window)
    cached = gauges.cached_share(window)
    return {
        "arm": f"{agents} agents, {'Stoker' if through_stoker else 'straight'}",
        "agents": agents,
        "turns_per_s": felt.finished / window.length_s,
        "output_tokens_per_s": gauges.per_s("output_tokens_total", window),
        "cached_share": cached,
        "computed_prompt_tokens_per_s": (
            None if prompt_per_s is None or cached is None else prompt_per_s * (1 - cached)
        ),
        "ttft_p50_s": percentile(felt.ttft_s, 0.5),
        "ttft_p95_s": percentile(felt.ttft_s, 0.95),
        "turn_p50_s": percentile(felt.e2e_s, 0.5),
        "turn_p95_s": percentile(felt.e2e_s, 0.95),
        "preemptions_per_s": gauges.per_s("preemptions_total", window),
        "kv_usage": gauges.mean("kv_cache_usage", window),
        "running": gauges.mean("running", window),
        "waiting": gauges.mean("waiting", window),
        "errors": felt.errors,
    }
