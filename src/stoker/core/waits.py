"""How long somebody may be kept waiting, and when it is worth coming back.

Owns the deadlines of waiting requests (their own, their class's, and the shorter one while the
engine is down) and the estimate behind `Retry-After`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator

from stoker.core.box import Box
from stoker.core.policy import Policy
from stoker.core.queues import ClassQueues, Waiting
from stoker.core.reasons import Explanation, Reason
from stoker.core.work import P0, Priority, Request, RequestId

RETRY_AFTER_MIN_S = 1.0
RETRY_AFTER_MAX_S = 120.0
"""The official OpenAI clients do not retry at all when told to wait longer than two minutes."""
_RATE_GAIN = 0.1


class Waits:
    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._due: list[tuple[float, int, RequestId]] = []
        self._sequence = 0
        self._last_served_at: dict[Priority, float] = {}
        self._service_gap_s: dict[Priority, float] = {}

    def start(self, request: Request, at: float, box: Box) -> None:
        deadline = self._deadline(request, at)
        if deadline is not None:
            self._push(deadline, request.id)
        if not box.is_engine_up and request.job_id is None:
            self._push(at + self._policy.down_wait_max_s, request.id)

    def engine_down(self, queues: ClassQueues, at: float) -> None:
        for waiting in queues:
            if waiting.request.job_id is None:
                self._push(at + self._policy.down_wait_max_s, waiting.request.id)

    def due(
        self, queues: ClassQueues, box: Box, at: float
    ) -> Iterator[tuple[Waiting, Explanation]]:
        """Those whose time is up, with the refusal that fits."""
        while self._due and self._due[0][0] <= at:
            _, _, id = heapq.heappop(self._due)
            waiting = queues.get(id)
            refusal = None if waiting is None else self._refusal(waiting, box, at)
            if waiting is not None and refusal is not None:
                yield waiting, refusal

    def is_due(self, at: float) -> bool:
        """Whether anybody's time may be up."""
        return bool(self._due) and self._due[0][0] <= at

    def next_due(self) -> float:
        """When the next deadline is reached; infinity for never."""
        return self._due[0][0] if self._due else math.inf

    def note_left(self, priority: Priority, at: float, *, is_served: bool) -> None:
        """Learn the mean time between completions of a class."""
        if not is_served:
            return
        last = self._last_served_at.get(priority)
        self._last_served_at[priority] = at
        if last is not None:
            gap = at - last
            mean = self._service_gap_s.get(priority, gap)
            self._service_gap_s[priority] = mean + _RATE_GAIN * (gap - mean)

    def retry_after_s(self, priority: Priority, waiting: int) -> float:
        """When the queue that is there now should have been served."""
        estimate = self._service_gap_s.get(priority, 1.0) * max(1, waiting)
        return min(RETRY_AFTER_MAX_S, max(RETRY_AFTER_MIN_S, estimate))

    def _push(self, deadline: float, id: RequestId) -> None:
        self._sequence += 1
        heapq.heappush(self._due, (deadline, self._sequence, id))

    def _deadline(self, request: Request, since: float) -> float | None:
        """The class's bound and the request's own, whichever is first. Jobs wait in the store."""
        if request.job_id is not None:
            return request.deadline_at
        own = request.deadline_at
        limit = self._policy.wait_max_p0_s
        if request.priority is not P0:
            limit = self._policy.wait_max_p1_s
        return since + limit if own is None else min(own, since + limit)

    def _refusal(self, waiting: Waiting, box: Box, at: float) -> Explanation | None:
        request = waiting.request
        deadline = self._deadline(request, waiting.since)
        if deadline is not None and deadline <= at:
            knob = (
                "deadline"
                if deadline == request.deadline_at
                else ("wait_max_p0_s" if request.priority is P0 else "wait_max_p1_s")
            )
            return Explanation(
                Reason.QUEUE_TIMEOUT, knob, at - waiting.since, deadline - waiting.since
            )
        down_for = at - max(box.changed_at, waiting.since)
        if not box.is_engine_up and down_for >= self._policy.down_wait_max_s:
            return Explanation(
                Reason.ENGINE_UNAVAILABLE,
                "down_wait_max_s",
                down_for,
                self._policy.down_wait_max_s,
                note=box.down_cause,
            )
        return None
