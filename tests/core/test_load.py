"""Predictions stay inside what can be, follow what is, and remember within bounds."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.load import GROUPS_KEPT, Load, LoadPredictor
from stoker.core.work import Priority, Request, RequestId, Usage


def request(**fields: object) -> Request:
    return Request(
        **{"id": RequestId("r"), "priority": Priority.P2, "prompt_bytes": 4000, **fields}
    )


def taught(*lengths: int, **fields: object) -> LoadPredictor:
    predictor = LoadPredictor()
    for length in lengths:
        predictor.observe(request(**fields), Usage(1000, length), is_truncated=False)
    return predictor


def in_flight(one: Request, tokens_seen: int) -> tuple[Request, Load, int]:
    return one, LoadPredictor().estimate(one), tokens_seen


requests = st.builds(
    Request,
    id=st.just(RequestId("r")),
    priority=st.sampled_from(Priority),
    prompt_bytes=st.integers(0, 10**7),
    prompt_tokens=st.none() | st.integers(0, 10**6),
    max_tokens=st.none() | st.integers(0, 10**5),
    family=st.sampled_from(["", "a", "b"]),
    tenant=st.sampled_from(["", "t"]),
    resumed_tokens=st.just(0) | st.integers(0, 10**4),
)
lessons = st.lists(
    st.tuples(
        requests, st.integers(0, 10**5), st.sampled_from(["end", "cut", "stopped", "running"])
    ),
    max_size=30,
)


@given(lessons, requests, st.integers(0, 10**5))
def test_predictions_stay_inside_what_can_be(
    learned: list[tuple[Request, int, str]], asked: Request, seen: int
) -> None:
    predictor = LoadPredictor()
    for one, tokens, how in learned:
        match how:
            case "stopped":
                predictor.observe_censored(one, tokens)
            case "running":
                predictor.note_in_flight([in_flight(one, tokens)])
            case _:
                usage = Usage(one.prompt_tokens or tokens, tokens)
                predictor.observe(one, usage, is_truncated=how == "cut")

    load = predictor.estimate(asked)
    mean, variance = predictor.remaining(asked, load, seen)

    most = math.inf if asked.max_tokens is None else max(0, asked.max_tokens - asked.resumed_tokens)
    left = max(0.0, most - seen)
    assert 0.0 <= load.output_tokens <= most
    assert load.prompt_tokens >= asked.resumed_tokens
    assert min(0.1 * (seen + asked.resumed_tokens) + 6, left) <= mean <= left
    assert 0.0 <= variance < math.inf
    assert 0.0 <= load.output_variance < math.inf
    assert load.total_tokens == load.prompt_tokens + load.output_tokens


@pytest.mark.parametrize(
    ("max_tokens", "expected"), [(None, 256), (100, 100), (900, 256), (4000, 1000)]
)
def test_nothing_known_means_256_tokens_or_what_the_bound_suggests(
    max_tokens: int | None, expected: int
) -> None:
    load = LoadPredictor().estimate(request(max_tokens=max_tokens))

    assert load.output_tokens == expected
    assert load.prompt_tokens == 1000
    assert not load.is_prompt_exact


def test_a_tokenizers_count_is_taken_as_it_is() -> None:
    load = LoadPredictor().estimate(request(prompt_tokens=777))

    assert (load.prompt_tokens, load.is_prompt_exact) == (777, True)


def test_a_family_is_told_from_its_class_and_a_new_one_starts_from_the_class() -> None:
    predictor = taught(*[40] * 100, family="short")
    for _ in range(100):
        predictor.observe(request(family="long"), Usage(1000, 1000), is_truncated=False)

    short, long, unseen = (
        predictor.estimate(request(family=family)).output_tokens
        for family in ("short", "long", "unseen")
    )

    assert short == pytest.approx(40, abs=40)
    assert long == pytest.approx(1000, rel=0.05)
    assert short < unseen < long


def test_prompt_sizes_of_one_family_are_told_apart() -> None:
    predictor = LoadPredictor()
    for _ in range(100):
        predictor.observe(request(prompt_bytes=400), Usage(100, 20), is_truncated=False)
        predictor.observe(request(prompt_bytes=90_000), Usage(22_000, 900), is_truncated=False)

    small, large = (
        predictor.estimate(request(prompt_bytes=size)).output_tokens for size in (400, 90_000)
    )

    assert small < 120
    assert large > 800


def test_remaining_grows_with_what_has_been_seen_of_a_heavy_tail() -> None:
    draw = random.Random(4)
    predictor = taught(*(round(draw.lognormvariate(5, 1.2)) for _ in range(400)))
    asked = request()
    load = predictor.estimate(asked)

    early, late = (predictor.remaining(asked, load, seen)[0] for seen in (0, 1000))

    assert early == load.output_tokens
    assert late > 1.5 * early


def test_short_families_predict_little_for_a_request_near_its_usual_end() -> None:
    predictor = taught(*[100] * 200, family="fixed")
    asked = request(family="fixed")

    mean, _ = predictor.remaining(asked, predictor.estimate(asked), 90)

    assert mean == pytest.approx(0.1 * 90 + 6, abs=5)


def test_mean_follows_a_tripled_length_within_400_observations() -> None:
    draw = random.Random(6)
    predictor = taught(*(round(draw.expovariate(1 / 200)) for _ in range(600)))
    assert predictor.estimate(request()).output_tokens == pytest.approx(200, rel=0.15)

    for _ in range(400):
        usage = Usage(1000, round(draw.expovariate(1 / 600)))
        predictor.observe(request(), usage, is_truncated=False)

    assert predictor.estimate(request()).output_tokens == pytest.approx(600, rel=0.25)


def test_running_requests_keep_a_fresh_start_from_looking_short() -> None:
    draw = random.Random(8)
    lengths = [round(draw.expovariate(1 / 800)) for _ in range(200)]
    predictor = taught(*(length for length in lengths if length <= 200))
    naive = predictor.estimate(request()).output_tokens

    predictor.note_in_flight(in_flight(request(), 200) for length in lengths if length > 200)

    assert naive < 200
    assert predictor.estimate(request()).output_tokens > 2.5 * naive


def test_noted_running_requests_are_replaced_by_the_next_note() -> None:
    predictor = taught(*[50] * 100)
    predictor.note_in_flight([in_flight(request(), 1)] * 50)
    predictor.note_in_flight([])
    before = predictor.estimate(request())
    predictor.note_in_flight([in_flight(request(), 900)] * 50)
    assert predictor.estimate(request()) != before

    predictor.note_in_flight([])

    assert predictor.estimate(request()) == before


def test_a_few_running_requests_do_not_disturb_a_curve_that_rests_on_hundreds() -> None:
    predictor = taught(*[50] * 400)
    before = predictor.estimate(request())

    predictor.note_in_flight([in_flight(request(), 900)] * 20)

    assert predictor.estimate(request()) == before


def test_answers_cut_off_at_max_tokens_do_not_pass_for_short_ones() -> None:
    predictor = LoadPredictor()
    for _ in range(100):
        predictor.observe(request(max_tokens=128), Usage(1000, 128), is_truncated=True)

    assert predictor.estimate(request(max_tokens=128)).output_tokens == pytest.approx(128)
    assert predictor.estimate(request()).output_tokens >= 256


def test_a_continued_request_is_predicted_from_where_it_stopped() -> None:
    predictor = taught(*[500] * 200)
    asked = request(resumed_tokens=300, prompt_tokens=1000, max_tokens=2000)

    load = predictor.estimate(asked)

    assert load.prompt_tokens == 1300
    assert load.output_tokens == pytest.approx(200, rel=0.15)
    assert predictor.remaining(asked, load, 0)[0] == pytest.approx(load.output_tokens)


def test_a_continued_request_teaches_its_whole_length() -> None:
    predictor = LoadPredictor()
    for _ in range(200):
        predictor.observe_censored(request(), 300)
        continued = request(resumed_tokens=300)
        predictor.observe(continued, Usage(1300, 200), is_truncated=False)

    assert predictor.estimate(request()).output_tokens == pytest.approx(500, rel=0.05)
    assert predictor.snapshot().bytes_per_token == 4.0  # its prompt held output: no lesson


def test_requests_without_output_are_learned_as_such() -> None:
    predictor = taught(*[0] * 300, family="embed")

    assert predictor.estimate(request(family="embed")).output_tokens < 3


def test_bytes_per_token_are_learned_per_family_and_one_picture_does_not_spoil_them() -> None:
    predictor = LoadPredictor()
    for _ in range(100):
        predictor.observe(request(family="code"), Usage(1600, 9), is_truncated=False)
        predictor.observe(request(family="prose"), Usage(800, 9), is_truncated=False)
    predictor.observe(
        request(family="prose", prompt_bytes=2_000_000), Usage(1000, 9), is_truncated=False
    )

    code, prose = (
        predictor.estimate(request(family=family)).prompt_tokens for family in ("code", "prose")
    )

    assert code == pytest.approx(1600, rel=0.1)
    assert prose == pytest.approx(800, rel=0.15)


def test_groups_are_bounded_and_the_one_taught_longest_ago_is_forgotten() -> None:
    predictor = LoadPredictor(groups_max=8)
    for number in range(50):
        predictor.observe(request(family="kept"), Usage(1000, 10), is_truncated=False)
        predictor.observe(request(family=str(number)), Usage(1000, 10), is_truncated=False)

    families = [stats.family for stats in predictor.snapshot(families_max=100).families]

    assert len(families) == 8
    assert families[0] == "kept"
    assert set(families[1:]) == {str(number) for number in range(43, 50)}


def test_snapshot_shows_what_was_learned_and_how_wrong_it_was() -> None:
    predictor = taught(*[50] * 300, tenant="t", family="f")

    snapshot = predictor.snapshot()
    [family] = snapshot.families

    assert (family.tenant, family.family) == ("t", "f")
    assert family.mean_output_tokens == pytest.approx(50)
    assert family.observations == pytest.approx(snapshot.observations)
    assert family.bytes_per_token == pytest.approx(4.0)
    assert 0.0 < snapshot.output_error < 0.2
    assert snapshot.prompt_error == pytest.approx(0.0, abs=0.01)


def test_same_lessons_give_the_same_predictions() -> None:
    lengths = [round(random.Random(9).expovariate(1 / 100)) for _ in range(100)]

    assert taught(*lengths).estimate(request()) == taught(*lengths).estimate(request())


def test_load_without_a_group_is_served_all_the_same() -> None:
    predictor = taught(*[100] * 50)
    bare = Load(1000, 100.0, 0.0, is_prompt_exact=True)

    assert predictor.remaining(request(), bare, 10) == predictor.remaining(
        request(), predictor.estimate(request()), 10
    )


@given(st.lists(st.tuples(requests, st.integers(0, 9_000), st.booleans()), max_size=40))
def test_what_was_learned_is_the_same_in_the_next_life(
    learned: list[tuple[Request, int, bool]],
) -> None:
    predictor, next_life, third_life = LoadPredictor(), LoadPredictor(), LoadPredictor()
    for one, tokens, is_cut in learned:
        predictor.observe(one, Usage(one.prompt_tokens or 700, tokens), is_truncated=is_cut)

    next_life.restore(predictor.state())
    third_life.restore(next_life.state())

    counted = predictor.snapshot().observations
    assert next_life.snapshot().observations == pytest.approx(counted, abs=0.01)
    for one, _, _ in learned:
        before, again = predictor.estimate(one), next_life.estimate(one)
        at_last = third_life.estimate(one)
        assert again.prompt_tokens == pytest.approx(before.prompt_tokens, abs=1)
        assert at_last.output_tokens == pytest.approx(again.output_tokens, rel=0.01, abs=0.1)


def test_an_earlier_life_is_outvoted_by_a_hundred_new_answers() -> None:
    old, predictor = taught(*[50] * 1_000), LoadPredictor()
    predictor.restore(old.state())
    warm = predictor.estimate(request()).output_tokens

    for _ in range(200):
        predictor.observe(request(), Usage(100, 800), is_truncated=False)

    assert warm == pytest.approx(50.0, rel=0.2)
    assert predictor.snapshot().observations < 300.0
    assert predictor.estimate(request()).output_tokens > 500.0


def test_of_many_families_those_that_know_most_are_kept() -> None:
    predictor = LoadPredictor()
    for number in range(3 * GROUPS_KEPT):
        for _ in range(1 + number % 3):
            one = replace(request(), family=f"family-{number}")
            predictor.observe(one, Usage(100, number), is_truncated=False)

    state = predictor.state()

    kept = {key[2] for key, _ in state if key[0] == "family"}
    assert kept == {f"family-{number}" for number in range(3 * GROUPS_KEPT) if number % 3 == 2}
    assert len(state) == 1 + len(Priority) + 2 * GROUPS_KEPT
