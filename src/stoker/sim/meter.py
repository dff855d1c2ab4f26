"""Counts what the box delivers and what people feel, whoever drives it.

A token of background work counts when it is made, and only if its text is kept: what is thrown away
or read twice is waste. A prompt counts once, when it has been read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from stoker.core.work import Priority, RequestId
from stoker.sim.kernel import Kernel
from stoker.sim.work import Ended, SimRequest, Started


@dataclass(frozen=True, slots=True)
class Served:
    """One interactive request as its caller saw it."""

    arrived_at: float
    ttft_s: float
    e2e_s: float
    output_tokens: int
    gaps: tuple[tuple[int, float], ...]
    """Inter-token gaps: tokens, seconds each."""


@dataclass(slots=True)
class _Interactive:
    arrived_at: float
    started_at: float | None = None


@dataclass(slots=True)
class _Work:
    """A background request in the engine, or between two runs."""

    prompt_tokens: int
    """Of its first run: what its caller asked to be read."""
    is_read: bool = False
    kept_tokens: int = 0


@dataclass(slots=True)
class Totals:
    """Since the start, of background and agent work."""

    prompt_tokens: int = 0
    output_tokens: float = 0
    cached_tokens: int = 0
    """Of all prompts, agents' and background jobs', those served from the prefix cache."""
    sent_prompt_tokens: int = 0
    """Prompt tokens of every run that started, repeated ones too."""
    wasted_tokens: int = 0
    """Made and thrown away, or read again after an abort."""
    finished: int = 0
    """Jobs and turns."""
    finished_jobs: int = 0


@dataclass(slots=True)
class Counts:
    """Interactive requests and background aborts, since the start."""

    p0_arrived: int = 0
    p0_refused: int = 0
    p0_gone: int = 0
    aborted: int = 0


@dataclass(slots=True)
class Meter:
    kernel: Kernel
    served: list[Served] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    tenant_tokens: Counter[str] = field(default_factory=Counter)
    _totals: Totals = field(default_factory=Totals)
    _interactive: dict[RequestId, _Interactive] = field(default_factory=dict)
    _work: dict[RequestId, _Work] = field(default_factory=dict)
    _in_engine: dict[RequestId, None] = field(default_factory=dict)

    @property
    def p0_present(self) -> int:
        """Interactive requests that are here, waiting or running."""
        return len(self._interactive)

    @property
    def p0_oldest_s(self) -> float:
        """How long the oldest of them waits for its first token; 0 if none does."""
        waiting = (one.arrived_at for one in self._interactive.values() if one.started_at is None)
        first = min(waiting, default=None)
        return 0.0 if first is None else self.kernel.now - first

    @property
    def work_in_engine(self) -> int:
        return len(self._in_engine)

    def totals(self, tokens_of: Callable[[RequestId], int]) -> Totals:
        """As of now, the output of running requests included."""
        running = sum(map(tokens_of, self._in_engine))
        return replace(self._totals, output_tokens=self._totals.output_tokens + running)

    # ------------------------------------------------------------------ interactive requests

    def p0_arrived(self, id: RequestId) -> None:
        self.counts.p0_arrived += 1
        self._interactive[id] = _Interactive(self.kernel.now)

    def p0_left(self, id: RequestId, *, is_refused: bool) -> None:
        """Refused, or gone by itself; either way it is not among those served."""
        if self._interactive.pop(id, None) is not None:
            self.counts.p0_refused += is_refused
            self.counts.p0_gone += not is_refused

    # ------------------------------------------------------------------ the engine's gate

    def submitted(self, request: SimRequest) -> None:
        if request.priority is not Priority.P0:
            self._work.setdefault(request.id, _Work(request.prompt_tokens))
            self._in_engine[request.id] = None

    def started(self, request: SimRequest, notice: Started) -> None:
        if request.priority is Priority.P0:
            self._interactive[request.id].started_at = notice.at
            return
        work, totals = self._work[request.id], self._totals
        totals.cached_tokens += notice.cached_tokens
        totals.sent_prompt_tokens += request.prompt_tokens
        if work.is_read:
            totals.wasted_tokens += max(0, request.prompt_tokens - notice.cached_tokens)
        else:
            work.is_read = True
            totals.prompt_tokens += work.prompt_tokens

    def ended(self, request: SimRequest, notice: Ended) -> None:
        if request.priority is Priority.P0:
            self._served(self._interactive.pop(request.id), notice)
            return
        work, totals = self._work.pop(request.id), self._totals
        del self._in_engine[request.id]
        totals.output_tokens += notice.usage.output_tokens
        totals.finished += 1
        totals.finished_jobs += not request.session
        if request.tenant:
            self.tenant_tokens[request.tenant] += work.kept_tokens + notice.usage.output_tokens

    def aborted(self, request: SimRequest, made: int, *, is_kept: bool) -> None:
        """Whoever sent it has hung up."""
        if request.priority is Priority.P0:
            return
        self.counts.aborted += 1
        if not is_kept:
            self.lost(request, made)
            return
        del self._in_engine[request.id]
        self._totals.output_tokens += made
        self._work[request.id].kept_tokens += made

    def lost(self, request: SimRequest, made: int) -> None:
        """It starts anew: this run's text is lost, and so is what earlier runs had kept."""
        if request.priority is Priority.P0:
            return
        del self._in_engine[request.id]
        work, totals = self._work[request.id], self._totals
        totals.wasted_tokens += made + work.kept_tokens
        totals.output_tokens -= work.kept_tokens
        work.kept_tokens = 0

    def _served(self, one: _Interactive, notice: Ended) -> None:
        started_at = notice.at if one.started_at is None else one.started_at
        self.served.append(
            Served(
                one.arrived_at,
                started_at - one.arrived_at,
                notice.at - one.arrived_at,
                notice.usage.output_tokens,
                tuple(notice.gaps),
            )
        )
