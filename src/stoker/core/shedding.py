"""Which background requests give way when P0 comes: the least lost first, never more than needed.

Pure choice. The scheduler turns it into `Preempt` and counts each victim as leaving at once, so a
second look before the engine has confirmed asks for nobody else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stoker.core.ledger import Ledger, Running
from stoker.core.resuming import Resuming
from stoker.core.work import P2, RequestId


def victims(
    ledger: Ledger,
    resuming: Resuming,
    *,
    keep: int,
    needed: int,
    preempted_at: Mapping[RequestId, float],
    last_allowed: float,
) -> list[Running]:
    """Background requests to take back so that at most `keep` stay, and `needed` come free.

    One that would end sooner than its prompt could be read again may stay, unless it is needed.
    """
    surplus = ledger.staying_p2 - keep
    if surplus <= 0 and needed <= 0:
        return []
    candidates = list(_candidates(ledger, preempted_at, last_allowed))
    spared = {one.request.id for one in candidates if resuming.is_nearly_done(one)}

    def loss(running: Running) -> tuple[bool, bool, float, float]:
        """Not yet read first (no output lost), then what is cheapest to bring back; the youngest
        among equals."""
        is_read = running.first_token_at is not None
        is_spared = running.request.id in spared
        return is_spared, is_read, resuming.loss_tokens(running), -running.dispatched_at

    count = max(needed, min(surplus, len(candidates) - len(spared)))
    return sorted(candidates, key=loss)[: max(0, count)]


def _candidates(
    ledger: Ledger, preempted_at: Mapping[RequestId, float], last_allowed: float
) -> Iterable[Running]:
    """Those that may be taken back: a job is not preempted twice within the pause."""
    for running in ledger.running.values():
        request = running.request
        if request.priority is not P2 or not request.preemptible or running.is_leaving:
            continue
        if preempted_at.get(request.id, last_allowed) <= last_allowed:
            yield running
