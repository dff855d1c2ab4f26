"""The box as an arm sees it: the engine behind one gate, the host, the demand, and who counts.

Every request goes in and comes out here, whichever arm sends it, so that what is counted and what
is checked cannot depend on the arm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from stoker.core.events import EngineSample, HostSample
from stoker.core.limits import Capacity
from stoker.core.work import LeaseId, Priority, RequestId
from stoker.sim.agents import Agents
from stoker.sim.engine_model import EngineModel
from stoker.sim.host_model import HostModel
from stoker.sim.kernel import Kernel
from stoker.sim.meter import Meter, Totals
from stoker.sim.profiles import EngineProfile
from stoker.sim.work import Ended, Notice, SimRequest, Started
from stoker.sim.workload import Backlog

_ROUNDING_S = 1e-6


@dataclass(frozen=True, slots=True)
class Look:
    """What an arm believes at an instant, for the plots and the checkers."""

    limit: int | None = None
    """On background requests, or on agent sessions; `None` = nothing but the engine's own."""
    predicted_tokens: float | None = None
    """What the running requests are predicted to hold at their ends."""
    waiting: int = 0
    """Requests and sessions that wait outside the engine (a backlog is not counted)."""
    is_p0_held: bool = False
    excuse: str | None = None
    """Why background work may rightly stand still although the engine is idle."""


class Arm(Protocol):
    """A front end between the demand and the engine."""

    def start(self) -> None: ...

    def arrive(self, request: SimRequest) -> None: ...

    def hang_up(self, id: RequestId) -> None: ...

    def grant(self, id: LeaseId, expires_at: float) -> None: ...

    def release(self, id: LeaseId) -> None: ...

    def notice(self, notice: Notice, request: SimRequest) -> None: ...

    def lost(self, request: SimRequest) -> None:
        """The engine has died under it."""
        ...

    def engine_is_back(self) -> None: ...

    def look(self) -> Look: ...

    def jobs_outside(self) -> int:
        """Jobs of the backlog that it has and the engine has not."""
        ...


class World:
    def __init__(self, kernel: Kernel, profile: EngineProfile, host: HostModel) -> None:
        self.kernel = kernel
        self.host = host
        self.meter = Meter(kernel)
        self.backlog: Backlog | None = None
        self.agents: Agents | None = None
        self.running: dict[RequestId, SimRequest] = {}
        self.is_engine_up = True
        self.has_telemetry = True
        self.doubled: list[RequestId] = []
        """Requests that were sent to the engine while it had them."""
        self._profile = profile
        self._engine = self._new_engine()
        self._earlier_preemptions = self._earlier_freezes = 0
        self._lag_s = 0.0
        """How far the engine's own time is behind, by all the stalls there were."""
        self._stalled_at: float | None = None
        self._engine_at = 0.0

    # ------------------------------------------------------------------ the gate

    def submit(self, request: SimRequest, *, engine_priority: int = 0) -> None:
        """Send it to the engine."""
        if request.id in self.running:
            self.doubled.append(request.id)
            return
        self.running[request.id] = request
        self.meter.submitted(request)
        self._engine.submit(self._engine_now(), request, engine_priority=engine_priority)

    def abort(self, id: RequestId, *, is_kept: bool) -> int:
        """Hang up on it; the tokens that it made so far, kept by the caller or lost."""
        request = self.running.pop(id)
        made = self._engine.abort(self._engine_now(), id)
        self.meter.aborted(request, made, is_kept=is_kept)
        return made

    def tokens_of(self, id: RequestId) -> int:
        """Output tokens that it has shown in this run."""
        return self._engine.tokens_of(self._engine_now(), id)

    @property
    def capacity(self) -> Capacity:
        return self._engine.capacity

    def sample(self) -> EngineSample:
        """The engine's gauges, now."""
        return self._engine.sample(self._engine_now())

    def sample_host(self) -> HostSample:
        """The host's, now."""
        usage = self.sample().kv_cache_usage or 0.0
        return self.host.sample(self.kernel.now, round(usage * self._profile.kv_tokens))

    def totals(self) -> Totals:
        """What background and agent work has delivered so far."""
        return self.meter.totals(self.tokens_of)

    @property
    def preemptions(self) -> int:
        return self._earlier_preemptions + self._engine.totals.preemptions

    @property
    def freezes(self) -> int:
        return self._earlier_freezes + self._engine.totals.freezes

    # ------------------------------------------------------------------ time

    def next_at(self) -> float | None:
        """When the engine may have something to tell."""
        if self._stalled_at is not None or not self.is_engine_up:
            return None
        at = self._engine.next_at()
        return None if at is None else at + self._lag_s

    def advance(self) -> list[tuple[Notice, SimRequest]]:
        """What the engine has to tell, and about whom; all of it is counted."""
        told: list[tuple[Notice, SimRequest]] = []
        due = self._engine.next_at()
        if due is not None and 0.0 < due - self._engine_now() < _ROUNDING_S:
            self._engine_at = due  # the lag taken off again may fall short of it by a hair
        for notice in self._engine.advance(self._engine_now()):
            if self._lag_s:
                notice = replace(notice, at=notice.at + self._lag_s)  # noqa: PLW2901
            request = self.running.get(notice.id)
            if request is not None:
                self._count(notice, request)
                told.append((notice, request))
        return told

    # ------------------------------------------------------------------ faults

    def stall(self) -> None:
        """Let the engine stand still from now on."""
        self._stalled_at = self.kernel.now

    def go_on(self) -> None:
        """Let it go on where it stood."""
        assert self._stalled_at is not None, "it does not stand still"
        self._lag_s += self.kernel.now - self._stalled_at
        self._stalled_at = None

    def die(self) -> list[SimRequest]:
        """Take the engine down; whom it ran, is lost."""
        self.is_engine_up = False
        lost = list(self.running.values())
        for request in lost:
            self.meter.lost(request, self.tokens_of(request.id))
        self.running.clear()
        return lost

    def revive(self) -> None:
        """A new engine, empty."""
        self._earlier_preemptions += self._engine.totals.preemptions
        self._earlier_freezes += self._engine.totals.freezes
        self._engine = self._new_engine()
        self._engine.advance(self._engine_now())
        self.is_engine_up = True

    def hear(self, *, is_heard: bool) -> None:
        """Whether the gauges can be read."""
        self.has_telemetry = is_heard

    # ------------------------------------------------------------------ small parts of the above

    def _new_engine(self) -> EngineModel:
        return EngineModel(self._profile, host=self.host, watch=_is_interactive)

    def _engine_now(self) -> float:
        now = self.kernel.now if self._stalled_at is None else self._stalled_at
        self._engine_at = max(self._engine_at, now - self._lag_s)
        return self._engine_at

    def _count(self, notice: Notice, request: SimRequest) -> None:
        match notice:
            case Started():
                self.meter.started(request, notice)
            case Ended():
                del self.running[request.id]
                self.meter.ended(request, notice)


def _is_interactive(request: SimRequest) -> bool:
    return request.priority is Priority.P0
