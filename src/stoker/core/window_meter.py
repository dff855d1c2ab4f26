"""Measures a control interval: the scheduler's facts feed it, and `window.py` is what it hands out.

What is counted is *useful*: a token that the engine computes twice counts once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from stoker.core.events import Left
from stoker.core.ledger import Running
from stoker.core.limits import Capacity, Limits
from stoker.core.reasons import Reason
from stoker.core.service_snapshot import ServiceSnapshot
from stoker.core.window import ClassWindow, Exposure, Window
from stoker.core.work import P0, Outcome, Priority

_SESSIONS_MAX = 4096


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
        for index, sums in enumerate(self._sums):
            if places[index]:  # what runs has a place
                sums.running_s += running[index] * seconds
                sums.places_s += places[index] * seconds
            bound = self.bound[index]
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
