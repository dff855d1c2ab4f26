"""The cached share of prompts: measured from counters, judged against its best and the room."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stoker.core.actions import Dispatch
from stoker.core.events import Arrived, EngineSample, EngineSampled, EngineUp, FirstToken, Left
from stoker.core.limits import Capacity
from stoker.core.policy import Policy
from stoker.core.reasons import Reason
from stoker.core.scheduler import Scheduler
from stoker.core.thrash import COOL_DOWN_S, Thrash
from stoker.core.work import Outcome, Priority, Request, RequestId, Usage


class Counters:
    """An engine's counters, moved by windows of ten seconds."""

    def __init__(self, thrash: Thrash) -> None:
        self.thrash = thrash
        self.at = self.prompt = self.cached = 0.0
        self.window(0.0, tokens=0.0)

    def window(self, share: float, *, tokens: float = 10_000.0, working_set: float = 200.0) -> bool:
        self.at += 10.0
        self.prompt += tokens
        self.cached += share * tokens
        sample = EngineSample(
            prompt_tokens_total=self.prompt, prompt_tokens_cached_total=self.cached
        )
        self.thrash.judge(self.at, sample, working_set=working_set, limit=100.0)
        return self.thrash.is_on


def test_it_is_on_when_the_share_has_fallen_and_the_working_set_is_too_large():
    engine = Counters(Thrash())

    assert not engine.window(0.75)
    assert not engine.window(0.62)
    assert engine.window(0.34)
    assert engine.thrash.share == 0.34


def test_a_low_share_harms_nobody_while_there_is_room():
    engine = Counters(Thrash())
    engine.window(0.75)

    assert not engine.window(0.1, working_set=90.0)


def test_it_ends_when_the_share_recovers_and_does_not_begin_again_at_once():
    engine = Counters(Thrash())
    engine.window(0.75)
    assert engine.window(0.34)

    assert engine.window(0.62)
    assert not engine.window(0.7)
    began = engine.at
    while engine.at + 10.0 < began + COOL_DOWN_S:
        assert not engine.window(0.34)
    assert engine.window(0.34)


def test_it_ends_when_the_working_set_has_fallen():
    engine = Counters(Thrash())
    engine.window(0.75)
    assert engine.window(0.34)

    assert engine.window(0.34, working_set=95.0)
    assert not engine.window(0.34, working_set=89.0)


def test_the_best_is_forgotten_after_five_minutes():
    engine = Counters(Thrash())
    engine.window(0.75)

    shares = [engine.window(0.34) for _ in range(32)]

    assert shares[0]
    assert not shares[-1]


def test_windows_with_few_tokens_say_nothing():
    engine = Counters(Thrash())
    engine.window(0.75)

    assert not engine.window(0.0, tokens=1_000.0)
    assert engine.thrash.share == 0.75
    engine.window(0.0, tokens=1_000.0)
    assert engine.thrash.share == 0.0


def test_counters_that_begin_anew_are_no_window():
    engine = Counters(Thrash())
    engine.window(0.75)
    engine.prompt = engine.cached = 0.0

    engine.window(0.9, tokens=5_000.0)

    assert engine.thrash.share == 0.75


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1e5), st.floats(0, 1e3)), max_size=40))
def test_it_never_holds_anybody_up_while_there_is_room(windows):
    engine = Counters(Thrash())
    for share, tokens, working_set in windows:
        is_on = engine.window(share, tokens=tokens, working_set=working_set)
        assert not (is_on and working_set <= 90.0)
        assert engine.thrash.share is None or 0.0 <= engine.thrash.share <= 1.0


def call(it: Scheduler, at: float, name: str, session: str, tokens: int = 100) -> list[object]:
    request = Request(
        RequestId(name),
        Priority.P1,
        prompt_bytes=4 * tokens,
        prompt_tokens=tokens,
        max_tokens=10,
        session=session,
    )
    return list(it.handle(Arrived(at, request)))


def sample(it: Scheduler, at: float, prompt: float, cached: float) -> None:
    it.handle(
        EngineSampled(
            at,
            EngineSample(prompt_tokens_total=prompt, prompt_tokens_cached_total=cached),
        )
    )


def test_new_sessions_wait_for_thrash_and_turns_of_known_ones_do_not():
    it = Scheduler(Policy(ramp_s=0.0), Capacity(16, kv_tokens=2_000))
    it.handle(EngineUp(-100.0))
    sample(it, 0.0, 0, 0)
    call(it, 0.0, "big", "", tokens=1_000)
    it.handle(FirstToken(0.0, RequestId("big")))
    sample(it, 10.0, 10_000, 8_000)
    call(it, 10.0, "a1", "a", tokens=700)
    it.handle(Left(19.0, RequestId("a1"), Outcome.FINISHED, Usage(1_000, 10)))
    sample(it, 20.0, 20_000, 10_000)  # the share fell; 1,000 run and 1,010 are parked

    assert call(it, 20.5, "b1", "b") == []
    assert call(it, 20.6, "a2", "a", tokens=700) == [Dispatch(RequestId("a2"), "Arrived")]
    story = it.explain(RequestId("b1"), 20.7)
    assert story is not None
    assert story.explanation is not None
    assert story.explanation.reason is Reason.THRASH
    assert (story.explanation.knob, story.explanation.measured) == ("cached_share", 0.2)
    assert it.snapshot(20.7).cached_share == 0.2
