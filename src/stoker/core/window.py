"""What one control interval saw: the meter that the scheduler's facts feed, and its frozen result.

The optimizer reads `Window`s and nothing else, so a recorded window steps it again in a replay.
What is counted is *useful*: a token that the engine computes twice counts once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stoker.core.events import Left
from stoker.core.ledger import Running
from stoker.core.limits import Capacity, Limits
from stoker.core.reasons import Reason
from stoker.core.service_snapshot import ServiceSnapshot
from stoker.core.work import P0, Outcome, Priority

_SESSIONS_MAX = 4096


@dataclass(frozen=True, slots=True)
class Exposure:
    """Useful tokens of one run that is over, and the time over which they were made."""

    began_at: float
    ended_at: float
    tokens: int


@dataclass(frozen=True, slots=True)
class ClassWindow:
    """One priority class in one window. Rates are for the reader to form: counts are exact."""

    running: float = 0.0
    """Requests in the engine, averaged over the window."""
    places: float = 0.0
    """The same with parked agent sessions, which keep their place between turns."""
    output_tokens: int = 0
    prompt_tokens: int = 0
    """Prompt tokens that were new: not kept from a preempted run or from a session's last turn."""
    bound: Mapping[str, float] = field(default_factory=dict)
    """Reason -> share of the window in which it kept the next one out; the rest: nobody waited."""
    exposures: tuple[Exposure, ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """A closed control interval (seconds of the events' clock)."""

    began_at: float
    at: float
    p0: ClassWindow
    p1: ClassWindow
    p2: ClassWindow
    p0_share: float
    """Share of the window in which P0 held the box, or background work was still coming back."""
    is_steady: bool
    """The engine was up all the time, and its limits did not change."""
    tokens_per_request: float = 0.0
    """Forecast peak of the KV cache per running request, at the end; 0 while none runs."""
    engine_preemptions: float = 0.0
    """Running requests that the engine itself threw out for want of KV cache."""
    is_thrashing: bool = False
    """The prefix cache loses what it will need again (`thrash.py`)."""
    is_host_short: bool = False
    """The host is short of RAM; admission is held by it."""
    cached_share: float | None = None
    """Share of prompt tokens that the prefix cache served lately."""
    service: ServiceSnapshot | None = None
    """What is known of the engine's speed."""
    capacity: Capacity = field(default_factory=lambda: Capacity(requests=1))
    limits: Limits = field(default_factory=Limits)
    """The ceilings in force."""

    @property
    def seconds(self) -> float:
        return self.at - self.began_at

    def of(self, priority: Priority) -> ClassWindow:
        return (self.p0, self.p1, self.p2)[priority]


@dataclass(slots=True)
class _Sums:
    """Integrals over time and counts of one class, since the window began."""

    running_s: float = 0.0
    places_s: float = 0.0
    output_tokens: int = 0
    prompt_tokens: int = 0
    bound_s: dict[Reason, float] = field(default_factory=dict)
    exposures: list[Exposure] = field(default_factory=list)

    def close(self, seconds: float) -> ClassWindow:
        per_s = 1.0 / seconds if seconds > 0.0 else 0.0
        return ClassWindow(
            running=self.running_s * per_s,
            places=self.places_s * per_s,
            output_tokens=self.output_tokens,
            prompt_tokens=self.prompt_tokens,
            bound={reason.value: s * per_s for reason, s in self.bound_s.items()},
            exposures=tuple(self.exposures),
        )


class WindowMeter:
    """Integrates what is in flight, and why no more is, from one event to the next."""

    def __init__(self) -> None:
        self._at: float | None = None
        self._began_at = 0.0
        self._sums = (_Sums(), _Sums(), _Sums())
        self._p0_s = 0.0
        self._is_steady = True
        self._preemptions: float | None = None
        self._preemptions_before: float | None = None
        self._session_tokens: OrderedDict[str, int] = OrderedDict()
        self.bound: list[Reason | None] = [None, None, None]
        """Per class, why its next request has not started; `None` = nobody waits."""
        self.prompt_tokens_total = [0, 0, 0]
        """Per class, all that windows have counted since the start."""
        self.output_tokens_total = [0, 0, 0]

    def is_at(self, at: float) -> bool:
        """Whether the integrals run up to `at` already: many events come at one instant."""
        return self._at is not None and at <= self._at

    def advance(
        self,
        at: float,
        *,
        running: Sequence[int],
        places: Sequence[int],
        is_background: bool,
    ) -> None:
        """Everything has been as it is from the last event until `at`."""
        if self._at is None:
            self._at = self._began_at = at
        seconds = at - self._at
        if seconds <= 0.0:
            return
        self._at = at
        for sums, count, taken, bound in zip(self._sums, running, places, self.bound, strict=True):
            sums.running_s += count * seconds
            sums.places_s += taken * seconds
            if bound is not None:
                sums.bound_s[bound] = sums.bound_s.get(bound, 0.0) + seconds
        if not is_background:
            self._p0_s += seconds

    def note_output(self, priority: Priority, tokens: int) -> None:
        self._sums[priority].output_tokens += tokens
        self.output_tokens_total[priority] += tokens

    def note_outputs(self, tokens: Sequence[int]) -> None:
        """New output tokens of each class."""
        for priority, count in zip(Priority, tokens, strict=True):
            if count:
                self.note_output(priority, count)

    def note_prompt(self, running: Running) -> None:
        """Its prompt has been read: count what of it is new."""
        priority, tokens = running.request.priority, self._new_prompt_tokens(running)
        self._sums[priority].prompt_tokens += tokens
        self.prompt_tokens_total[priority] += tokens

    def note_left(self, running: Running, event: Left) -> None:
        """A run is over. Its tokens count if its text is kept: finished, or preempted."""
        request, output_tokens = running.request, running.tokens_seen
        if event.outcome is Outcome.FINISHED:
            if running.first_token_at is None:
                self.note_prompt(running)
            if event.usage is not None:
                output_tokens = max(output_tokens, event.usage.output_tokens)
            self.note_output(request.priority, output_tokens - running.tokens_seen)
        elif event.outcome is not Outcome.PREEMPTED:
            return
        if request.priority is not P0:
            tokens = output_tokens + self._new_prompt_tokens(running)
            exposure = Exposure(running.dispatched_at, event.at, tokens)
            self._sums[request.priority].exposures.append(exposure)
        if request.session:
            self._session_tokens[request.session] = running.load.prompt_tokens + output_tokens
            self._session_tokens.move_to_end(request.session)
            if len(self._session_tokens) > _SESSIONS_MAX:
                self._session_tokens.popitem(last=False)

    def note_unsteady(self) -> None:
        """The engine came, went or changed: this window teaches nothing."""
        self._is_steady = False
        self._preemptions = self._preemptions_before = None

    def note_preemptions(self, total: float | None) -> None:
        """The engine's own counter of preemptions."""
        self._preemptions = total
        if self._preemptions_before is None:
            self._preemptions_before = total

    def close(
        self,
        at: float,
        *,
        capacity: Capacity,
        limits: Limits,
        tokens_per_request: float = 0.0,
        is_thrashing: bool = False,
        is_host_short: bool = False,
        cached_share: float | None = None,
        service: ServiceSnapshot | None = None,
    ) -> Window:
        """Everything since the last close; a new window begins. Call `advance` first."""
        began_at = self._began_at if self._at is not None else at
        seconds = at - began_at
        p0, p1, p2 = (sums.close(seconds) for sums in self._sums)
        before, now = self._preemptions_before, self._preemptions
        window = Window(
            began_at=began_at,
            at=at,
            p0=p0,
            p1=p1,
            p2=p2,
            p0_share=self._p0_s / seconds if seconds > 0.0 else 0.0,
            is_steady=self._is_steady,
            tokens_per_request=tokens_per_request,
            engine_preemptions=0.0 if before is None or now is None else max(0.0, now - before),
            is_thrashing=is_thrashing,
            is_host_short=is_host_short,
            cached_share=cached_share,
            service=service,
            capacity=capacity,
            limits=limits,
        )
        self._sums = (_Sums(), _Sums(), _Sums())
        self._at = self._began_at = at
        self._p0_s = 0.0
        self._is_steady = True
        self._preemptions_before = now
        return window

    def _new_prompt_tokens(self, running: Running) -> int:
        request = running.request
        if request.resumed_tokens:
            return 0
        known = self._session_tokens.get(request.session, 0) if request.session else 0
        return max(0, running.load.prompt_tokens - known)
