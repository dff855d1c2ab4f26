"""What people and programs ask of the box: interactive traffic, leases, and endless backlogs.

Agents are `agents.py`. A workload knows true lengths and draws them from the kernel's streams; it
never looks at the engine, so every arm meets the same demand.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Protocol

from stoker.core.work import LeaseId, Priority, RequestId
from stoker.sim.kernel import Kernel
from stoker.sim.lengths import AZURE_GAP_SHAPE, Shape
from stoker.sim.work import Segment, SimRequest


class Door(Protocol):
    """Where demand that comes by itself enters an arm."""

    def arrive(self, request: SimRequest) -> None: ...

    def hang_up(self, id: RequestId) -> None: ...

    def grant(self, id: LeaseId, expires_at: float) -> None: ...

    def release(self, id: LeaseId) -> None: ...


# ---------------------------------------------------------------------------- people


@dataclass(frozen=True, slots=True)
class Interactive:
    """P0 traffic: bursts of `on_s` with `off_s` between them, or steady with `off_s` = 0."""

    rate_per_s: float
    """Arrivals a second while it is on."""
    shape: Shape
    on_s: float = math.inf
    off_s: float = 0.0
    first_at_s: float = 0.0
    gaps: tuple[float, ...] = ()
    """Recorded gaps in units of their mean; without them, gamma as in the Azure trace."""
    gap_shape: float = AZURE_GAP_SHAPE
    """1 makes it Poisson."""
    has_leases: bool = False
    """Whether whoever comes takes the box with a lease for the burst."""
    hang_up_share: float = 0.0
    """Clients that go away in the middle."""
    max_tokens: int = 1024

    @property
    def duty(self) -> float:
        return 1.0 if self.off_s == 0 else self.on_s / (self.on_s + self.off_s)

    def is_on(self, at: float) -> bool:
        since = at - self.first_at_s
        return since >= 0 and (self.off_s == 0 or since % (self.on_s + self.off_s) < self.on_s)


LEASE_MARGIN_S = 30.0
"""A holder asks for more than it needs and gives back what is left."""


class People:
    """Sends the interactive traffic. What has been sent can be asked of `sent`."""

    def __init__(self, load: Interactive, kernel: Kernel, door: Door) -> None:
        self._load = load
        self._kernel = kernel
        self._door = door
        self._random = kernel.random("p0")
        self._hang_ups = kernel.random("p0 hang-ups")
        self._gaps = self._each_gap()
        self.sent = 0
        self._bursts = 0
        self._arrives_after = self._gap()
        kernel.at(load.first_at_s, self._burst)

    def crowd(self, count: int) -> None:
        """Send so many at once."""
        for _ in range(count):
            self._door.arrive(self._request())

    def _burst(self) -> None:
        """One burst from now: its lease, its arrivals. The gap in progress goes on in the next."""
        load, kernel = self._load, self._kernel
        began_at, ends_at = kernel.now, kernel.now + load.on_s
        if load.has_leases:
            lease = LeaseId(f"lease-{self._bursts}")
            self._bursts += 1
            self._door.grant(lease, ends_at + LEASE_MARGIN_S)
            kernel.at(ends_at, lambda: self._door.release(lease))
        kernel.at(began_at + self._arrives_after, lambda: self._arrive(ends_at))
        if load.off_s > 0:
            kernel.at(ends_at + load.off_s, self._burst)

    def _arrive(self, ends_at: float) -> None:
        now = self._kernel.now
        if now >= ends_at:
            self._arrives_after = now - ends_at
            return
        request = self._request()
        self._door.arrive(request)
        if self._hang_ups.random() < self._load.hang_up_share:
            patience_s = self._hang_ups.uniform(0.0, 6.0)
            self._kernel.after(patience_s, lambda: self._door.hang_up(request.id))
        self._kernel.after(self._gap(), lambda: self._arrive(ends_at))

    def _request(self) -> SimRequest:
        number, self.sent = self.sent, self.sent + 1
        prompt, output = self._load.shape.draw(self._random)
        return SimRequest(
            RequestId(f"p0-{number}"),
            Priority.P0,
            (Segment(f"p0-{number}", prompt),),
            min(output, self._load.max_tokens),
            max_tokens=self._load.max_tokens,
            family="chat",
        )

    def _gap(self) -> float:
        return next(self._gaps) / self._load.rate_per_s

    def _each_gap(self) -> Iterator[float]:
        load = self._load
        random = self._kernel.random("p0 gaps")
        if load.gaps:
            index = random.randrange(len(load.gaps))
            while True:
                yield load.gaps[index]
                index = (index + 1) % len(load.gaps)
        while True:
            yield random.gammavariate(load.gap_shape, 1.0 / load.gap_shape)


# ---------------------------------------------------------------------------- backlogs


@dataclass(frozen=True, slots=True)
class JobKind:
    """Jobs of one template."""

    family: str
    shape: Shape
    weight: float = 1.0
    shared_prefix_tokens: int = 0
    """The template's own text, before what differs."""
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Drift:
    """From `at_s` on, jobs are longer or shorter by these factors."""

    at_s: float
    prompt_factor: float = 1.0
    output_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Background:
    """An endless backlog of P2 jobs, drawn from its kinds by weight."""

    kinds: tuple[JobKind, ...]
    drift: Drift | None = None
    mislabelled_share: float = 0.0
    """Jobs that carry another kind's family: what the predictor learns of it is then wrong."""
    tenants: int = 0
    """Who hands in jobs, in turn; 0 = nobody is told apart."""


class Backlog:
    """Hands out the jobs of a backlog, one after the other."""

    def __init__(self, load: Background, kernel: Kernel) -> None:
        self._load = load
        self._random = kernel.random("jobs")
        self._labels = kernel.random("labels")
        self._kernel = kernel
        self._weights = [kind.weight for kind in load.kinds]
        self.taken = 0
        self.has_families = len({kind.family for kind in load.kinds}) > 1
        self.has_tenants = load.tenants > 1

    def take(self) -> SimRequest:
        """The next job, as long as jobs of this time are."""
        number, self.taken = self.taken, self.taken + 1
        kind = self._random.choices(self._load.kinds, self._weights)[0]
        prompt, output = self._drifted(*kind.shape.draw(self._random))
        segments = [Segment(f"job-{number}", prompt)]
        if kind.shared_prefix_tokens:
            segments.insert(0, Segment(kind.family, kind.shared_prefix_tokens))
        if kind.max_tokens is not None:
            output = min(output, kind.max_tokens)
        return SimRequest(
            RequestId(f"job-{number}"),
            Priority.P2,
            tuple(segments),
            output,
            max_tokens=kind.max_tokens,
            family=self._label(kind, self._labels),
            tenant=f"tenant-{number % self._load.tenants}" if self._load.tenants else "",
            extends=True,
        )

    def _drifted(self, prompt: int, output: int) -> tuple[int, int]:
        drift = self._load.drift
        if drift is None or self._kernel.now < drift.at_s:
            return prompt, output
        return (
            max(1, round(prompt * drift.prompt_factor)),
            max(1, round(output * drift.output_factor)),
        )

    def _label(self, kind: JobKind, random: Random) -> str:
        if random.random() < self._load.mislabelled_share:
            return random.choice(self._load.kinds).family
        return kind.family
