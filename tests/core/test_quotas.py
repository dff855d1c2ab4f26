"""What a key may have at once and per minute, to the token and with honest times."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stoker.core.errors import Rejected
from stoker.core.quotas import ACCOUNTS_MAX, UNLIMITED, Held, Quota, Quotas


def refused(quotas: Quotas, quota: Quota, *, tokens=10.0, queued=0, at=0.0) -> Rejected:
    with pytest.raises(Rejected) as caught:
        quotas.enter("k", quota, tokens, queued, at)
    return caught.value


def test_without_limits_everything_passes():
    quotas = Quotas()
    for _ in range(1000):
        quotas.enter("k", UNLIMITED, 1e9, 10**6, 0.0)


def test_requests_in_flight_are_bounded_until_one_leaves():
    quotas, quota = Quotas(), Quota(requests_in_flight=2)
    held = quotas.enter("k", quota, 10.0, 0, 0.0)
    quotas.enter("k", quota, 10.0, 0, 0.0)

    error = refused(quotas, quota)
    assert (error.code, error.explanation.knob) == ("key_in_flight", "requests_in_flight")
    assert (error.explanation.measured, error.explanation.limit) == (3, 2)
    assert error.retry_after_s is not None
    quotas.enter("other", quota, 10.0, 0, 0.0)

    quotas.leave(held, quota, 10.0, 1.0)
    quotas.enter("k", quota, 10.0, 0, 1.0)


def test_tokens_in_flight_are_bounded_as_predicted():
    quotas, quota = Quotas(), Quota(tokens_in_flight=1000)
    quotas.enter("k", quota, 600.0, 0, 0.0)

    assert refused(quotas, quota, tokens=401.0).explanation.measured == 1001.0
    quotas.enter("k", quota, 400.0, 0, 0.0)


def test_so_many_may_wait():
    error = refused(Quotas(), Quota(queued=5), queued=5)

    assert (error.code, error.explanation.knob) == ("key_queued", "queued")
    Quotas().enter("k", Quota(queued=5), 1.0, 4, 0.0)


def test_requests_per_minute_come_back_one_by_one_and_the_time_told_is_enough():
    quotas, quota = Quotas(), Quota(requests_per_minute=6)
    for _ in range(6):
        quotas.enter("k", quota, 1.0, 0, 0.0)

    error = refused(quotas, quota)

    assert error.code == "rate_limit_exceeded"
    assert error.retry_after_s == pytest.approx(10.0)
    assert refused(quotas, quota, at=9.9).retry_after_s == pytest.approx(0.1)
    quotas.enter("k", quota, 1.0, 0, 10.0)
    refused(quotas, quota, at=10.0)


def test_tokens_per_minute_are_taken_as_predicted_and_put_right_by_usage():
    quotas, quota = Quotas(), Quota(tokens_per_minute=600)
    held = quotas.enter("k", quota, 500.0, 0, 0.0)
    assert quotas.tokens_left("k", quota, 0.0).remaining == 100

    quotas.leave(held, quota, 50.0, 0.0)

    left = quotas.tokens_left("k", quota, 0.0)
    assert (left.limit, left.remaining) == (600, 550)
    assert left.reset_s == pytest.approx(5.0)


def test_who_used_more_than_predicted_owes_it():
    quotas, quota = Quotas(), Quota(tokens_per_minute=600)
    quotas.leave(quotas.enter("k", quota, 100.0, 0, 0.0), quota, 900.0, 0.0)

    assert refused(quotas, quota, tokens=100.0).retry_after_s == pytest.approx(40.0)


def test_a_request_larger_than_a_minute_goes_when_the_bucket_is_full():
    quotas, quota = Quotas(), Quota(tokens_per_minute=600)
    held = quotas.enter("k", quota, 1200.0, 0, 0.0)

    quotas.leave(held, quota, 1200.0, 0.0)

    assert refused(quotas, quota, tokens=600.0).retry_after_s == pytest.approx(120.0)


def test_a_refusal_counts_nothing():
    quotas, quota = Quotas(), Quota(requests_per_minute=10, tokens_per_minute=100)
    quotas.enter("k", quota, 90.0, 0, 0.0)

    assert refused(quotas, quota, tokens=50.0).explanation.knob == "tokens_per_minute"

    assert quotas.requests_left("k", quota, 0.0).remaining == 9
    assert quotas.tokens_left("k", quota, 0.0).remaining == 10
    assert quotas.refused == {"tokens_per_minute": 1}


def test_a_job_counts_as_a_request_and_its_tokens_do_not():
    quotas, quota = Quotas(), Quota(requests_per_minute=2, tokens_per_minute=100, queued=3)

    quotas.submit("k", quota, 2, 0.0)

    assert quotas.requests_left("k", quota, 0.0).remaining == 1
    assert quotas.tokens_left("k", quota, 0.0).remaining == 100
    with pytest.raises(Rejected):
        quotas.submit("k", quota, 3, 0.0)


def test_only_so_many_accounts_are_remembered():
    quotas, quota = Quotas(), Quota(requests_per_minute=2)
    quotas.enter("busy", quota, 1.0, 0, 0.0)
    for number in range(ACCOUNTS_MAX + 10):
        quotas.leave(quotas.enter(f"k{number}", quota, 1.0, 0, 0.0), quota, 1.0, 0.0)

    assert quotas.requests_left("busy", quota, 0.0).remaining == 1, "who is here is remembered"


QUOTA = Quota(
    requests_in_flight=4, tokens_in_flight=500, requests_per_minute=30, tokens_per_minute=900
)


class Keys(RuleBasedStateMachine):
    """Requests of one key that come and go as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.quotas = Quotas()
        self.now = 0.0
        self.here: list[Held] = []
        self.passed: list[float] = []

    @rule(tokens=st.floats(1.0, 600.0))
    def one_comes(self, tokens: float) -> None:
        wait_s = self.attempt(tokens)
        if wait_s is not None:
            self.now += wait_s + 1e-6
            assert self.attempt(tokens) is None, "the time that was told is enough"

    def attempt(self, tokens: float) -> float | None:
        """Let it in, or say when the rate would."""
        try:
            held = self.quotas.enter("k", QUOTA, tokens, 0, self.now)
        except Rejected as error:
            return error.retry_after_s if error.code == "rate_limit_exceeded" else None
        self.here.append(held)
        self.passed.append(self.now)
        return None

    @precondition(lambda self: self.here)
    @rule(data=st.data(), factor=st.floats(0.0, 1.0))
    def one_leaves(self, data: st.DataObject, factor: float) -> None:
        held = self.here.pop(data.draw(st.integers(0, len(self.here) - 1)))
        self.quotas.leave(held, QUOTA, factor * held.tokens, self.now)

    @rule(seconds=st.floats(0.0, 30.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def limits_hold(self) -> None:
        assert len(self.here) <= 4
        assert sum(held.tokens for held in self.here) <= 500 + 1e-6
        minute = [at for at in self.passed if at > self.now - 60.0]
        assert len(minute) <= 60, "a bucket and what flows into it in a minute"
        left = self.quotas.tokens_left("k", QUOTA, self.now)
        assert 0 <= left.remaining <= left.limit


TestKeys = Keys.TestCase
TestKeys.settings = settings(max_examples=30, stateful_step_count=40)
