"""How background work gives way: jobs that wait here go back to the store, running ones are shed.

Who goes first is `shedding.py`'s choice, how many may stay `beside_p0.py`'s. Each P0 arrival and
each new lease asks once; what joins later by the rules is let alone until the next one asks.
"""

from __future__ import annotations

from collections.abc import Iterator

from stoker.core import order, shedding
from stoker.core.actions import Preempt
from stoker.core.reasons import Reason
from stoker.core.state import State
from stoker.core.work import P0, P2, RequestId


class GivingWay:
    def __init__(self, state: State) -> None:
        self._state = state
        self._is_owed = False
        """Somebody asked, and not all have gone who should: a pause protects them."""
        self._is_strict = False

    def owe(self, *, is_strict: bool) -> None:
        """P0 asks for room: at the start of a hold to the letter, later with some slack."""
        self._is_owed = True
        self._is_strict = is_strict

    def make_way(self, at: float, cause: str) -> Iterator[Preempt]:
        """P0 has the box: those who may not join go back, those who are too many are shed."""
        state = self._state
        yield from self._send_back_who_cannot_join(at, cause)
        ledger, needed = state.ledger, self._needed_by_p0(at)
        keep = ledger.staying_p2
        if self._is_owed:
            keep = state.admission.background_allowed(at, has_slack=not self._is_strict) or 0
            needed = max(needed, self._unread_in_the_way())
        if needed > 0 or ledger.staying_p2 > keep:
            yield from self._shed(at, cause, keep=keep, needed=needed)
        self._is_owed = self._is_owed and ledger.staying_p2 > keep

    def _needed_by_p0(self, at: float) -> int:
        """Slots that waiting P0 requests lack; one at a time while a prompt lacks KV cache."""
        state, ledger = self._state, self._state.ledger
        head = order.head(state, P0, at)
        if head is not None and head.seen is Reason.KV_PEAK and not ledger.leaving_p2:
            return 1
        slots_free = state.box.capacity.requests - len(ledger.running)
        return state.queues.count(P0) - slots_free - ledger.leaving_p2

    def _unread_in_the_way(self) -> int:
        """Background prompts being read, if P0 would feel it: taken back, they lose no output."""
        state = self._state
        if state.beside_p0.may_be_read(state.ledger.unread_p2_tokens):
            return 0
        unread = [one for one in state.ledger.running.values() if one.first_token_at is None]
        return sum(one.request.preemptible and not one.is_leaving for one in unread)

    def is_over(self) -> None:
        """P0 does not hold the box any more."""
        self._is_owed = False

    def shed_to(self, keep: int, at: float, cause: str) -> Iterator[Preempt]:
        """Take back all but `keep`, whatever it costs."""
        needed = self._state.ledger.staying_p2 - keep
        yield from self._shed(at, cause, keep=keep, needed=needed, pause_s=0.0)

    def send_back_waiting_jobs(self, cause: str) -> Iterator[Preempt]:
        """Jobs that were claimed and have not started."""
        state = self._state
        for waiting in state.queues.of_class(P2):
            if waiting.request.job_id is not None and not waiting.is_leaving:
                waiting.is_leaving = True
                yield Preempt(waiting.request.id, cause)

    def _send_back_who_cannot_join(self, at: float, cause: str) -> Iterator[Preempt]:
        state = self._state
        head = order.head(state, P2, at)
        if head is None or head.is_leaving:
            return
        has_room = state.ledger.staying_p2 < (state.admission.background_allowed(at) or 0)
        if has_room and state.admission.joining(head.load, at) is None:
            return
        for waiting in state.queues.of_class(P2) if not has_room else ():
            state.resuming.sent_back(waiting.request, waiting.load, at)
        if has_room:
            state.resuming.misled(at)
        yield from self.send_back_waiting_jobs(cause)

    def _shed(
        self, at: float, cause: str, *, keep: int, needed: int, pause_s: float | None = None
    ) -> Iterator[Preempt]:
        """Take running jobs back until at most `keep` stay, and at least `needed`."""
        state = self._state
        for running in shedding.victims(
            state.ledger,
            state.resuming,
            keep=keep,
            needed=needed,
            preempted_at=state.preempted_at,
            last_allowed=at - (state.policy.shed_pause_s if pause_s is None else pause_s),
        ):
            state.ledger.note_leaving(running)
            state.resuming.taken_back(running, at)
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
