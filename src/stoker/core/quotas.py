"""What one key may have at a time and per minute: counted here, with the time as an argument.

Tokens are counted as predicted while a request is here, and as they were when it has left. Buckets
fill evenly, so a minute's worth can be had at once and then comes back bit by bit.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from stoker.core.errors import Rejected
from stoker.core.reasons import Explanation, Reason

MINUTE_S: Final = 60.0
ACCOUNTS_MAX: Final = 4096
_COME_BACK_S: Final = 2.0
"""When to try again where that hangs on how long others take."""


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits of a key; `None` is none."""

    requests_in_flight: int | None = None
    """Requests that are here at once, waiting or running."""
    tokens_in_flight: int | None = None
    """Their prompts and answers, as predicted."""
    queued: int | None = None
    """Requests, or stored jobs, of its tenant that wait at once."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    """Prompts and answers; stored jobs do not count."""


UNLIMITED: Final = Quota()


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a limit per minute, and in how many seconds it will be whole again."""

    limit: int
    remaining: int
    reset_s: float


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float

    def fill(self, limit: int, at: float) -> float:
        self.level = min(float(limit), self.level + max(0.0, at - self.at) * limit / MINUTE_S)
        self.at = max(at, self.at)
        return self.level


@dataclass(slots=True)
class _Account:
    requests: int = 0
    tokens: float = 0.0
    requests_bucket: _Bucket | None = None
    tokens_bucket: _Bucket | None = None


@dataclass(slots=True)
class Held:
    """A request that has passed; give it back with `leave`."""

    account: str
    tokens: float


class Quotas:
    """The accounts of all keys."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}
        self.refused: Counter[str] = Counter()
        """How often each limit refused somebody."""

    def enter(self, account: str, quota: Quota, tokens: float, queued: int, at: float) -> Held:
        """A request of `tokens` comes, while `queued` wait. Raises `Rejected` and counts nothing
        when a limit is reached.
        """
        of = self._account(account)
        self._check("requests_in_flight", Reason.KEY_IN_FLIGHT, of.requests + 1, quota)
        self._check("tokens_in_flight", Reason.KEY_IN_FLIGHT, of.tokens + tokens, quota)
        self._check("queued", Reason.KEY_QUEUED, queued + 1, quota)
        self._take(of, quota, tokens, at)
        of.requests += 1
        of.tokens += tokens
        return Held(account, tokens)

    def submit(self, account: str, quota: Quota, queued: int, at: float) -> None:
        """A job comes, while `queued` wait in the store. Raises `Rejected`."""
        self._check("queued", Reason.KEY_QUEUED, queued + 1, quota)
        self._take(self._account(account), quota, 0.0, at)

    def leave(self, held: Held, quota: Quota, tokens: float, at: float) -> None:
        """It has left, and was `tokens`."""
        of = self._account(held.account)
        of.requests = max(0, of.requests - 1)
        of.tokens = max(0.0, of.tokens - held.tokens) if of.requests else 0.0
        limit = quota.tokens_per_minute
        if limit is not None and of.tokens_bucket is not None:
            of.tokens_bucket.fill(limit, at)
            of.tokens_bucket.level = min(limit, of.tokens_bucket.level + held.tokens - tokens)

    def requests_left(self, account: str, quota: Quota, at: float) -> Left | None:
        """What it may still ask this minute; `None` without such a limit."""
        of, limit = self._account(account), quota.requests_per_minute
        if limit is None:
            return None
        of.requests_bucket = of.requests_bucket or _Bucket(limit, at)
        return _left(of.requests_bucket, limit, at)

    def tokens_left(self, account: str, quota: Quota, at: float) -> Left | None:
        """The same of tokens."""
        of, limit = self._account(account), quota.tokens_per_minute
        if limit is None:
            return None
        of.tokens_bucket = of.tokens_bucket or _Bucket(limit, at)
        return _left(of.tokens_bucket, limit, at)

    # ------------------------------------------------------------------ helpers

    def _check(self, knob: str, reason: Reason, would_be: float, quota: Quota) -> None:
        limit = getattr(quota, knob)
        if limit is not None and would_be > limit:
            self._refuse(knob, reason, would_be, limit, _COME_BACK_S)

    def _take(self, of: _Account, quota: Quota, tokens: float, at: float) -> None:
        requests, of_tokens = quota.requests_per_minute, quota.tokens_per_minute
        if requests is not None:
            of.requests_bucket = of.requests_bucket or _Bucket(requests, at)
            self._check_bucket("requests_per_minute", of.requests_bucket, requests, 1.0, at)
        if of_tokens is not None and tokens:
            of.tokens_bucket = of.tokens_bucket or _Bucket(of_tokens, at)
            self._check_bucket("tokens_per_minute", of.tokens_bucket, of_tokens, tokens, at)
            of.tokens_bucket.level -= tokens
        if of.requests_bucket is not None:
            of.requests_bucket.level -= 1.0

    def _check_bucket(
        self, knob: str, bucket: _Bucket, limit: int, wanted: float, at: float
    ) -> None:
        level = bucket.fill(limit, at)
        # One that is larger than a minute's worth goes when the bucket is full, and owes the rest.
        needed = min(wanted, float(limit))
        if level + 1e-9 < needed:
            used = limit - level + wanted
            wait_s = (needed - level) * MINUTE_S / limit
            self._refuse(knob, Reason.RATE_LIMIT_EXCEEDED, used, limit, wait_s)

    def _refuse(
        self, knob: str, reason: Reason, measured: float, limit: float, retry_after_s: float
    ) -> None:
        self.refused[knob] += 1
        raise Rejected(Explanation(reason, knob, measured, limit), retry_after_s=retry_after_s)

    def _account(self, account: str) -> _Account:
        found = self._accounts.get(account)
        if found is None:
            found = self._accounts[account] = _Account()
            if len(self._accounts) > ACCOUNTS_MAX:
                self._forget_an_idle_one()
        return found

    def _forget_an_idle_one(self) -> None:
        idle = next((name for name, of in self._accounts.items() if not of.requests), None)
        if idle is not None:
            del self._accounts[idle]


def _left(bucket: _Bucket, limit: int, at: float) -> Left:
    level = bucket.fill(limit, at)
    return Left(limit, max(0, int(level)), max(0.0, (limit - level) * MINUTE_S / limit))
