"""The baseline front end: P0 goes straight to the engine, the rest up to a rule's limit.

For agents the limit counts sessions, the stronger form: a session that is in keeps its place for
its tool time, and one too many is paused at its next turn.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from stoker.core.work import LeaseId, Priority, RequestId
from stoker.sim.arms.rules import TICK_S, Finished, Rule, Tick
from stoker.sim.work import Ended, Notice, SimRequest
from stoker.sim.world import Look, World

WORK_PRIORITY = 10
"""vLLM's: lower runs first; P0 is sent with 0."""


@dataclass(slots=True)
class _Totals:
    preemptions: float = 0.0
    prompt: float = 0.0
    cached: float = 0.0


class DirectArm:
    """`rule` limits background work; `has_priority`: the engine is told who is interactive."""

    def __init__(self, world: World, rule: Rule, *, has_priority: bool) -> None:
        self._world = world
        self._rule = rule
        self._work_priority = WORK_PRIORITY if has_priority else 0
        self._sent_at: dict[RequestId, float] = {}
        self._jobs = 0
        self._sessions: dict[str, None] = {}
        self._paused: deque[SimRequest] = deque()
        self._again: deque[SimRequest] = deque()
        self._held_back: deque[SimRequest] = deque()
        """Interactive requests that came while the engine was down."""
        self._before = _Totals()

    def start(self) -> None:
        self._world.kernel.every(TICK_S, self._tick)
        self._fill()

    def arrive(self, request: SimRequest) -> None:
        if request.priority is not Priority.P0:
            self._turn(request)
            return
        self._world.meter.p0_arrived(request.id)
        if self._world.is_engine_up:
            self._world.submit(request)
        else:
            self._held_back.append(request)

    def hang_up(self, id: RequestId) -> None:
        if id in self._world.running:
            self._world.abort(id, is_kept=False)
            self._world.meter.p0_left(id, is_refused=False)

    def grant(self, id: LeaseId, expires_at: float) -> None:
        return  # nothing in front of the engine understands it

    def release(self, id: LeaseId) -> None:
        return

    def notice(self, notice: Notice, request: SimRequest) -> None:
        if not isinstance(notice, Ended) or request.priority is Priority.P0:
            return
        duration_s = notice.at - self._sent_at.pop(request.id)
        self._rule.finished(
            Finished(notice.at, duration_s, self._in_flight() + 1, notice.usage.output_tokens)
        )
        if request.session:
            self._turn_ended(request)
        else:
            self._jobs -= 1
        self._fill()

    def lost(self, request: SimRequest) -> None:
        """It is sent again from its beginning when the engine is back."""
        if request.priority is Priority.P0:
            self._world.meter.p0_left(request.id, is_refused=True)
            return
        self._sent_at.pop(request.id, None)
        if not request.session:
            self._jobs -= 1
        self._again.append(request)

    def engine_is_back(self) -> None:
        while self._held_back:
            self._world.submit(self._held_back.popleft())
        self._fill()

    def look(self) -> Look:
        is_full = len(self._sessions) >= self._rule.limit
        return Look(
            limit=self._rule.limit,
            waiting=len(self._paused) + len(self._held_back),
            excuse="sessions that think hold every place" if is_full else None,
        )

    def jobs_outside(self) -> int:
        return sum(1 for request in self._again if not request.session)

    # ------------------------------------------------------------------ agents

    def _turn(self, request: SimRequest) -> None:
        if request.session not in self._sessions:
            self._paused.append(request)
        elif len(self._sessions) > self._rule.limit:
            del self._sessions[request.session]
            self._paused.appendleft(request)
        else:
            self._send(request)
        self._fill()

    def _turn_ended(self, request: SimRequest) -> None:
        agents = self._world.agents
        assert agents is not None, "a session without agents"
        if agents.is_last(request):
            self._sessions.pop(request.session, None)
        agents.turn_ended(request)

    # ------------------------------------------------------------------ the limit

    def _tick(self) -> None:
        sample = self._world.sample()
        now = _Totals(
            sample.preemptions_total or 0.0,
            sample.prompt_tokens_total or 0.0,
            sample.prompt_tokens_cached_total or 0.0,
        )
        before, self._before = self._before, now
        prompt = now.prompt - before.prompt
        self._rule.ticked(
            Tick(
                at=self._world.kernel.now,
                in_flight=self._in_flight(),
                preemptions=round(max(0.0, now.preemptions - before.preemptions)),
                waiting=sample.waiting or 0,
                kv_cache_usage=sample.kv_cache_usage or 0.0,
                cached_share=(now.cached - before.cached) / prompt if prompt > 0 else None,
            )
        )
        self._fill()

    def _in_flight(self) -> int:
        return self._jobs + len(self._sessions)

    def _fill(self) -> None:
        """Send background work until the limit is reached."""
        if not self._world.is_engine_up:
            return
        while self._again:
            request = self._again.popleft()
            if not request.session:
                self._jobs += 1
            self._send(request)
        while self._paused and len(self._sessions) < self._rule.limit:
            request = self._paused.popleft()
            self._sessions[request.session] = None
            self._send(request)
        backlog = self._world.backlog
        while backlog is not None and self._jobs < self._rule.limit:
            self._jobs += 1
            self._send(backlog.take())

    def _send(self, request: SimRequest) -> None:
        if not self._world.is_engine_up:
            self._again.append(request)
            return
        self._sent_at[request.id] = self._world.kernel.now
        self._world.submit(request, engine_priority=self._work_priority)
