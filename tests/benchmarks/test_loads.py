"""The load that the real evaluation draws: lengths, moments and prompts."""

from __future__ import annotations

import random
import statistics

import pytest

from benchmarks.real.loads import Lengths, Prompts, bursts, joined, poisson, steady


def test_answer_lengths_have_the_mean_that_was_asked_for() -> None:
    chance, lengths = random.Random(1), Lengths(mean=400, sigma=0.7)

    drawn = [lengths.draw(chance) for _ in range(20_000)]

    assert statistics.fmean(drawn) == pytest.approx(400, rel=0.03)
    assert min(drawn) >= 1
    assert max(drawn) <= 2_400


def test_a_sigma_of_nothing_is_a_constant_length() -> None:
    assert {Lengths(100).draw(random.Random(seed)) for seed in range(9)} == {100}


def test_the_first_wave_has_what_a_running_box_has_left() -> None:
    """Renewal theory: the mean residual is E[L²] / 2E[L], here 400 · exp(0.49) / 2."""
    chance, lengths = random.Random(2), Lengths(mean=400, sigma=0.7)

    drawn = [lengths.residual(chance) for _ in range(20_000)]

    assert statistics.fmean(drawn) == pytest.approx(400 * 1.632 / 2, rel=0.04)


def test_poisson_arrivals_come_at_their_rate_in_order_and_inside() -> None:
    moments = poisson(random.Random(3), 2.0, 10.0, 2_010.0)

    assert len(moments) == pytest.approx(4_000, rel=0.05)
    assert moments == sorted(moments)
    assert moments[0] > 10.0
    assert moments[-1] < 2_010.0


def test_bursts_ask_only_after_the_typing_and_keep_one_third_duty() -> None:
    visits = bursts(4, 5.0, 90.0, on_s=10.0, off_s=20.0, lead_s=1.5)

    assert [(visit.began_at, visit.ended_at) for visit in visits] == [
        (0.0, 10.0),
        (30.0, 40.0),
        (60.0, 70.0),
    ]
    for visit in visits:
        assert visit.asks_at
        assert all(visit.began_at + 1.5 < at < visit.ended_at for at in visit.asks_at)


def test_all_arms_of_a_round_are_asked_at_the_same_moments() -> None:
    assert steady(5, 0.5, 60.0) == steady(5, 0.5, 60.0)
    assert steady(5, 0.5, 60.0) != steady(6, 0.5, 60.0)


def test_no_two_fresh_prompts_are_alike() -> None:
    for prompts in (Prompts(is_text=False), Prompts(is_text=True)):
        assert prompts.fresh(50) != prompts.fresh(50)


def test_a_text_prompt_has_the_tokens_that_its_words_make() -> None:
    prompts = Prompts(is_text=True, tokens_per_word=1.25)

    text = prompts.draw(random.Random(7), 100)

    assert isinstance(text, str)
    assert len(text.split()) == 80


def test_a_conversation_grows_by_what_is_joined_to_it() -> None:
    assert joined(" one", " two") == " one two"
    assert joined([1, 2], [3]) == [1, 2, 3]
    with pytest.raises(TypeError):
        joined(" one", [2])
