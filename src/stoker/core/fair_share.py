"""Whose turn it is among the tenants of one class: deficit round robin in token-iterations.

Work is measured by what it takes from the others: the tokens that it holds in the KV cache, summed
over the engine's steps (Justitia). Who runs is charged what is predicted, and what it really took
when it leaves; a tenant goes on until it has used up what its round gave it, and then the next one
does. Nobody is held up while nobody else has work. Owns accounts only; who waits is `queues.py`'s.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Final

from stoker.core.load import Load
from stoker.core.policy import SHARES_MAX
from stoker.core.work import Priority, RequestId

QUANTUM: Final = 65_536.0
"""Token-iterations that a round gives: a prompt of 1,000 tokens with an answer of 60. Most requests
cost more, so tenants alternate request by request, and small ones come a few at a time."""
REMEMBERED_MAX: Final = 1024
"""Tenants without work whose debts are remembered; those who left first are forgiven first."""
DEBT_MAX: Final = 64.0
"""Debt, in requests as large as the largest of the class, beyond which it is forgiven: predictions
that were wrong for a whole box must not keep a tenant out for an hour."""

_NOTHING: Final[Mapping[str, float]] = {}
_MEAN_GAIN: Final = 1 / 16


def token_iterations(prompt_tokens: float, output_tokens: float) -> float:
    """What holding a prompt and a growing answer takes: p·d + d²/2, and the step that reads it."""
    return prompt_tokens * (output_tokens + 1.0) + output_tokens * output_tokens / 2.0


@dataclass(slots=True)
class _Account:
    deficit: float = 0.0
    """What it may still use of its rounds; below 0, what it has used of those to come."""
    wants: int = 0
    """Reasons to be in the ring: each request that waits, and having jobs in the store."""
    left_at_round: float = 0.0
    mean_cost: float = 0.0
    """Of its requests, for those of whom nothing else is known."""


class FairShare:
    """The tenants of one class, with what each may still use. With one tenant, nothing counts."""

    def __init__(self, shares: Mapping[str, float]) -> None:
        self._shares = shares
        self._accounts: dict[str, _Account] = {}
        self._ring: dict[str, _Account] = {}
        """Tenants with work to start, in the order of their turns."""
        self._idle: dict[str, None] = {}
        """Those that are remembered without, the longest gone first."""
        self._rounds = 0.0
        self._reserved = 0.0
        """Sum of the shares reserved for tenants in the ring."""
        self._reserved_count = 0
        self._largest = QUANTUM
        self._mean_cost = 0.0

    @property
    def has_rivals(self) -> bool:
        """Whether more than one tenant has work to start."""
        return len(self._ring) > 1

    @property
    def tenants(self) -> Mapping[str, float]:
        """The deficits of those with work to start, in the order of their turns."""
        return {tenant: account.deficit for tenant, account in self._ring.items()}

    @property
    def debt_max(self) -> float:
        """The most that a tenant may owe to the others."""
        return DEBT_MAX * self._largest

    def want(self, tenant: str) -> None:
        """It has one more request, or jobs in the store, to start."""
        account = self._ring.get(tenant)
        if account is None:
            account = self._join(tenant)
        account.wants += 1

    def unwant(self, tenant: str) -> None:
        """One of them waits no longer."""
        account = self._ring[tenant]
        account.wants -= 1
        if not account.wants:
            self._rest(tenant, account)

    def first(self, among: Container[str], ahead: Mapping[str, float] = _NOTHING) -> str:
        """Whose turn it is among these tenants, of which at least one has work. Changes nothing.

        `ahead` is what some will be charged before what is asked about.
        """
        best, fewest = None, math.inf
        for tenant, account in self._ring.items():
            if tenant in among:
                rounds = self._rounds_needed(tenant, account.deficit - ahead.get(tenant, 0.0))
                if rounds < fewest:
                    best, fewest = tenant, rounds
                if rounds == 0.0:
                    break
        assert best is not None, "nobody of them has work"
        return best

    def charge(self, tenant: str, cost: float) -> None:
        """It has had its turn, and takes `cost` of the engine."""
        account = self._account(tenant)
        self._largest = max(self._largest, cost)
        rounds = self._rounds_needed(tenant, account.deficit) if tenant in self._ring else 0.0
        if rounds:
            self._grant(rounds)
        self._spend(account, cost)
        if account.deficit <= 0.0 and tenant in self._ring:
            del self._ring[tenant]
            self._ring[tenant] = account

    def correct(self, tenant: str, predicted: float, actual: float) -> None:
        """What it was charged turned out to be more, or less."""
        account = self._account(tenant)
        self._largest = max(self._largest, actual)
        self._spend(account, actual - predicted)
        account.mean_cost = _mean(account.mean_cost, actual)
        self._mean_cost = _mean(self._mean_cost, actual)

    def usual_cost(self, tenant: str) -> float:
        """What one of its requests takes, as far as anybody knows."""
        account = self._accounts.get(tenant)
        return (account.mean_cost if account else 0.0) or self._mean_cost or QUANTUM

    # ------------------------------------------------------------------ rounds

    def _weight(self, tenant: str) -> float:
        """Parts of a round: 1, or what makes a reserved share of all that is given out."""
        share = self._shares.get(tenant)
        if share is None:
            return 1.0
        others = len(self._ring) - self._reserved_count
        if not others:
            return share  # only reserved ones: in proportion
        return share * others / (1.0 - min(SHARES_MAX, self._reserved))

    def _rounds_needed(self, tenant: str, deficit: float) -> float:
        if deficit > 0.0:
            return 0.0
        return math.floor(-deficit / (QUANTUM * self._weight(tenant))) + 1.0

    def _grant(self, rounds: float) -> None:
        """Rounds in which nobody else could have gone are given all at once."""
        self._rounds += rounds
        for tenant, account in self._ring.items():
            given = QUANTUM * self._weight(tenant)
            # One that is held up by something else than its turn saves no more than one turn.
            most = max(account.deficit, self._largest + given)
            account.deficit = min(account.deficit + rounds * given, most)

    def _spend(self, account: _Account, cost: float) -> None:
        account.deficit = max(account.deficit - cost, -self.debt_max)
        if not account.wants:
            account.deficit = min(account.deficit, 0.0)  # nobody saves up while idle

    # ------------------------------------------------------------------ coming and going

    def _account(self, tenant: str) -> _Account:
        account = self._accounts.get(tenant)
        if account is None:
            account = self._accounts[tenant] = _Account(left_at_round=self._rounds)
            self._remember(tenant)
        return account

    def _join(self, tenant: str) -> _Account:
        account = self._account(tenant)
        self._idle.pop(tenant, None)
        self._ring[tenant] = account
        if tenant in self._shares:
            self._reserved += self._shares[tenant]
            self._reserved_count += 1
        if account.deficit < 0.0:
            # The rounds that it has missed count; nobody saves up what was never owed.
            missed = (self._rounds - account.left_at_round) * QUANTUM * self._weight(tenant)
            account.deficit = min(0.0, account.deficit + missed)
        return account

    def _rest(self, tenant: str, account: _Account) -> None:
        del self._ring[tenant]
        if tenant in self._shares:
            self._reserved = max(0.0, self._reserved - self._shares[tenant])
            self._reserved_count -= 1
        account.deficit = min(0.0, account.deficit)
        account.left_at_round = self._rounds
        self._remember(tenant)

    def _remember(self, tenant: str) -> None:
        self._idle[tenant] = None
        if len(self._idle) > REMEMBERED_MAX:
            forgotten = next(iter(self._idle))
            del self._idle[forgotten], self._accounts[forgotten]


class FairShares:
    """The same for all classes, and what each request was charged."""

    def __init__(self, shares: Mapping[str, float]) -> None:
        self._classes = [FairShare(shares) for _ in Priority]
        self._charged: dict[RequestId, float] = {}

    def of(self, priority: Priority) -> FairShare:
        return self._classes[priority]

    def charge(self, id: RequestId, priority: Priority, tenant: str, load: Load) -> None:
        """It starts to run."""
        cost = token_iterations(load.prompt_tokens, load.output_tokens)
        self._charged[id] = cost
        self._classes[priority].charge(tenant, cost)

    def settle(
        self, id: RequestId, priority: Priority, tenant: str, prompt_tokens: int, output_tokens: int
    ) -> float:
        """It has left: correct what it was charged. What it really took."""
        actual = token_iterations(prompt_tokens, output_tokens)
        charged = self._charged.pop(id, None)
        if charged is not None:
            self._classes[priority].correct(tenant, charged, actual)
        return actual


def _mean(mean: float, value: float) -> float:
    return mean + _MEAN_GAIN * (value - mean) if mean else value
