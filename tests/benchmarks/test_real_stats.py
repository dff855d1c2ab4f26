"""What the real evaluation makes of times, counters and event streams."""

from __future__ import annotations

import pytest

from benchmarks.real.calls import Answered, Ask, Latencies, note_line
from benchmarks.real.stats import (
    Window,
    counter_at,
    growth_per_s,
    percentile,
    rates,
    share_within,
    time_to,
    variation,
)

STEADY = [(float(at), 100.0 * at) for at in range(61)]
RAMP = [(float(at), 0.0 if at < 20 else 100.0 * (at - 20)) for at in range(61)]
"""Nothing for 20 seconds, then 100 a second."""


def test_a_percentile_lies_between_its_neighbours() -> None:
    assert percentile([4, 1, 3, 2], 0.5) == 2.5
    assert percentile([7], 0.99) == 7
    assert percentile([], 0.5) is None


def test_the_share_within_a_target_counts_the_target_itself() -> None:
    assert share_within([0.01, 0.05, 0.06, 0.09], 0.05) == 0.5
    assert share_within([], 0.05) is None


def test_a_counter_is_read_between_its_samples_and_never_beyond_them() -> None:
    series = [(1.0, 10.0), (3.0, 30.0)]

    assert counter_at(series, 2.0) == 20.0
    assert counter_at(series, 0.0) == 10.0
    assert counter_at(series, 9.0) == 30.0
    assert counter_at([], 1.0) is None


def test_growth_is_that_of_the_window_alone() -> None:
    assert growth_per_s(RAMP, Window(30.0, 40.0)) == pytest.approx(100.0)
    assert growth_per_s(RAMP, Window(10.0, 30.0)) == pytest.approx(50.0)
    assert growth_per_s([], Window(0.0, 1.0)) is None


def test_only_whole_bins_count() -> None:
    assert rates(STEADY, Window(5.0, 34.0), 10.0) == pytest.approx([100.0, 100.0])


def test_a_steady_counter_does_not_vary_and_a_jumping_one_does() -> None:
    assert variation(rates(STEADY, Window(0.0, 60.0), 10.0)) == pytest.approx(0.0)
    assert variation([50.0, 150.0]) == pytest.approx(0.707, abs=0.001)
    assert variation([100.0]) is None
    assert variation([0.0, 0.0]) is None


def test_the_time_to_a_goal_is_the_end_of_the_first_seconds_that_reach_it() -> None:
    whole = Window(0.0, 60.0)

    assert time_to(STEADY, whole, 90.0, over_s=10.0) == 10.0
    assert time_to(RAMP, whole, 90.0, over_s=10.0) == 29.0
    assert time_to(RAMP, whole, 101.0, over_s=10.0) is None


def test_a_streams_pieces_usage_and_errors_are_understood() -> None:
    answered = Answered(sent_at=1.0)

    note_line(b'data: {"choices":[{"text":" a","token_ids":[11]}]}\n', 1.5, answered)
    note_line(b"\n", 1.6, answered)
    note_line(b'data: {"choices":[{"text":"","finish_reason":null}]}\n', 1.7, answered)
    note_line(b'data: {"choices":[{"text":"","finish_reason":"length"}]}\n', 1.8, answered)
    usage = b'{"prompt_tokens":9,"completion_tokens":2}'
    note_line(b'data: {"choices":[],"usage":' + usage + b"}\n", 1.9, answered)
    note_line(b"data: [DONE]\n", 2.0, answered)

    assert answered.token_at == [1.5, 1.7]
    assert (answered.prompt_tokens, answered.output_tokens) == (9, 2)
    assert (answered.text, answered.ids) == (" a", [11])
    assert answered.ttft_s == 0.5
    assert answered.error is None

    note_line(b'data: {"error":{"message":"gone"}}\n', 2.1, answered)

    assert answered.error == '{"message":"gone"}'


def test_an_answer_is_appended_as_it_was_asked() -> None:
    answered = Answered(sent_at=0.0, text=" b", ids=[2])

    assert answered.continued([1]) == [1, 2]
    assert answered.continued(" a") == " a b"


def test_an_answer_has_exactly_the_tokens_that_were_asked_for() -> None:
    body = Ask([1, 2], 30, {"priority": 10}).body("m", is_streamed=True)

    assert body["max_tokens"] == 30
    assert body["ignore_eos"] is True
    assert body["priority"] == 10
    assert body["return_token_ids"] is True
    assert "return_token_ids" not in Ask(" a", 30).body("m", is_streamed=True)
    assert "stream" not in Ask(" a", 30).body("m", is_streamed=False)


def test_events_count_where_they_happened() -> None:
    """One call began before the window, one is whole inside it, one is still running."""
    early = Answered(0.0, token_at=[5.0, 11.0, 12.0], ended_at=12.0, output_tokens=3)
    whole = Answered(10.0, token_at=[10.5, 11.0, 11.5], ended_at=12.0, output_tokens=3)
    running = Answered(18.0, token_at=[19.0, 21.0])
    failed = Answered(11.0, error="503")

    felt = Latencies.of([early, whole, running, failed], Window(10.0, 20.0))

    assert felt.ttft_s == [0.5, 1.0]
    assert felt.itl_s == [6.0, 1.0, 0.5, 0.5]
    assert felt.e2e_s == [12.0, 2.0]
    assert felt.tpot_s == [3.5, 0.5]
    assert (felt.finished, felt.finished_tokens, felt.tokens, felt.errors) == (2, 6, 6, 1)
