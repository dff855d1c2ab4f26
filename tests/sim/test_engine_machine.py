"""Random small worlds: nothing is lost, nothing overruns, and a jump lands where walking does."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.core.work import RequestId
from stoker.sim.engine_model import EngineModel
from stoker.sim.host_model import GIB, HostModel
from stoker.sim.profiles import EngineProfile
from stoker.sim.work import Ended, Notice, Segment, SimRequest, Started
from tests.sim.boxes import SMALL, request, run_out

TICK = 2.0**-8


@dataclass(frozen=True)
class Call:
    """What a client does: hand in request `number`, hang up on it, or look at it."""

    at: float
    verb: str
    number: int
    request: SimRequest
    priority: int


@st.composite
def calls(draw: st.DrawFn) -> list[Call]:
    made = []
    at = 0.0
    for number in range(draw(st.integers(1, 14))):
        at += draw(st.integers(0, 60)) * TICK
        shared = draw(st.sampled_from(["a", "b", f"own {number}"]))
        first = Segment(shared, draw(st.integers(1, 24)))
        second = Segment(f"tail {draw(st.integers(0, 2))}", draw(st.integers(1, 20)))
        one = replace(
            request(f"r{number}", output=draw(st.integers(1, 30)), extends=draw(st.booleans())),
            segments=(first, second) if draw(st.booleans()) else (first,),
        )
        made.append(Call(at, "submit", number, one, draw(st.integers(0, 2))))
        later = at + draw(st.integers(0, 400)) * TICK
        verb = draw(st.sampled_from(["abort", "look", "sample", "nothing"]))
        made.append(Call(later, verb, number, one, 0))
    return sorted(made, key=lambda call: call.at)


profiles = st.builds(
    replace,
    st.just(SMALL),
    has_priority=st.booleans(),
    has_prefix_cache=st.booleans(),
    context_token_s=st.sampled_from([0.0, 2.0**-16]),
    long_prefill_tokens=st.sampled_from([None, 6]),
    capture_sizes=st.sampled_from([(), (1, 2, 4)]),
    steps_ahead=st.integers(0, 1),
    front_s=st.sampled_from([0.0, 2.0**-7]),
    abort_delay_s=st.sampled_from([0.0, 2.0**-5]),
    requests=st.integers(1, 6),
)
hosts = st.builds(
    lambda steps: HostModel(
        ram_total_bytes=10 * GIB,
        engine_bytes=4 * GIB,
        swap_below_bytes=4 * GIB,  # halves and quarters, which floats hold exactly
        cotenant=[(number * 0.5, taken * GIB) for number, taken in enumerate([*steps, 0])],
    ),
    st.lists(st.integers(0, 7), max_size=5),
)


def play(
    profile: EngineProfile, script: list[Call], *, jump: bool, host: HostModel | None = None
) -> tuple[list[Notice], list[int], EngineModel]:
    engine = EngineModel(profile, host=host, watch=lambda _: True, jump=jump)
    notices: list[Notice] = []
    answers: list[int] = []
    for call in script:
        notices += engine.advance(call.at) if call.at else []
        if call.verb == "submit":
            engine.submit(call.at, call.request, engine_priority=call.priority)
        elif call.verb == "abort":
            answers.append(engine.abort(call.at, call.request.id))
        elif call.verb == "look":
            answers.append(engine.tokens_of(call.at, call.request.id))
        elif call.verb == "sample":
            sample = engine.sample(call.at)
            assert sample.kv_cache_usage is not None
            assert 0.0 <= sample.kv_cache_usage <= 1.0
            answers += [round(sample.kv_cache_usage * 20), int(sample.output_tokens_total or 0)]
    return notices + run_out(engine), answers, engine


@given(calls(), profiles, st.none() | hosts)
@settings(max_examples=150, deadline=None)
def test_jumping_over_steps_gives_what_walking_them_gives(
    script: list[Call], profile: EngineProfile, host: HostModel | None
) -> None:
    jumped, jump_answers, fast = play(profile, script, jump=True, host=host)
    walked, walk_answers, slow = play(profile, script, jump=False, host=host)

    assert [(type(one), one.at, one.id) for one in jumped] == [
        (type(one), one.at, one.id) for one in walked
    ]
    assert jump_answers == walk_answers
    assert fast.totals == slow.totals
    for one, other in zip(jumped, walked, strict=True):
        if isinstance(one, Ended) and isinstance(other, Ended):
            assert one.usage == other.usage
            assert sum(n * gap for n, gap in one.gaps) == sum(n * gap for n, gap in other.gaps)
            assert sum(n for n, _ in one.gaps) == one.usage.output_tokens - 1


@given(calls(), profiles)
@settings(max_examples=60, deadline=None)
def test_every_request_ends_once_or_is_aborted_and_notices_stand_in_order_of_time(
    script: list[Call], profile: EngineProfile
) -> None:
    notices, _, engine = play(profile, script, jump=True)

    aborted = {call.request.id for call in script if call.verb == "abort"}
    starts = [one.id for one in notices if isinstance(one, Started)]
    ends = [one.id for one in notices if isinstance(one, Ended)]
    all_ids = {call.request.id for call in script}
    assert len(starts) == len(set(starts))
    assert len(ends) == len(set(ends))
    assert all_ids - aborted <= set(ends) <= set(starts)
    assert [one.at for one in notices] == sorted(one.at for one in notices)
    rest = engine.sample(1e9)
    assert (rest.running, rest.waiting, rest.kv_cache_usage) == (0, 0, 0.0)


@given(calls(), profiles)
@settings(max_examples=60, deadline=None)
def test_tokens_are_conserved(script: list[Call], profile: EngineProfile) -> None:
    script = [call for call in script if call.verb != "abort"]
    notices, _, engine = play(profile, script, jump=True)

    usages = [one.usage for one in notices if isinstance(one, Ended)]
    totals = engine.totals
    assert totals.output_tokens == sum(usage.output_tokens for usage in usages)
    assert totals.prompt_tokens == sum(usage.prompt_tokens for usage in usages)
    assert totals.prompt_tokens_cached == sum(usage.cached_tokens or 0 for usage in usages)
    if not totals.preemptions:
        assert totals.tokens_wasted == 0
        assert totals.tokens_computed == totals.prompt_tokens - totals.prompt_tokens_cached
    for call in script:
        if call.verb == "submit":
            end = next(
                one for one in notices if isinstance(one, Ended) and one.id == call.request.id
            )
            assert end.usage.prompt_tokens == call.request.prompt_tokens
            assert end.usage.output_tokens == call.request.output_tokens


@given(calls(), profiles)
@settings(max_examples=60, deadline=None)
def test_the_cache_serves_only_what_was_computed_before_and_never_a_whole_prompt(
    script: list[Call], profile: EngineProfile
) -> None:
    notices, _, _ = play(profile, script, jump=True)

    handed_in: list[tuple[float, SimRequest]] = [
        (call.at, call.request) for call in script if call.verb == "submit"
    ]
    by_id = {one.id: (at, one) for at, one in handed_in}
    for notice in notices:
        if isinstance(notice, Started) and notice.cached_tokens:
            _, mine = by_id[notice.id]
            best = max(
                (_shared(mine, other) for at, other in handed_in
                 if other.id != mine.id and at < notice.at),
                default=0,
            )  # fmt: skip
            own = mine.prompt_tokens  # its own blocks may serve it again after a preemption
            assert notice.cached_tokens <= min(best, own - 1)


def _shared(one: SimRequest, other: SimRequest) -> int:
    """Count the tokens that two requests begin with alike, outputs that extend included."""
    total = 0
    for place, (mine, its) in enumerate(zip(one.segments, other.segments, strict=False)):
        if mine.key != its.key:
            return total
        is_last = place == len(other.segments) - 1
        length = its.tokens + (other.output_tokens if other.extends and is_last else 0)
        total += min(mine.tokens, length)
        if mine.tokens != its.tokens:
            return total
    return total


def test_looking_at_it_does_not_disturb_a_jump() -> None:
    quiet = EngineModel(SMALL)
    looked_at = EngineModel(SMALL)
    for engine in (quiet, looked_at):
        engine.submit(0.0, request("one", prompt=7, output=40))
    for tick in range(1, 60):
        looked_at.tokens_of(tick * 0.011, RequestId("one"))

    assert run_out(looked_at)[-1].at == pytest.approx(run_out(quiet)[-1].at)
