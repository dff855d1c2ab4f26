"""The optimizer: which windows teach, what the ceilings are made of, and what is kept."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.climb import ClimbReason
from stoker.core.limits import Capacity
from stoker.core.optimizer import Learned, Optimizer, OptimizerPolicy, Shape, batch_max
from stoker.core.service_snapshot import ServiceSnapshot
from stoker.core.window import ClassWindow, Exposure, Window
from stoker.core.work import Priority

GB10 = ServiceSnapshot(
    is_known=True,
    samples=100.0,
    batch_seen_min=1,
    batch_seen_max=64,
    base_s=0.0122,
    per_batch_s=0.00903,
    gamma=0.722,
    prefill_s_per_token=0.00025,
    prefill_base_s=0.0,
    steps_s={},
)
BUSY = ClassWindow(
    running=8.0,
    places=8.0,
    output_tokens=450,
    prompt_tokens=900,
    bound={"limit": 1.0},
)
NOBODY = ClassWindow()


def window(tick: int, **changes: object) -> Window:
    blank = Window(
        began_at=3.0 * (tick - 1),
        at=3.0 * tick,
        p0=NOBODY,
        p1=NOBODY,
        p2=BUSY,
        p0_share=0.0,
        is_steady=True,
        tokens_per_request=1500.0,
        capacity=Capacity(requests=64),
    )
    return replace(blank, **changes)


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"p0_share": 0.2}, "P0 was here"),
        ({"p0": replace(NOBODY, running=0.1)}, "P0 was here"),
        ({"p1": replace(BUSY, running=4.0)}, "P1 was here"),
        ({"is_steady": False}, "the engine changed"),
        ({"is_host_short": True}, "the host is short of RAM"),
    ],
)
def test_a_tainted_window_teaches_the_background_nothing(
    changes: dict[str, object], note: str
) -> None:
    optimizer = Optimizer(known=(Learned(Priority.P2, Shape.DECODE_HEAVY, 3.0, -0.2, 1500.0),))

    steps = [optimizer.step(window(tick, **changes)) for tick in range(1, 60)]

    told = [step.climbs[Priority.P2] for step in steps]
    assert {climb.reason for climb in told} == {ClimbReason.TAINTED}
    assert {climb.note for climb in told} == {note}
    assert {step.limits.requests_p2 for step in steps} == {round(math.exp(3.0))}


def test_the_ceilings_of_people_come_from_the_service_curve() -> None:
    policy = OptimizerPolicy(p0_itl_target_s=0.05, p1_itl_target_s=0.1)

    limits = Optimizer(policy).step(window(1, service=GB10)).limits

    # t(23) = 99 ms, t(24) = 102 ms: twice P0's target is P1's target here.
    assert (limits.requests_p0, limits.requests_p1) == (23, 23)


def test_only_background_work_begins_small():
    limits = Optimizer().step(window(1)).limits

    assert limits.requests_p1 is None
    assert limits.requests_p2 is not None
    assert limits.requests_p2 <= 10


def test_without_a_service_curve_latency_sets_no_ceiling() -> None:
    assert Optimizer().step(window(1)).limits.requests_p0 is None


def test_the_token_ceiling_follows_the_size_of_the_work() -> None:
    limits = Optimizer().step(window(1)).limits

    assert limits.requests_p2 is not None
    assert limits.tokens == math.ceil(1.25 * limits.requests_p2 * 1500.0)


def test_each_shape_of_work_has_a_ceiling_of_its_own() -> None:
    known = (
        Learned(Priority.P2, Shape.DECODE_HEAVY, math.log(40.0), -0.2, 1500.0),
        Learned(Priority.P2, Shape.PROMPT_HEAVY, math.log(6.0), -0.2, 9000.0),
    )
    optimizer = Optimizer(known=known)
    decoding = replace(BUSY, running=39.0, places=39.0)
    reading = replace(BUSY, running=6.0, places=6.0, output_tokens=30, prompt_tokens=9000)

    first = optimizer.step(window(1, p2=decoding, service=GB10))
    for tick in range(2, 20):
        last = optimizer.step(window(tick, p2=reading, service=GB10))

    assert first.shapes[Priority.P2] is Shape.DECODE_HEAVY
    assert last.shapes[Priority.P2] is Shape.PROMPT_HEAVY
    assert first.limits.requests_p2 is not None
    assert last.limits.requests_p2 is not None
    assert 34 <= first.limits.requests_p2 <= 46
    assert 4 <= last.limits.requests_p2 <= 9


def test_what_was_learned_starts_the_next_life_where_this_one_stood() -> None:
    first = Optimizer()
    grown = [
        first.step(window(tick, p2=replace(BUSY, running=n, places=n, output_tokens=int(60 * n))))
        for tick, n in enumerate([8.0, 10.0, 13.0, 17.0, 22.0, 29.0, 38.0, 49.0, 64.0, 64.0], 1)
    ]

    second = Optimizer(known=first.learned()).step(window(1, p2=replace(BUSY, running=60.0)))

    assert first.learned()[-1].position == pytest.approx(math.log(64))
    assert grown[0].limits.requests_p2 == 10
    assert second.limits.requests_p2 is not None
    assert second.limits.requests_p2 >= 54


def test_guards_alone_set_no_learned_ceiling_on_bulk_work() -> None:
    limits = Optimizer(OptimizerPolicy(is_climbing=False)).step(window(1)).limits

    assert (limits.requests_p1, limits.requests_p2, limits.tokens) == (None, None, None)


@given(st.floats(1e-4, 2.0))
def test_the_largest_batch_inside_a_latency_is_the_inverse_of_the_curve(itl_s: float) -> None:
    largest = batch_max(GB10, itl_s)

    assert largest is not None
    if largest > 1:
        assert 0.0122 + 0.00903 * largest**0.722 <= itl_s + 1e-12
    assert 0.0122 + 0.00903 * (largest + 1) ** 0.722 > itl_s


SHARES = st.dictionaries(
    st.sampled_from(["limit", "kv_peak", "slots_full", "prefill_debt", "queued"]),
    st.floats(0.0, 1.0),
)
CLASSES = st.builds(
    ClassWindow,
    running=st.floats(0.0, 200.0),
    places=st.floats(0.0, 200.0),
    output_tokens=st.integers(0, 10_000),
    prompt_tokens=st.integers(0, 100_000),
    bound=SHARES,
    exposures=st.lists(
        st.builds(
            Exposure, began_at=st.floats(-50.0, 0.0), ended_at=st.floats(0.0, 3.0),
            tokens=st.integers(0, 5000),
        ),
        max_size=4,
    ).map(tuple),
)  # fmt: skip


@given(
    st.lists(
        st.tuples(CLASSES, CLASSES, CLASSES, st.floats(0.0, 1.0), st.booleans(), st.booleans(),
                  st.integers(0, 5), st.none() | st.just(GB10)),
        min_size=1,
        max_size=60,
    ),
    st.integers(1, 128),
    st.none() | st.integers(1, 100_000),
)  # fmt: skip
def test_whatever_the_windows_say_the_ceilings_stay_inside_the_capacity(
    seen: list[tuple[object, ...]], requests: int, kv_tokens: int | None
) -> None:
    optimizer, capacity = Optimizer(), Capacity(requests=requests, kv_tokens=kv_tokens)

    for tick, (p0, p1, p2, p0_share, is_steady, is_short, preempted, service) in enumerate(seen, 1):
        limits = optimizer.step(
            window(
                tick, p0=p0, p1=p1, p2=p2, p0_share=p0_share, is_steady=is_steady,
                is_host_short=is_short, engine_preemptions=preempted, service=service,
                capacity=capacity,
            )
        ).limits  # fmt: skip

        for ceiling in (limits.requests_p0, limits.requests_p1, limits.requests_p2):
            assert ceiling is None or 1 <= ceiling <= requests
        assert limits.tokens is None or limits.tokens >= 1
        if limits.tokens is not None and kv_tokens is not None:
            assert limits.tokens <= kv_tokens
