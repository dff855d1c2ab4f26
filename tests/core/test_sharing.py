"""Common prefixes lie in the KV cache once: how much that saves is learned from the gauge."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.actions import Dispatch
from stoker.core.events import (
    Arrived,
    EngineDown,
    EngineSample,
    EngineSampled,
    EngineUp,
    FirstToken,
)
from stoker.core.ledger import Running
from stoker.core.limits import Capacity
from stoker.core.load import Load
from stoker.core.policy import Policy
from stoker.core.reasons import Reason
from stoker.core.scheduler import Scheduler
from stoker.core.sharing import Sharing
from stoker.core.work import Priority, Request, RequestId


def running(tokens: int, *, is_read: bool = True) -> Running:
    request = Request(RequestId("r"), Priority.P1, prompt_bytes=4 * tokens)
    load = Load(tokens, 10.0, 0.0, is_prompt_exact=True)
    return Running(request, load, 0.0, first_token_at=1.0 if is_read else None)


def test_what_the_gauge_shows_less_than_we_count_is_learned_as_shared():
    sharing = Sharing()
    for _ in range(200):
        sharing.note(EngineSample(kv_cache_usage=0.4), [running(800)], 1_000)

    assert sharing.factor == pytest.approx(0.5, abs=0.01)


def test_it_is_given_up_quicker_than_it_is_believed():
    sharing = Sharing()
    sharing.note(EngineSample(kv_cache_usage=0.4), [running(800)], 1_000)
    believed = 1.0 - sharing.factor
    for _ in range(200):
        sharing.note(EngineSample(kv_cache_usage=0.4), [running(800)], 1_000)
    before = sharing.factor
    sharing.note(EngineSample(kv_cache_usage=0.8), [running(800)], 1_000)

    assert sharing.factor - before > 3 * believed


@pytest.mark.parametrize(
    ("sample", "held", "kv_tokens"),
    [
        (EngineSample(), running(800), 1_000),
        (EngineSample(kv_cache_usage=0.1), running(800), None),
        (EngineSample(kv_cache_usage=0.1, waiting=2), running(800), 1_000),
        (EngineSample(kv_cache_usage=0.01), running(99), 1_000),
        (EngineSample(kv_cache_usage=0.01), running(800, is_read=False), 1_000),
    ],
    ids=["no gauge", "no capacity", "the engine has a queue", "too little", "not read yet"],
)
def test_a_sample_that_cannot_be_compared_teaches_nothing(sample, held, kv_tokens):
    sharing = Sharing()

    sharing.note(sample, [held], kv_tokens)

    assert sharing.factor == 1.0


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 2_000)), max_size=50))
def test_it_never_makes_a_request_cost_more_than_its_tokens(samples):
    sharing = Sharing()
    for usage, tokens in samples:
        sharing.note(EngineSample(kv_cache_usage=usage), [running(tokens)], 1_000)
        assert 0.0 <= sharing.factor <= 1.0


def arrive(it: Scheduler, at: float, name: str, tokens: int) -> list[object]:
    request = Request(RequestId(name), Priority.P1, 4 * tokens, prompt_tokens=tokens, max_tokens=10)
    return list(it.handle(Arrived(at, request)))


def test_a_newcomer_finds_the_room_that_common_prefixes_leave():
    it = Scheduler(Policy(ramp_s=0.0), Capacity(16, kv_tokens=1_000))
    it.handle(EngineUp(-100.0))
    arrive(it, 0.0, "a", 800)
    it.handle(FirstToken(0.0, RequestId("a")))
    assert arrive(it, 0.0, "b", 300) == []
    story = it.explain(RequestId("b"), 0.0)
    assert story is not None
    assert story.explanation is not None
    assert story.explanation.reason is Reason.KV_PEAK

    started: list[object] = []
    for second in range(100):
        started += it.handle(EngineSampled(float(second), EngineSample(kv_cache_usage=0.4)))

    assert started == [Dispatch(RequestId("b"), "EngineSampled")]
    assert it.snapshot(100.0).kv_per_token < 0.85
    it.handle(EngineDown(101.0, "test"))
    assert it.snapshot(101.0).kv_per_token == 1.0
