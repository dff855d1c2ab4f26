"""What is in the engine by our own count: the running requests, their predicted tokens, and the
slots that the engine may still be freeing.

The ledger is exact the instant a decision is taken; the engine's gauges lag behind it (a scrape,
or 50 to 200 ms) and only correct it. Admission from polled gauges alone overshoots.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stoker.core.envelope import Envelope
from stoker.core.load import InFlight, Load
from stoker.core.work import P2, Priority, Request, RequestId


class Reading(NamedTuple):
    """How the engine read one prompt: what the service curve learns prefill from."""

    seconds: float
    """From being sent to the first token."""
    others_tokens: float
    """Prompt tokens of others that were read meanwhile."""
    decoding: int
    """Others that were decoding at the end of it."""
    prompts_read: int
    """`Ledger.prompts_read` then, itself included."""


@dataclass(slots=True)
class Running:
    request: Request
    load: Load
    dispatched_at: float
    first_token_at: float | None = None
    read_before: float = 0.0
    """`Ledger.read_tokens` when it was sent."""
    reading: Reading | None = None
    tokens_seen: int = 0
    remaining_tokens: float = 0.0
    remaining_variance: float = 0.0
    predict_at: float = float("-inf")
    """When what remains is to be predicted anew; until then it is taken to stay as it was."""
    is_leaving: bool = False
    """Told to leave (preempted or aborted) and not gone yet."""

    @property
    def held_tokens(self) -> int:
        return self.load.prompt_tokens + self.tokens_seen

    @property
    def in_flight(self) -> InFlight:
        held_tokens = self.load.prompt_tokens + self.tokens_seen
        return InFlight(held_tokens, self.remaining_tokens, self.remaining_variance)


class Ledger:
    """Counts and sums over what is in flight; each is kept, not recomputed."""

    def __init__(self) -> None:
        self.running: dict[RequestId, Running] = {}
        self._departing: dict[RequestId, tuple[float, float]] = {}
        self._counts = [0, 0, 0]
        self._leaving_p2 = 0
        self.decoding = 0
        """Requests that have shown a first token."""
        self.read_tokens = 0.0
        """Prompt tokens read since the start; each prompt counts at its first token."""
        self.prompts_read = 0
        self.guest: RequestId | None = None
        """The background request that its age let in while P0 holds the box."""
        self._envelope: Envelope | None = None
        """Of what is in flight; `None` after progress moved many, until somebody asks."""
        self._peaks: dict[InFlight, float] = {}
        """Answers given since anything changed: while a queue is blocked, its head asks again."""
        self.held_tokens = 0
        """Prompt and output tokens in the KV cache now."""
        self.unread_p2_tokens = 0
        """Prompt tokens of background requests that have not shown a first token."""
        self.final_tokens = 0.0
        """Sum of what every request is predicted to hold at its end: an upper bound of the peak."""
        self.variance = 0.0
        """Sum of the variances of those predictions."""

    @property
    def counts(self) -> Sequence[int]:
        """Running requests of each class."""
        return self._counts

    def count(self, priority: Priority) -> int:
        return self._counts[priority]

    @property
    def staying_p2(self) -> int:
        return self._counts[P2] - self._leaving_p2

    @property
    def leaving_p2(self) -> int:
        return self._leaving_p2

    @property
    def departing(self) -> int:
        """Slots that we gave up and that the engine has not confirmed free."""
        return len(self._departing)

    @property
    def resident(self) -> int:
        """Slots that may be taken in the engine: running, and given up but unconfirmed."""
        return len(self.running) + len(self._departing)

    @property
    def is_idle(self) -> bool:
        """Nothing runs, and no slot is unconfirmed (which ends by itself within the grace)."""
        return not self.running and not self._departing

    def add(self, running: Running) -> None:
        request, load = running.request, running.load
        assert request.id not in self.running, f"{request.id} is running already"
        self.running[request.id] = running
        self._counts[request.priority] += 1
        running.read_before = self.read_tokens
        running.remaining_tokens = load.output_tokens
        running.remaining_variance = load.output_variance
        self.held_tokens += running.held_tokens
        self.final_tokens += load.total_tokens
        self.variance += load.output_variance
        self._peaks.clear()
        if self._envelope is not None:
            self._envelope.add(running.in_flight)
        if request.priority is P2:
            self.unread_p2_tokens += load.unread_tokens

    def note_first_token(self, running: Running, at: float) -> None:
        if running.first_token_at is None:
            running.first_token_at = at
            others = self.read_tokens - running.read_before
            self.read_tokens += running.load.unread_tokens
            self.prompts_read += 1
            running.reading = Reading(
                at - running.dispatched_at, others, self.decoding, self.prompts_read
            )
            self.decoding += 1
            if running.request.priority is P2:
                self.unread_p2_tokens -= running.load.unread_tokens

    def note_progress(
        self,
        tokens: Mapping[RequestId, int],
        predictions: Mapping[RequestId, tuple[float, float]],
    ) -> list[int]:
        """Take up a report of the output so far, and what is predicted to remain where that is
        new: mean and variance. The new output tokens of each class.
        """
        self._envelope = None
        self._peaks.clear()
        new = [0, 0, 0]
        final_tokens, variance = self.final_tokens, self.variance
        for id, seen in tokens.items():
            one = self.running.get(id)
            if one is None:
                continue
            before, remaining = one.tokens_seen, one.remaining_tokens
            final_before = before + remaining
            if id in predictions:
                variance_before = one.remaining_variance
                remaining, one.remaining_variance = predictions[id]
                variance += one.remaining_variance - variance_before
                one.remaining_tokens = remaining
            one.tokens_seen = seen
            final_tokens += seen + remaining - final_before
            new[one.request.priority] += seen - before
        self.held_tokens += sum(new)
        self.final_tokens, self.variance = final_tokens, variance
        return new

    def note_leaving(self, running: Running) -> None:
        if not running.is_leaving:
            running.is_leaving = True
            if running.request.priority is P2:
                self._leaving_p2 += 1

    def remove(self, id: RequestId) -> Running | None:
        running = self.running.pop(id, None)
        if running is None:
            return None
        self._counts[running.request.priority] -= 1
        if self.guest == id:
            self.guest = None
        self._peaks.clear()
        if self._envelope is not None:
            self._envelope.remove(running.in_flight)
        self.held_tokens -= running.held_tokens
        self.final_tokens -= running.held_tokens + running.remaining_tokens
        self.variance = max(0.0, self.variance - running.remaining_variance)
        if not self.running:  # no drift of float sums across idle moments
            self.final_tokens = self.variance = 0.0
        is_p2 = running.request.priority is P2
        if running.first_token_at is not None:
            self.decoding -= 1
        elif is_p2:
            self.unread_p2_tokens -= running.load.unread_tokens
        if is_p2 and running.is_leaving:
            self._leaving_p2 -= 1
        return running

    def depart(self, id: RequestId, at: float, grace_s: float) -> None:
        """We hung up on it; the engine frees the slot within `grace_s`, or says so earlier."""
        if grace_s > 0:
            self._departing[id] = (at, at + grace_s)

    def confirm_departures(self, at: float, engine_running: int | None) -> None:
        """Forget departures that the engine no longer runs, or whose grace is over.

        A gauge counts only departures older than itself: what left after the sample was taken
        cannot be in it.
        """
        if engine_running is not None:
            still_there = max(0, engine_running - len(self.running))
            confirmed = len(self._departing) - still_there
            for id in list(self._departing)[: max(0, confirmed)]:
                del self._departing[id]
        for id, (_, until) in list(self._departing.items()):
            if until <= at:
                del self._departing[id]

    def next_departure(self) -> float:
        """When the next slot that we gave up counts as free; infinity for never."""
        if not self._departing:
            return math.inf
        return min(until for _, until in self._departing.values())

    def in_flight(self) -> list[InFlight]:
        return [
            InFlight(
                one.load.prompt_tokens + one.tokens_seen,
                one.remaining_tokens,
                one.remaining_variance,
            )
            for one in self.running.values()
        ]

    def peak(self) -> float:
        """Expected KV peak of those in flight now, if nobody joins."""
        return self._envelope_now().peak()

    def peak_with_at_least(self, candidate: InFlight) -> float:
        """A lower bound of `peak_with`, for a fraction of its price."""
        known = self._peaks.get(candidate)
        return self._envelope_now().peak_with_at_least(candidate) if known is None else known

    def peak_with(self, candidate: InFlight) -> float:
        """Expected KV peak if it joined those in flight now."""
        peak = self._peaks.get(candidate)
        if peak is None:
            peak = self._peaks[candidate] = self._envelope_now().peak_with(candidate)
        return peak

    def _envelope_now(self) -> Envelope:
        if self._envelope is None:
            self._envelope = Envelope(self.in_flight())
        return self._envelope
