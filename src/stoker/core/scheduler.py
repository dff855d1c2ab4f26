"""The scheduler: events in, actions out. It keeps the box fed without overrunning it.

`handle()` is the only way in. It is synchronous, so decisions never interleave, and each decision
reserves what it decided on: once `Dispatch` is returned, the ledger counts that request.

Each fact goes into the `state` (`facts.py`); what follows is drawn from it (`decisions.py`). The
parts of the state have one job each: `queues` (order), `ledger` (what is in flight), `places`
(sessions that are away for a moment), `hold` (when P0 has the box), `ageing` (who has waited too
long), `admission` (may this start, and if not, why not), `waits` (how long one may be kept
waiting), `claims` (jobs on their way from the store), `p2_order` (which jobs to fetch), `learning`
(what leaving requests teach), `service` (how fast the engine is), `story` (what happened).
"""

from __future__ import annotations

import math

from stoker.core import order, views
from stoker.core.actions import Action
from stoker.core.decisions import Decisions
from stoker.core.events import Event, FirstToken, Progressed
from stoker.core.facts import Facts
from stoker.core.giving_way import GivingWay
from stoker.core.host_guard import Level
from stoker.core.limits import Capacity
from stoker.core.policy import Policy
from stoker.core.snapshot import Snapshot, Story
from stoker.core.state import State
from stoker.core.window import Window
from stoker.core.work import RequestId

_QUIET = (FirstToken, Progressed)
"""Facts that can change nothing while nobody waits here: they come most often."""


class Scheduler:
    """One box's scheduling, as a function of the events so far."""

    def __init__(
        self,
        policy: Policy | None = None,
        capacity: Capacity | None = None,
    ) -> None:
        self.state = State(policy or Policy(), capacity or Capacity(requests=1))
        giving_way = GivingWay(self.state)
        self._facts = Facts(self.state, giving_way)
        self._decisions = Decisions(self.state, giving_way)

    def handle(self, event: Event) -> list[Action]:
        """Take one fact and return what follows from it, in order."""
        self.state.advance(event.at)
        self.state.places.expire(event.at)
        actions = list(self._facts.take(event))
        if self.state.queues or not isinstance(event, _QUIET):
            actions += self._decisions.decide(event.at, type(event).__name__)
        return actions

    def next_deadline(self, at: float) -> float | None:
        """Wake me then with `DeadlineReached`, if nothing else happens before."""
        state = self.state
        wants_more = state.claims.available or state.queues
        first = min(
            state.hold.next_change(at),
            state.waits.next_due(),
            state.ledger.next_departure(),
            state.places.next_expiry(),
            order.next_due(state, at),
            state.ageing.next_change(at) if wants_more else math.inf,
            self._decisions.next_ramp_step(at),
        )
        return first if first < math.inf else None

    def close_window(self, at: float) -> Window:
        """What has happened since the last call, for the optimizer."""
        state = self.state
        state.advance(at)
        return state.meter.close(
            at,
            capacity=state.box.capacity,
            limits=state.box.limits,
            tokens_per_request=_tokens_per_request(state),
            is_thrashing=state.box.thrash.is_on,
            cached_share=state.box.thrash.share,
            is_host_short=state.guard.requests_allowed is not None
            or state.guard.level is not Level.OK,
            service=state.service.snapshot(),
        )

    def snapshot(self, at: float) -> Snapshot:
        """Everything that dashboards and metrics show, frozen."""
        return views.snapshot(self.state, at)

    def explain(self, id: RequestId, at: float) -> Story | None:
        """Why a request is where it is, and its story; `None` when it is not remembered."""
        return views.explain(self.state, id, at)


def _tokens_per_request(state: State) -> float:
    """KV tokens per running request at the forecast peak, common prefixes counted once."""
    ledger = state.ledger
    if not ledger.running:
        return 0.0
    return max(0.0, ledger.peak() - state.admission.shared_tokens) / len(ledger.running)
