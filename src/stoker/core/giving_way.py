"""How background work gives way: jobs that wait here go back to the store, running ones are shed.

Who goes first is `shedding.py`'s choice; when, and how many may stay, is the caller's.
"""

from __future__ import annotations

from collections.abc import Iterator

from stoker.core import shedding
from stoker.core.actions import Preempt
from stoker.core.state import State
from stoker.core.work import Priority, RequestId


class GivingWay:
    def __init__(self, state: State) -> None:
        self._state = state

    def send_back_waiting_jobs(self, cause: str) -> Iterator[Preempt]:
        """Jobs that were claimed and have not started."""
        state = self._state
        for waiting in state.queues.of_class(Priority.P2):
            if waiting.request.job_id is not None and not waiting.is_leaving:
                waiting.is_leaving = True
                yield Preempt(waiting.request.id, cause)

    def shed(self, at: float, cause: str, *, keep: int, pause_s: float) -> Iterator[Preempt]:
        """Take running jobs back until at most `keep` stay and every waiting P0 has a slot."""
        state = self._state
        slots_free = state.box.capacity.requests - len(state.ledger.running)
        for running in shedding.victims(
            state.ledger,
            keep=keep,
            slots_needed=state.queues.count(Priority.P0) - slots_free,
            preempted_at=state.preempted_at,
            at=at,
            pause_s=pause_s,
        ):
            state.ledger.note_leaving(running)
            self._note_preempted(running.request.id, at)
            state.stories.tell(
                running.request.id, at, "gives_way", cause=cause, tokens=running.tokens_seen
            )
            yield Preempt(running.request.id, cause)

    def _note_preempted(self, id: RequestId, at: float) -> None:
        state = self._state
        state.preemptions += 1
        state.preempted_at[id] = at
        pause_s = state.policy.shed_pause_s
        if len(state.preempted_at) > 1024:
            state.preempted_at = {
                key: then for key, then in state.preempted_at.items() if at - then < pause_s
            }
