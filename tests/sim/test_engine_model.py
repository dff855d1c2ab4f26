"""What the engine model promises: vLLM's order of service, and its arithmetic."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stoker.core.limits import Capacity
from stoker.core.work import RequestId, Usage
from stoker.sim.engine_model import EngineModel
from stoker.sim.host_model import GIB, HostModel
from stoker.sim.profiles import EngineProfile
from stoker.sim.work import Started
from tests.sim.boxes import SMALL, UNHURRIED, ended, request, run_out, started


def test_a_lone_request_takes_its_prefill_and_then_a_step_per_token() -> None:
    profile = replace(UNHURRIED, context_token_s=0.0)
    engine = EngineModel(profile, watch=lambda _: True)
    engine.submit(1.0, request("one", prompt=32, output=9))

    notices = run_out(engine)

    first = 1.0 + profile.step_base_s + 32 * profile.prefill_token_s
    step = profile.step_base_s + profile.step_slope_s
    assert started(notices)["one"].at == first
    end = ended(notices)["one"]
    assert (end.at, end.usage) == (first + 8 * step, Usage(32, 9, 0))
    assert end.gaps == [(8, step)]


def test_a_long_prompt_is_read_in_chunks_of_a_steps_budget() -> None:
    engine = EngineModel(SMALL)
    engine.submit(0.0, request("long", prompt=40, output=1))

    notices = run_out(engine)

    assert engine.totals.busy_s == 3 * SMALL.step_base_s + 40 * SMALL.prefill_token_s
    assert notices[-1].at == engine.totals.busy_s


def test_a_capped_long_prefill_leaves_the_rest_of_the_step_to_others() -> None:
    profile = replace(SMALL, long_prefill_tokens=4)
    engine = EngineModel(profile)
    engine.submit(0.0, request("long", prompt=40, output=1))
    engine.submit(0.0, request("short", prompt=4, output=1))

    notices = run_out(engine)

    assert notices[0].id == "short"


def test_decoding_goes_on_while_a_prompt_is_read_only_slower() -> None:
    engine = EngineModel(UNHURRIED, watch=lambda _: True)
    engine.submit(0.0, request("talker", prompt=4, output=20))
    engine.advance(0.1)
    engine.submit(0.1, request("reader", prompt=128, output=1))

    gaps = ended(run_out(engine))["talker"].gaps

    assert sum(tokens for tokens, _ in gaps) == 19
    slow = [tokens for tokens, gap in gaps if gap > 128 * UNHURRIED.prefill_token_s]
    assert slow == [1]


def test_the_waiting_come_in_by_priority_then_by_arrival() -> None:
    engine = EngineModel(replace(SMALL, requests=1))
    for name, priority in [("runs", 2), ("late", 2), ("first", 0), ("second", 0)]:
        engine.submit(0.0, request(name), engine_priority=priority)

    order = [notice.id for notice in run_out(engine) if isinstance(notice, Started)]

    assert order == ["first", "second", "runs", "late"]


def test_without_a_priority_policy_they_come_in_as_they_came() -> None:
    engine = EngineModel(replace(SMALL, requests=1, has_priority=False))
    for name, priority in [("one", 2), ("two", 1), ("three", 0)]:
        engine.submit(0.0, request(name), engine_priority=priority)

    order = [notice.id for notice in run_out(engine) if isinstance(notice, Started)]

    assert order == ["one", "two", "three"]


def test_a_waiting_request_of_high_priority_never_displaces_a_running_one() -> None:
    engine = EngineModel(replace(SMALL, requests=1))
    engine.submit(0.0, request("runs", output=20), engine_priority=2)
    engine.advance(0.1)
    engine.submit(0.1, request("urgent"), engine_priority=0)

    notices = run_out(engine)

    assert started(notices)["urgent"].at > ended(notices)["runs"].at


def test_the_head_waits_until_its_whole_prompt_fits_and_holds_up_those_behind_it() -> None:
    engine = EngineModel(SMALL)
    engine.submit(0.0, request("runs", prompt=40, output=10))
    engine.submit(0.0, request("large", prompt=60, output=1))
    engine.submit(0.0, request("small", prompt=4, output=1))

    notices = run_out(engine)

    assert started(notices)["large"].at > ended(notices)["runs"].at
    assert started(notices)["small"].at >= started(notices)["large"].at


def test_when_blocks_run_out_the_lowest_priority_is_recomputed_and_nobody_loses_tokens() -> None:
    engine = EngineModel(SMALL)  # 20 blocks of 4
    engine.submit(0.0, request("low", prompt=16, output=40), engine_priority=2)
    engine.submit(0.0, request("high", prompt=16, output=40), engine_priority=0)

    notices = run_out(engine)

    assert engine.totals.preemptions >= 1
    assert ended(notices)["high"].at < ended(notices)["low"].at
    assert {end.usage.output_tokens for end in ended(notices).values()} == {40}
    assert len([notice for notice in notices if isinstance(notice, Started)]) == 2


def test_what_a_preemption_lost_is_counted_as_wasted() -> None:
    engine = EngineModel(replace(SMALL, has_prefix_cache=False))
    engine.submit(0.0, request("low", prompt=16, output=40), engine_priority=2)
    engine.submit(0.0, request("high", prompt=16, output=40), engine_priority=0)
    run_out(engine)

    totals = engine.totals

    assert totals.tokens_wasted >= 16
    # Every resume also reads the newest token, whose KV was not there yet.
    assert totals.tokens_computed == 32 + totals.tokens_wasted + totals.preemptions


def test_an_equal_prefix_is_served_from_the_cache_in_whole_blocks() -> None:
    engine = EngineModel(UNHURRIED)
    engine.submit(0.0, request("one", ("system", 30), ("a", 10)))
    run_out(engine)
    engine.submit(1.0, request("two", ("system", 30), ("b", 10)))

    notices = run_out(engine)

    assert started(notices)["two"].cached_tokens == 28


def test_an_equal_prompt_still_computes_its_last_token() -> None:
    engine = EngineModel(UNHURRIED)
    engine.submit(0.0, request("one", ("same", 32)))
    run_out(engine)
    engine.submit(1.0, request("two", ("same", 32)))

    notices = run_out(engine)

    assert started(notices)["two"].cached_tokens == 28


def test_an_agents_next_turn_finds_its_own_answer_in_the_cache() -> None:
    engine = EngineModel(UNHURRIED)
    engine.submit(0.0, request("turn 1", ("agent", 32), output=17, extends=True))
    run_out(engine)
    engine.submit(1.0, request("turn 2", ("agent", 60), output=4))

    notices = run_out(engine)

    assert started(notices)["turn 2"].cached_tokens == 48  # all but the newest token


def test_a_key_means_nothing_behind_another_beginning() -> None:
    engine = EngineModel(UNHURRIED)
    engine.submit(0.0, request("one", ("system", 16), ("text", 16)))
    run_out(engine)
    engine.submit(1.0, request("two", ("another", 16), ("text", 16)))

    notices = run_out(engine)

    assert started(notices)["two"].cached_tokens == 0


@pytest.mark.parametrize(("name", "cached_tokens"), [("old", 24), ("young", 28)])
def test_a_full_cache_forgets_the_longest_unused_first_and_tails_before_heads(
    name: str, cached_tokens: int
) -> None:
    engine = EngineModel(SMALL)  # 20 blocks of 4
    for at, owner in enumerate(["old", "young"]):
        engine.submit(float(at), request(owner, (owner, 32), output=1))
        run_out(engine)
    engine.submit(2.0, request("large", prompt=24, output=1))
    run_out(engine)

    engine.submit(3.0, request("asks again", (name, 32), output=1))

    assert started(run_out(engine))["asks again"].cached_tokens == cached_tokens


def test_hanging_up_frees_the_place_with_the_step_and_tells_the_tokens_so_far() -> None:
    engine = EngineModel(replace(SMALL, requests=1, context_token_s=0.0))
    engine.submit(0.0, request("gone", prompt=8, output=40))
    engine.submit(0.0, request("next", prompt=8, output=1))
    step = SMALL.step_base_s + SMALL.step_slope_s
    first = SMALL.step_base_s + 8 * SMALL.prefill_token_s

    shown = engine.abort(first + 3.5 * step, RequestId("gone"))
    notices = run_out(engine)

    assert shown == 4
    assert "gone" not in ended(notices)
    assert started(notices)["next"].at == first + 4 * step + first


def test_an_engine_that_notices_a_hang_up_late_keeps_the_place_that_long() -> None:
    engine = EngineModel(replace(SMALL, requests=1, abort_delay_s=0.5))
    engine.submit(0.0, request("gone", prompt=8, output=60))
    engine.submit(0.0, request("next", prompt=8, output=1))
    engine.abort(0.1, RequestId("gone"))

    notices = run_out(engine)

    assert 0.6 < started(notices)["next"].at < 0.7


def test_a_resumed_request_finds_what_it_had_computed() -> None:
    engine = EngineModel(UNHURRIED)
    engine.submit(0.0, request("job", ("text", 64), output=60, extends=True))
    shown = engine.abort(0.7, RequestId("job"))

    engine.submit(1.0, request("again", ("text", 64 + shown), output=60 - shown))
    notices = run_out(engine)

    assert shown > 8
    assert started(notices)["again"].cached_tokens >= 64 + shown - 2 * UNHURRIED.block_tokens


def test_progress_can_be_looked_at_in_the_middle_of_a_jump() -> None:
    engine = EngineModel(replace(SMALL, context_token_s=0.0))
    engine.submit(0.0, request("one", prompt=8, output=40))
    first = SMALL.step_base_s + 8 * SMALL.prefill_token_s
    step = SMALL.step_base_s + SMALL.step_slope_s

    seen = [engine.tokens_of(first + wait * step, RequestId("one")) for wait in (-0.1, 0, 2.5, 9)]
    sample = engine.sample(first + 9.5 * step)

    assert seen == [0, 1, 3, 10]
    assert (sample.running, sample.waiting, sample.output_tokens_total) == (1, 0, 10.0)
    assert sample.kv_cache_usage == 5 / 20  # 8 + 10 tokens in blocks of 4


def test_steps_planned_ahead_make_a_newcomer_wait_one_step_more() -> None:
    profile = replace(UNHURRIED, context_token_s=0.0)
    first_tokens = []
    for ahead in (0, 1):
        engine = EngineModel(replace(profile, steps_ahead=ahead))
        engine.submit(0.0, request("runs", prompt=8, output=40))
        engine.submit(0.1, request("comes", prompt=8, output=1))
        first_tokens.append(started(run_out(engine))["comes"].at)

    assert first_tokens[1] - first_tokens[0] == profile.step_base_s + profile.step_slope_s


def test_the_front_takes_its_time_before_the_engine_sees_a_request() -> None:
    engine = EngineModel(replace(UNHURRIED, front_s=0.25))
    engine.submit(0.0, request("one", prompt=8, output=1))

    at = started(run_out(engine))["one"].at

    assert at == 0.25 + UNHURRIED.step_base_s + 8 * UNHURRIED.prefill_token_s


def test_a_prompt_that_can_never_fit_is_refused_and_an_output_that_cannot_ends_early() -> None:
    engine = EngineModel(SMALL)
    with pytest.raises(ValueError, match="too long"):
        engine.submit(0.0, request("large", prompt=80))
    engine.submit(0.0, request("long", prompt=60, output=1000))

    assert ended(run_out(engine))["long"].usage.output_tokens == 20


def test_it_says_what_it_can_hold() -> None:
    assert EngineModel(SMALL).capacity == Capacity(
        requests=4, kv_tokens=80, context_tokens=None, prefill_tokens_per_step=16
    )


def test_batches_are_padded_to_the_next_captured_graph() -> None:
    profile = replace(SMALL, capture_sizes=(1, 2, 4), prefill_step_s=1.0)

    assert profile.decode_step_s(3, 0) == profile.decode_step_s(4, 0)
    assert profile.decode_step_s(5, 0) > profile.decode_step_s(4, 0)
    assert profile.mixed_step_s(1, 0, 3) < 1.0 < profile.mixed_step_s(1, 0, 4)


def test_a_mixture_of_experts_is_read_whole_for_a_prefill_and_in_part_for_a_few_tokens() -> None:
    dense = replace(SMALL, context_token_s=0.0)
    experts = replace(dense, experts_s=0.5, expert_share=0.25)

    one, two = (experts.decode_step_s(n, 0) - dense.decode_step_s(n, 0) for n in (1, 2))
    with_prompt = experts.mixed_step_s(1, 0, 200) - dense.mixed_step_s(1, 0, 200)
    assert (one, two) == (0.125, 0.21875)
    assert with_prompt == pytest.approx(0.5)


def test_a_profile_that_vllm_could_not_run_is_refused() -> None:
    with pytest.raises(ValueError, match="more requests than tokens"):
        replace(SMALL, requests=17)
    with pytest.raises(ValueError, match="no block"):
        EngineProfile("none", 0.1, 0.0, 1.0, 0.0, 0.0, kv_tokens=3, block_tokens=16)


def box(*cotenant: tuple[float, int], kv_token_bytes: int = 0) -> HostModel:
    return HostModel(16 * GIB, 8 * GIB, cotenant, kv_token_bytes=kv_token_bytes)


def test_a_host_that_swaps_slows_every_step() -> None:
    calm, swapping = EngineModel(SMALL), EngineModel(SMALL, host=box((0.0, 8 * GIB)))
    for engine in (calm, swapping):
        engine.submit(0.0, request("one"))

    assert run_out(swapping)[-1].at == 10 * run_out(calm)[-1].at


def test_a_host_with_nothing_left_freezes_the_engine_until_memory_returns() -> None:
    engine = EngineModel(SMALL, host=box((0.1, 9 * GIB), (5.0, 9 * GIB), (20.0, 0)))
    engine.submit(0.0, request("one", output=20))

    notices = run_out(engine)

    assert engine.totals.freezes == 1
    assert 19.8 < engine.totals.frozen_s < 19.95
    assert 20.0 < ended(notices)["one"].at < 20.5


def test_a_host_that_never_recovers_leaves_the_engine_standing() -> None:
    engine = EngineModel(SMALL, host=box((0.1, 9 * GIB)))
    engine.submit(0.0, request("one", output=20))

    notices = run_out(engine)

    assert "one" not in ended(notices)
    assert engine.sample(100.0).running == 1


def test_an_engine_that_maps_its_kv_cache_as_it_fills_drains_the_host() -> None:
    engine = EngineModel(UNHURRIED, host=box((0.0, 4 * GIB), kv_token_bytes=GIB // 40))
    engine.submit(0.0, request("one", prompt=8, output=100))

    ends_at = ended(run_out(engine))["one"].at

    calm = EngineModel(UNHURRIED)
    calm.submit(0.0, request("one", prompt=8, output=100))
    assert ends_at > 1.5 * run_out(calm)[-1].at
