"""Which background requests give way when P0 comes: the least lost first, never more than needed.

Pure choice. The scheduler turns it into `Preempt` and counts each victim as leaving at once, so a
second look before the engine has confirmed asks for nobody else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stoker.core.ledger import Ledger, Running
from stoker.core.work import Priority, RequestId


def victims(
    ledger: Ledger,
    *,
    keep: int,
    slots_needed: int,
    preempted_at: Mapping[RequestId, float],
    at: float,
    pause_s: float,
) -> list[Running]:
    """Background requests to take back so that at most `keep` stay and `slots_needed` come free."""
    surplus = max(ledger.staying_p2 - keep, slots_needed - ledger.leaving_p2)
    if surplus <= 0:
        return []
    return sorted(_candidates(ledger, preempted_at, at - pause_s), key=_loss)[:surplus]


def _candidates(
    ledger: Ledger, preempted_at: Mapping[RequestId, float], last_allowed: float
) -> Iterable[Running]:
    """Those that may be taken back: a job is not preempted twice within the pause."""
    for running in ledger.running.values():
        request = running.request
        if request.priority is not Priority.P2 or not request.preemptible or running.is_leaving:
            continue
        if preempted_at.get(request.id, last_allowed) <= last_allowed:
            yield running


def _loss(running: Running) -> tuple[bool, int, float]:
    """Not yet read first (no output lost), then the youngest: fewest tokens, latest start."""
    return (running.first_token_at is not None, running.tokens_seen, -running.dispatched_at)
