"""The refusal of a request: counted, told to its story, with an honest time to come back."""

from __future__ import annotations

from stoker.core.actions import Reject
from stoker.core.reasons import Explanation
from stoker.core.state import State
from stoker.core.work import Request


def reject(state: State, request: Request, refusal: Explanation, at: float, cause: str) -> Reject:
    state.admissions[request.priority, refusal.reason] += 1
    state.stories.tell(request.id, at, "rejected", reason=refusal.reason.value)
    retry_after_s = None
    if refusal.is_retryable:
        retry_after_s = state.waits.retry_after_s(
            request.priority, state.queues.count(request.priority)
        )
    return Reject(request.id, refusal, retry_after_s, cause)
