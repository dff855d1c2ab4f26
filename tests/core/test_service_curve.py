"""The service curve finds step times from what is seen of an engine, and says when it cannot."""

from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.events import Arrived, EngineUp, FirstToken, Left, Progressed
from stoker.core.limits import Capacity
from stoker.core.policy import Policy
from stoker.core.scheduler import Scheduler
from stoker.core.service_curve import ServiceCurve
from stoker.core.work import Outcome, Priority, Request, RequestId, Usage

H100 = {1: 0.0056, 4: 0.0068, 8: 0.0093, 16: 0.0121, 32: 0.0152, 48: 0.0167, 64: 0.018, 75: 0.0189}
"""Measured on real vLLM (a mixture of experts in FP8), seconds per decode step."""


def unified_memory_box(batch: float) -> float:
    return 0.0122 + 0.00903 * batch**0.722


def taught(steps: dict[int, float], samples: int = 10, noise: float = 0.0) -> ServiceCurve:
    curve, random_ = ServiceCurve(), random.Random(5)
    for index in range(samples):
        for batch, step in steps.items():
            curve.note_step(float(index), batch, step * math.exp(random_.gauss(0.0, noise)))
    return curve


def test_it_knows_nothing_before_it_has_seen_seconds_of_decoding():
    curve = taught({2: 0.02}, samples=4)

    assert not curve.is_known
    assert curve.step_s(2) is None
    assert curve.batch_max(1.0) is None
    assert curve.prefill_s(100) is None


def test_it_finds_the_step_times_of_a_real_gpu_within_a_tenth_under_noise():
    curve = taught(H100, samples=30, noise=0.15)

    for batch, step in H100.items():
        assert curve.step_s(batch) == pytest.approx(step, rel=0.1)


def test_it_predicts_batches_between_and_beyond_those_seen():
    curve = taught({batch: unified_memory_box(batch) for batch in (1, 2, 4, 16, 32)}, noise=0.05)

    assert curve.step_s(8) == pytest.approx(unified_memory_box(8), rel=0.1)
    assert curve.step_s(64) == pytest.approx(unified_memory_box(64), rel=0.15)


@pytest.mark.parametrize(("itl_s", "batch"), [(0.033, 3), (0.05, 7), (0.075, 14), (0.1, 23)])
def test_the_largest_batch_within_an_inter_token_latency(itl_s, batch):
    curve = taught({b: unified_memory_box(b) for b in (1, 2, 4, 8, 16, 32)}, samples=20)

    assert curve.batch_max(itl_s) == pytest.approx(batch, abs=1)


def test_a_box_whose_lone_step_is_too_slow_has_no_batch_at_all():
    assert taught({1: 0.08, 2: 0.09}).batch_max(0.05) == 0


def test_it_does_not_speak_of_batches_more_than_twice_the_largest_seen():
    curve = taught({1: 0.01, 2: 0.01, 4: 0.011})

    assert curve.batch_max(10.0) == curve.batch_reach == 8
    assert curve.step_s(8) is not None
    assert curve.step_s(9) is None


def test_it_does_not_speak_of_one_alone_when_only_a_full_box_was_seen():
    curve = taught({64: 0.06})

    assert curve.step_s(1) is None
    assert curve.batch_max(0.03) == 0


def test_a_stair_between_two_batch_sizes_is_not_smoothed_over():
    curve = taught({1: 0.021, 2: 0.03, 4: 0.032, 6: 0.045, 8: 0.045, 9: 0.066, 16: 0.066})

    assert curve.batch_max(0.05) == 8
    assert curve.step_s(9) == pytest.approx(0.066, rel=0.05)


def test_a_few_wild_samples_do_not_move_it():
    curve = taught({1: 0.01, 8: 0.02}, samples=20)
    for index in range(5):
        curve.note_step(20.0 + index, 8, 1.0)

    assert curve.step_s(8) == pytest.approx(0.02, rel=0.4)


def test_it_follows_an_engine_that_has_become_slower_for_good():
    curve = taught({1: 0.01, 8: 0.02}, samples=100)
    for index in range(40):
        curve.note_step(100.0 + index, 8, 0.06)

    assert curve.step_s(8) == pytest.approx(0.06, rel=0.2)


samples = st.lists(
    st.tuples(st.floats(0.0, 1e4), st.floats(0.5, 512.0), st.floats(1e-5, 100.0)), max_size=40
)


@given(samples, st.floats(1e-4, 10.0), st.floats(1e-4, 10.0))
def test_whatever_it_was_told_it_is_monotone(taught, itl_s, other_s):
    curve = ServiceCurve()
    for at, batch, step in taught:
        curve.note_step(at, batch, step)

    steps = [curve.step_s(batch) for batch in range(1, 1025)]
    known = [step for step in steps if step is not None]
    assert known == sorted(known)
    assert all(step > 0.0 for step in known)
    most = [curve.batch_max(limit) for limit in sorted((itl_s, other_s))]
    if curve.is_known:
        assert 0 <= most[0] <= most[1] <= curve.batch_reach
        if most[0]:
            assert curve.step_s(most[0]) <= min(itl_s, other_s) * (1 + 1e-6)
    else:
        assert most == [None, None]


def test_prefill_is_a_base_cost_and_so_much_per_token():
    curve = ServiceCurve()
    for index in range(60):
        tokens = (200, 1000, 4000, 9000)[index % 4]
        curve.note_prefill(float(index), tokens, 0.1 + 0.00025 * tokens)

    assert curve.prefill_s(2000) == pytest.approx(0.6, rel=0.05)
    assert curve.prefill_s(10) == pytest.approx(0.1, rel=0.2)


def test_what_was_learned_survives_as_plain_numbers_and_gives_way_to_news():
    curve = taught({b: unified_memory_box(b) for b in (1, 4, 16)}, samples=50)
    for index in range(10):
        curve.note_prefill(float(index), 1000, 0.25)
    saved = json.loads(json.dumps(curve.state()))

    warm = ServiceCurve()
    warm.restore(saved, 0.0)

    assert warm.is_known
    assert warm.step_s(8) == pytest.approx(curve.step_s(8), rel=0.05)
    assert warm.prefill_s(4000) == pytest.approx(curve.prefill_s(4000), rel=0.05)
    for index in range(30):
        for batch in (1, 4, 16):
            warm.note_step(float(index), batch, 3.0 * unified_memory_box(batch))
    assert warm.step_s(16) == pytest.approx(3.0 * unified_memory_box(16), rel=0.1)


# ---------------------------------------------------------------------------- from the events


class Engine:
    """Decodes `batch` answers in lockstep through the scheduler, reporting every quarter second."""

    def __init__(self, slots: int = 64) -> None:
        self.it = Scheduler(
            Policy(p0_reserved_slots=0, p1_reserved_slots=0, kv_share_p1=1.0), Capacity(slots)
        )
        self.it.handle(EngineUp(0.0))
        self.now = 0.0
        self.tokens: dict[RequestId, int] = {}

    def start(self, name: str, prompt_tokens: int = 100, reading_s: float = 0.0) -> RequestId:
        id = RequestId(name)
        request = Request(id, Priority.P1, prompt_bytes=1, prompt_tokens=prompt_tokens)
        self.it.handle(Arrived(self.now, request))
        self.now += reading_s
        self.it.handle(FirstToken(self.now, id))
        self.tokens[id] = 1
        return id

    def decode(self, seconds: float, step_s: float, frame: int = 1) -> None:
        begun, had = self.now, dict(self.tokens)
        while self.now < begun + seconds - 1e-9:
            self.now += 0.25
            steps = int((self.now - begun + 1e-9) / step_s) // frame * frame
            for id, before in had.items():
                self.tokens[id] = before + steps
            self.it.handle(Progressed(self.now, dict(self.tokens)))

    def end(self, id: RequestId, prompt_tokens: int, cached: int | None = None) -> None:
        usage = Usage(prompt_tokens, self.tokens.pop(id), cached)
        self.it.handle(Left(self.now, id, Outcome.FINISHED, usage))


@pytest.mark.parametrize("frame", [1, 10])
def test_step_times_are_read_off_progress_reports_even_when_frames_come_in_bunches(frame):
    engine = Engine()
    for batch, step in ((1, 0.012), (4, 0.02), (16, 0.033)):
        while len(engine.tokens) < batch:
            engine.start(str(len(engine.tokens)))
        engine.decode(20.0, step, frame)

    for batch, step in ((1, 0.012), (4, 0.02), (16, 0.033)):
        assert engine.it.state.service.step_s(batch) == pytest.approx(step, rel=0.12)
    assert engine.it.snapshot(engine.now).service.batch_seen_max == 16


def test_seconds_in_which_a_prompt_is_read_do_not_count_as_slow_decoding():
    engine = Engine()
    engine.start("decoding")
    engine.decode(10.0, 0.02)
    engine.it.handle(
        Arrived(engine.now, Request(RequestId("long"), Priority.P1, 1, prompt_tokens=9_000))
    )
    engine.decode(4.0, 0.5)

    assert engine.it.state.service.step_s(1) == pytest.approx(0.02, rel=0.05)


def test_answers_that_are_over_between_two_reports_are_measured_as_a_whole():
    engine = Engine()
    for index in range(30):
        id = engine.start(f"{index}", 500, reading_s=0.02)
        engine.tokens[id] = 51
        engine.now += 50 * 0.006
        engine.end(id, 500)

    assert engine.it.state.service.step_s(1) == pytest.approx(0.006, rel=0.02)


def test_prefill_is_learned_from_first_tokens_and_only_for_what_was_not_cached():
    engine = Engine()
    for index in range(12):
        fresh, cached = (500, 2000, 4000)[index % 3], (0, 3000)[index % 2]
        id = engine.start(f"{index}", fresh + cached, reading_s=fresh * 0.0003)
        engine.decode(1.0, 0.02)
        engine.end(id, fresh + cached, cached)
    engine.decode(0.25, 0.02)
    engine.it.handle(Progressed(engine.now, {}))

    assert engine.it.state.service.prefill_s(3000) == pytest.approx(0.9, rel=0.15)


def test_a_box_that_always_reads_some_prompt_is_known_all_the_same():
    engine = Engine()
    for index in range(80):
        engine.start(f"{index}", 1000, reading_s=0.1)
        if index >= 4:
            engine.end(RequestId(f"{index - 4}"), 1000)
        # In each second a tenth went to the prompt.
        engine.decode(1.0, 0.02)

    assert engine.it.state.service.step_s(4) == pytest.approx(0.02, rel=0.2)
