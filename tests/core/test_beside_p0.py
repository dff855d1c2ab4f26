"""What stays and joins beside P0: as much as P0 does not feel, by the learned service curve."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.actions import Action, ClaimJobs, Dispatch, Preempt
from stoker.core.events import (
    Arrived,
    EngineUp,
    FirstToken,
    JobsAvailable,
    JobsClaimed,
    LeaseGranted,
    LeaseReleased,
    Left,
    Progressed,
)
from stoker.core.gaps import LINGER_MAX_S, LINGER_MIN_S, LINGER_START_S, Gaps
from stoker.core.limits import Capacity
from stoker.core.policy import Policy
from stoker.core.reasons import Reason
from stoker.core.scheduler import Scheduler
from stoker.core.work import JobId, LeaseId, Outcome, Priority, Request, RequestId, Usage

POLICY = Policy(p0_reserved_slots=0, p1_reserved_slots=0, ramp_s=0.0, p0_linger_s=3.0)
UNIFIED = (0.0122, 0.00903, 0.722)
"""A unified-memory box: 50 ms hold 7 requests."""


def box(
    curve: tuple[float, float, float] | None = UNIFIED,
    prefill_token_s: float = 0.00025,
    slots: int = 32,
    policy: Policy = POLICY,
) -> Scheduler:
    it = Scheduler(policy, Capacity(slots))
    it.handle(EngineUp(-100.0))
    if curve is not None:
        base, slope, power = curve
        for _ in range(10):
            for batch in (1, 2, 4, 8, 16, 32):
                it.state.service.note_step(0.0, batch, base + slope * batch**power)
            it.state.service.note_prefill(0.0, 1000, 1000 * prefill_token_s)
            it.state.service.note_prefill(0.0, 4000, 4000 * prefill_token_s)
    return it


def arrive(
    it: Scheduler, at: float, name: str, priority: Priority, **fields: object
) -> list[Action]:
    is_job = priority is Priority.P2
    defaults: dict[str, object] = {
        "prompt_bytes": 16_000,
        "prompt_tokens": 4_000,
        "max_tokens": 500,
        "preemptible": is_job,
        "job_id": JobId(name) if is_job else None,
    }
    request = Request(RequestId(name), priority, **{**defaults, **fields})
    return it.handle(Arrived(at, request))


def run_jobs(it: Scheduler, count: int, tokens: int = 50) -> list[str]:
    """Let `count` jobs decode; the later, the fewer tokens."""
    names = [f"job-{index}" for index in range(count)]
    for name in names:
        assert Dispatch(RequestId(name), "Arrived") in arrive(it, 0.0, name, Priority.P2)
        it.handle(FirstToken(0.5, RequestId(name)))
    report = {RequestId(name): tokens + count - index for index, name in enumerate(names)}
    it.handle(Progressed(1.0, report))
    return names


def shed(actions: list[Action]) -> list[str]:
    return [action.id for action in actions if isinstance(action, Preempt)]


def test_p0_traffic_leaves_as_many_as_keep_the_time_between_tokens():
    it = box()
    run_jobs(it, 12)

    gone = shed(arrive(it, 2.0, "person", Priority.P0))

    # Seven fit into 50 ms; one is the person, one place is for the next.
    assert it.state.ledger.staying_p2 == 5
    assert gone == [f"job-{index}" for index in (11, 10, 9, 8, 7, 6, 5)]


def test_a_lease_leaves_only_those_that_leave_p0_as_fast_as_alone():
    fast = box(curve=(0.004, 0.0005, 0.6))
    run_jobs(fast, 12)

    fast.handle(LeaseGranted(2.0, LeaseId("l"), 60.0))
    under_lease = fast.state.ledger.staying_p2
    step_s = fast.state.service.step_s

    assert under_lease == fast.state.beside_p0.allowed() > 0
    assert step_s(1 + under_lease) <= 1.15 * step_s(1) < step_s(2 + under_lease)
    fast.handle(LeaseReleased(2.0, LeaseId("l")))
    assert fast.state.beside_p0.allowed() > under_lease


@pytest.mark.parametrize("curve", [None, (0.06, 0.001, 0.7)], ids=["unknown", "too slow"])
def test_nothing_stays_where_the_curve_is_unknown_or_a_lone_step_is_too_slow(curve):
    it = box(curve)
    run_jobs(it, 5)

    assert len(shed(arrive(it, 2.0, "person", Priority.P0))) == 5


def test_a_number_set_by_hand_overrules_the_curve():
    it = box(policy=Policy(p0_reserved_slots=0, p1_reserved_slots=0, p2_during_p0=2))
    run_jobs(it, 5)

    assert len(shed(arrive(it, 2.0, "person", Priority.P0))) == 3


def test_agents_that_decode_beside_p0_leave_less_room_for_background():
    it = box()
    before = it.state.beside_p0.allowed()
    for index in range(3):
        arrive(it, 0.0, f"agent-{index}", Priority.P1)

    assert it.state.beside_p0.allowed() == before - 3


curves = st.none() | st.tuples(
    st.floats(1e-4, 0.2), st.floats(1e-6, 0.05), st.sampled_from([0.3, 0.5, 0.72, 1.0])
)


@given(curves, st.integers(1, 64), st.integers(0, 9), st.integers(0, 4), st.integers(1, 100_000))
def test_c0_is_within_the_box_and_a_lease_never_allows_more_than_traffic(
    curve, slots, p0, p1, question
):
    it = box(curve, slots=slots)
    asked(it, -1.0, "before", question)
    for index in range(p1):
        arrive(it, 0.0, f"agent-{index}", Priority.P1)
    for index in range(p0):
        arrive(it, 0.0, f"person-{index}", Priority.P0)
    beside = it.state.beside_p0
    traffic, tolerated = beside.allowed(), beside.tolerated()
    it.handle(LeaseGranted(0.0, LeaseId("l"), 60.0))

    assert 0 <= beside.allowed() <= traffic <= tolerated <= slots
    if curve is None:
        assert tolerated == 0


def test_a_later_question_of_the_same_burst_sheds_nobody_whom_p0_hardly_feels():
    it = box()
    run_jobs(it, 12)
    arrive(it, 2.0, "first", Priority.P0)
    for name in list(it.state.ledger.running):
        if it.state.ledger.running[name].is_leaving:
            it.handle(Left(2.1, name, Outcome.PREEMPTED))

    assert shed(arrive(it, 8.0, "second", Priority.P0)) == []
    assert it.state.ledger.staying_p2 == it.state.beside_p0.allowed() + 1
    assert len(shed(arrive(it, 9.0, "third", Priority.P0))) > 0


def test_a_prompt_being_read_gives_way_even_where_there_is_room_for_it():
    it = box()
    run_jobs(it, 2)
    arrive(it, 1.5, "unread", Priority.P2)

    assert shed(arrive(it, 2.0, "person", Priority.P0)) == ["unread"]


# ---------------------------------------------------------------------------- the first token


def promising(slack_s: float | None) -> Policy:
    return Policy(p0_reserved_slots=0, p1_reserved_slots=0, p0_ttft_slack_s=slack_s)


def test_a_promised_first_token_leaves_those_whose_step_and_a_half_is_within_it():
    it = box(policy=promising(0.05))
    run_jobs(it, 12)
    most, step_s = it.state.beside_p0.allowed(), it.state.service.step_s
    assert 1.5 * step_s(most) <= 0.05 < 1.5 * step_s(most + 1)

    arrive(it, 2.0, "person", Priority.P0)

    # Who asks next finds the one who is served now among the others.
    assert it.state.ledger.staying_p2 == it.state.beside_p0.allowed() == most - 1


@given(curves, st.integers(1, 64), st.integers(0, 5), st.floats(0.0, 0.2), st.floats(0.0, 0.2))
def test_the_less_p0_may_wait_the_fewer_stay(curve, slots, p0, one_s, other_s):
    strict, slack, free = (
        box(curve, slots=slots, policy=promising(slack_s))
        for slack_s in (min(one_s, other_s), max(one_s, other_s), None)
    )
    for it in (strict, slack, free):
        for index in range(p0):
            arrive(it, 0.0, f"person-{index}", Priority.P0)
    allowed = [it.state.beside_p0.allowed() for it in (strict, slack, free)]

    assert allowed == sorted(allowed)


@pytest.mark.parametrize("slack_s", [0.05, None])
def test_with_a_promised_first_token_few_background_prompts_lie_unread_before_a_question_comes(
    slack_s,
):
    it = box(policy=promising(slack_s))
    for index in range(2):
        arrive(it, 0.0, f"job-{index}", Priority.P2, prompt_tokens=1_500, job_id=None)

    # Reading 200 tokens takes the 50 ms that P0 may go without a token; one prompt may always be.
    assert it.state.ledger.count(Priority.P2) == (2 if slack_s is None else 1)
    if slack_s is not None:
        why = it.explain(RequestId("job-1"), 0.0).explanation
        assert (why.reason, why.knob) == (Reason.PREFILL_DEBT, "p0_ttft_slack_s")


# ---------------------------------------------------------------------------- joining


def held_with_shed_jobs(cached: float) -> Scheduler:
    """Twelve jobs ran, a question came, seven went back to the store with their text."""
    it = box()
    it.state.resuming.cached_share = cached
    run_jobs(it, 12)
    for name in shed(arrive(it, 2.0, "person", Priority.P0)):
        it.handle(Left(2.1, RequestId(name), Outcome.PREEMPTED))
    assert it.handle(JobsAvailable(2.2, 100)) == []
    return it


def test_a_shed_job_continues_in_the_place_of_one_that_ends_while_p0_holds_the_box():
    it = held_with_shed_jobs(cached=0.99)

    ended = it.handle(Left(3.0, RequestId("job-0"), Outcome.FINISHED, Usage(4000, 60)))
    it.handle(JobsClaimed(3.0, 1, 1))
    back = arrive(it, 3.0, "job-5", Priority.P2, resumed_tokens=57)

    assert ended == [ClaimJobs(1, "Left")]
    assert back == [Dispatch(RequestId("job-5"), "Arrived")]


def test_nothing_is_fetched_beside_p0_when_continuing_means_reading_it_all_again():
    it = held_with_shed_jobs(cached=0.2)

    assert it.handle(Left(3.0, RequestId("job-0"), Outcome.FINISHED, Usage(4000, 60))) == []


def test_a_job_that_cannot_join_is_sent_back_once_and_no_more_are_fetched():
    it = held_with_shed_jobs(cached=0.99)
    it.handle(Left(3.0, RequestId("job-0"), Outcome.FINISHED, Usage(4000, 60)))
    it.handle(JobsClaimed(3.0, 1, 1))

    assert arrive(it, 3.0, "a new one", Priority.P2) == [Preempt(RequestId("a new one"), "Arrived")]
    it.handle(Left(3.0, RequestId("a new one"), Outcome.PREEMPTED))
    assert it.handle(JobsAvailable(3.1, 100)) == []


def test_the_reason_for_not_joining_names_the_time_that_reading_takes():
    it = held_with_shed_jobs(cached=0.99)
    it.handle(Left(3.0, RequestId("job-0"), Outcome.FINISHED, Usage(4000, 60)))
    arrive(it, 3.0, "flex", Priority.P2, job_id=None, preemptible=False)

    why = it.explain(RequestId("flex"), 3.0).explanation

    assert (why.reason, why.knob) == (Reason.P0_LEASE, "p0_itl_target_s")
    assert why.measured == pytest.approx(1.0, rel=0.1)


# ---------------------------------------------------------------------------- pauses of a lease


def asked(it: Scheduler, at: float, name: str, tokens: int, cached: int = 0) -> None:
    """A question of P0, answered at once."""
    arrive(it, at, name, Priority.P0, prompt_tokens=tokens)
    it.handle(FirstToken(at, RequestId(name)))
    it.handle(Left(at, RequestId(name), Outcome.FINISHED, Usage(tokens, 100, cached)))


def paused_with_shed_jobs() -> Scheduler:
    """Under a lease; questions of 1,600 tokens, twelve jobs in the store with their texts."""
    it = box()
    asked(it, -50.0, "before", 1_600)
    run_jobs(it, 12)
    it.state.resuming.cached_share = 0.98
    gone = shed(it.handle(LeaseGranted(2.0, LeaseId("l"), 600.0)))
    gone += shed(arrive(it, 2.0, "person", Priority.P0, prompt_tokens=1_600))
    for name in gone:
        it.handle(Left(2.1, RequestId(name), Outcome.PREEMPTED))
    it.handle(JobsAvailable(2.2, 100))
    it.handle(FirstToken(2.4, RequestId("person")))
    return it


def test_while_the_holder_of_a_lease_asks_nothing_as_many_run_as_the_next_question_may_wait_for():
    it = box()
    asked(it, 0.0, "person", 1_600)
    it.handle(LeaseGranted(1.0, LeaseId("l"), 60.0))

    # Reading it takes 400 ms; 15 % of that are the step and a half which it may find under way.
    most, step_s = it.state.beside_p0.allowed(), it.state.service.step_s
    assert 1.5 * step_s(most) <= 0.15 * 0.4 < 1.5 * step_s(most + 1)

    assert most == 4
    arrive(it, 2.0, "again", Priority.P0)
    assert it.state.beside_p0.allowed() == 0


def test_nothing_runs_in_a_pause_while_nobody_knows_how_long_questions_are():
    it = box()
    it.handle(LeaseGranted(1.0, LeaseId("l"), 60.0))

    assert it.state.beside_p0.allowed() == 0


def test_short_questions_and_those_that_the_engine_has_cached_leave_no_time_for_others():
    for name, tokens, cached in (("short", 100, 0), ("cached", 1_600, 1_590)):
        it = box()
        asked(it, 0.0, name, tokens, cached)
        it.handle(LeaseGranted(1.0, LeaseId("l"), 60.0))

        assert it.state.beside_p0.allowed() == 0


def test_nothing_runs_in_a_pause_where_the_engine_is_slow_to_notice_that_we_hung_up():
    it = box()
    it.handle(EngineUp(-50.0, abort_grace_s=1.5))
    asked(it, 0.0, "person", 1_600)
    it.handle(LeaseGranted(1.0, LeaseId("l"), 60.0))

    assert it.state.beside_p0.allowed() == 0


def test_jobs_continue_in_the_pause_of_a_lease_and_give_way_to_the_next_question():
    it = paused_with_shed_jobs()
    assert it.state.ledger.count(Priority.P2) == 0

    answered = Left(12.0, RequestId("person"), Outcome.FINISHED, Usage(1_600, 50))
    assert it.handle(answered) == [ClaimJobs(4, "Left")]
    it.handle(JobsClaimed(12.0, 4, 4))
    back = [
        arrive(it, 12.0, f"job-{index}", Priority.P2, prompt_tokens=4_050, resumed_tokens=50)
        for index in range(4)
    ]

    # Reading 81 tokens each takes 20 ms; a question is 400 ms long.
    assert back == [[Dispatch(RequestId(f"job-{index}"), "Arrived")] for index in range(4)]
    for index in range(4):
        it.handle(FirstToken(12.1, RequestId(f"job-{index}")))
    assert len(shed(arrive(it, 20.0, "again", Priority.P0))) == 4


def test_no_new_prompt_is_read_in_the_pause_of_a_lease():
    it = paused_with_shed_jobs()
    it.handle(Left(12.0, RequestId("person"), Outcome.FINISHED, Usage(1_600, 50)))
    it.handle(JobsClaimed(12.0, 1, 1))

    gone = arrive(it, 12.0, "a new one", Priority.P2, prompt_tokens=100)

    assert gone == [Preempt(RequestId("a new one"), "Arrived")]


# ---------------------------------------------------------------------------- what shedding costs


def test_without_a_prefix_cache_a_job_that_is_nearly_done_may_end():
    it = box(policy=Policy(p0_reserved_slots=0, p1_reserved_slots=0, p2_during_p0=0))
    it.state.resuming.cached_share = 0.0
    for name, most in (("long", 2000), ("ending", 110)):
        arrive(it, 0.0, name, Priority.P2, max_tokens=most)
        it.handle(FirstToken(0.5, RequestId(name)))
    it.handle(Progressed(1.0, {RequestId("long"): 100, RequestId("ending"): 100}))

    # Ten tokens are over in a quarter of a second; reading 4,000 again takes a whole one.
    assert shed(arrive(it, 2.0, "person", Priority.P0)) == ["long"]


def test_with_a_prefix_cache_even_that_one_gives_way_because_it_loses_nothing():
    it = box(policy=Policy(p0_reserved_slots=0, p1_reserved_slots=0, p2_during_p0=0))
    it.state.resuming.cached_share = 0.99
    arrive(it, 0.0, "ending", Priority.P2, max_tokens=110)
    it.handle(FirstToken(0.5, RequestId("ending")))
    it.handle(Progressed(1.0, {RequestId("ending"): 100}))

    assert shed(arrive(it, 2.0, "person", Priority.P0)) == ["ending"]


def test_a_text_that_the_engine_cannot_continue_is_dearer_than_a_longer_one_that_it_can():
    it = box(policy=Policy(p0_reserved_slots=0, p1_reserved_slots=0, p2_during_p0=1))
    for index in range(4):  # tools in the request: each time it comes back, it starts anew
        name = f"tools-{index}"
        arrive(it, 10.0 * index, name, Priority.P2, family="tools")
        it.handle(FirstToken(10.0 * index + 1, RequestId(name)))
        it.handle(Progressed(10.0 * index + 2, {RequestId(name): 30}))
        arrive(it, 10.0 * index + 2.1, f"other-{index}", Priority.P2)
        it.handle(FirstToken(10.0 * index + 2.2, RequestId(f"other-{index}")))
        it.handle(Progressed(10.0 * index + 3, {RequestId(f"other-{index}"): 200}))
        actions = arrive(it, 10.0 * index + 4, f"p-{index}", Priority.P0)
        gone = shed(actions)
        for id in list(it.state.ledger.running):
            outcome = Outcome.PREEMPTED if id in gone else Outcome.FINISHED
            it.handle(Left(10.0 * index + 4.1, id, outcome))
        arrive(it, 10.0 * index + 9, name, Priority.P2, family="tools")
        it.handle(Left(10.0 * index + 9, RequestId(name), Outcome.CANCELLED))

    assert gone == ["other-3"]


@pytest.mark.parametrize("told", [True, False], ids=["usage says", "from the time"])
@pytest.mark.parametrize("cached", [0, 3_900])
def test_the_cached_share_of_continued_prompts_is_measured(told, cached):
    it = box()
    at = 0.0
    for index in range(20):
        id = RequestId(f"{index}")
        arrive(it, at, id, Priority.P2, resumed_tokens=100, prompt_tokens=3_900)
        it.handle(FirstToken(at + 0.00025 * (4_000 - cached), id))
        usage = Usage(4_000, 20, cached if told else None)
        it.handle(Left(at + 2.0, id, Outcome.FINISHED, usage))
        it.handle(Progressed(at + 2.1, {}))
        at += 3.0

    assert it.snapshot(at).resumed_cached_share == pytest.approx(cached / 4_000, abs=0.1)


# ---------------------------------------------------------------------------- the linger


def gaps(*seconds: float) -> Gaps:
    known = Gaps()
    for gap_s in seconds:
        known.note(gap_s)
    return known


def test_the_linger_starts_at_three_seconds_and_covers_most_gaps_of_a_burst():
    assert gaps().linger_s == LINGER_START_S
    assert gaps(1.0, 200.0).linger_s == LINGER_START_S
    learned = gaps(*[0.5, 1.0, 1.5, 2.0, 1.2, 0.8, 1.0, 2.2, 1.9, 3.5] * 5)
    assert 1.8 <= learned.linger_s <= 2.5


def test_slow_readers_do_not_keep_the_box_for_longer_than_that_is_worth():
    assert gaps(*[6.0, 8.0, 11.0, 9.0] * 5).linger_s == LINGER_MAX_S


def test_where_questions_come_alone_the_box_is_not_kept_for_the_next():
    assert gaps(*[60.0, 90.0, 300.0, 45.0, 8.0, 120.0] * 5).linger_s == LINGER_MIN_S


@given(st.lists(st.floats(0.0, 1e5), max_size=80))
def test_the_linger_stays_within_its_bounds(seconds):
    assert LINGER_MIN_S <= gaps(*seconds).linger_s <= LINGER_MAX_S


def test_the_scheduler_learns_its_linger_from_the_gaps_between_questions():
    it = box(policy=Policy())
    at = 0.0
    for index in range(12):
        arrive(it, at, f"p-{index}", Priority.P0)
        it.handle(Left(at + 1.0, RequestId(f"p-{index}"), Outcome.FINISHED, Usage(10, 1)))
        at += 3.0  # a gap of two seconds

    assert 2.0 <= it.snapshot(at).p0_linger_s <= 2.5
