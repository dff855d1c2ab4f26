"""The KV peak against a step-by-step simulation, and the honesty of its margin."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.envelope import Envelope, InFlight, PeakForecast, kv_peak
from stoker.core.ledger import Ledger, Running
from stoker.core.load import Load, LoadPredictor
from stoker.core.work import Priority, Request, RequestId, Usage

exact = st.builds(InFlight, st.integers(0, 500), st.integers(0, 60).map(float), st.just(0.0))
uncertain = st.builds(InFlight, st.integers(0, 100_000), st.floats(0, 1e5), st.floats(0, 1e9))
margins = st.floats(0, PeakForecast.Z_MAX)


def simulated_peak(in_flight: list[InFlight]) -> float:
    """Every sequence grows by one token a step and leaves with the step after its last."""
    last = max(int(one.remaining_tokens) for one in in_flight)
    return max(
        sum(one.held_tokens + step for one in in_flight if one.remaining_tokens >= step)
        for step in range(last + 1)
    )


@given(st.lists(exact, min_size=1, max_size=12))
def test_peak_is_the_one_of_a_step_by_step_run_when_lengths_are_exact(
    in_flight: list[InFlight],
) -> None:
    assert kv_peak(in_flight, 0.0) == simulated_peak(in_flight)


@given(st.lists(uncertain, max_size=20), st.randoms(use_true_random=False), margins)
def test_peak_does_not_depend_on_order(
    in_flight: list[InFlight], shuffler: random.Random, z: float
) -> None:
    shuffled = in_flight.copy()
    shuffler.shuffle(shuffled)

    assert kv_peak(shuffled, z) == pytest.approx(kv_peak(in_flight, z))


@given(st.lists(uncertain, max_size=20), uncertain, margins)
def test_one_more_request_never_lowers_the_peak(
    in_flight: list[InFlight], another: InFlight, z: float
) -> None:
    before = kv_peak(in_flight, z)

    assert kv_peak([*in_flight, another], z) >= before * (1 - 1e-12)


@given(st.lists(st.one_of(uncertain, exact), max_size=20), uncertain, st.data())
def test_envelope_kept_up_to_date_is_the_one_made_anew(
    in_flight: list[InFlight], candidate: InFlight, data: st.DataObject
) -> None:
    kept = Envelope()
    for one in in_flight:
        kept.add(one)
    while in_flight and data.draw(st.booleans()):
        kept.remove(in_flight.pop(data.draw(st.integers(0, len(in_flight) - 1))))

    assert kept.peak() == Envelope(in_flight).peak()
    assert kept.peak_with_at_least(candidate) <= kept.peak_with(candidate)
    assert kept.peak_with(candidate) == Envelope([*in_flight, candidate]).peak()
    assert kept.peak() == Envelope(in_flight).peak(), "asking changes nothing"


@given(st.data())
def test_ledger_knows_its_peak_whatever_joined_moved_or_left(data: st.DataObject) -> None:
    ledger, candidate = Ledger(), InFlight(100, 50.0, 400.0)
    tokens = st.integers(0, 1_000)
    for number in range(data.draw(st.integers(0, 30))):
        id = RequestId(str(number % 5))
        running = ledger.running.get(id)
        if running is None:
            load = Load(data.draw(tokens), data.draw(tokens), data.draw(tokens), True)
            ledger.add(Running(Request(id, Priority.P1, 1), load, 0.0))
        elif data.draw(st.booleans()):
            predicted = (
                {id: (data.draw(tokens), data.draw(tokens))} if data.draw(st.booleans()) else {}
            )
            ledger.note_progress({id: data.draw(tokens)}, predicted)
        else:
            ledger.remove(id)

        everything = [*ledger.in_flight(), candidate]
        at_least = ledger.peak_with_at_least(candidate)
        assert ledger.peak_with(candidate) == kv_peak(everything, 0.0)
        assert at_least <= ledger.peak_with(candidate)


def test_nothing_in_flight_holds_nothing() -> None:
    assert kv_peak([], 4.0) == 0.0


def test_margin_is_pooled_over_requests() -> None:
    one = InFlight(0, 100.0, 400.0)

    assert kv_peak([one] * 4, 2.0) - kv_peak([one] * 4, 0.0) == pytest.approx(2 * math.sqrt(1600))


def test_requests_of_uncertain_length_are_not_expected_to_end_together() -> None:
    draw = random.Random(1)
    drawn = [[round(draw.expovariate(1 / 300)) for _ in range(32)] for _ in range(50)]
    peaks = [simulated_peak([InFlight(200, float(r), 0.0) for r in one]) for one in drawn]
    realised = sum(peaks) / len(peaks)

    certain = kv_peak([InFlight(200, 300.0, 0.0)] * 32, 0.0)
    uncertain = kv_peak([InFlight(200, 300.0, 300.0**2)] * 32, 0.0)

    assert certain > 2.0 * realised
    assert realised <= uncertain * 1.05
    assert uncertain < 1.5 * realised


def test_margin_reaches_its_coverage_while_the_errors_grow_and_change_shape() -> None:
    draw = random.Random(5)
    forecast, hits, count = PeakForecast(), 0, 4000
    for step in range(count):
        scale = 60.0 if step < count / 2 else 120.0
        # Skewed and heavy-tailed, so that a normal quantile would be wrong.
        error = (draw.expovariate(1.0) - 1.0) * scale
        predicted = forecast.forecast([InFlight(1000, 500.0, 80.0**2)])
        realised = 1500.0 + error
        hits += realised <= predicted
        forecast.settle(predicted, realised)

    assert hits / count == pytest.approx(0.95, abs=0.02)
    assert forecast.coverage == pytest.approx(0.95, abs=0.04)
    assert forecast.count == count
    assert 0.0 < forecast.mean_over_estimate < 0.4


@given(st.lists(st.booleans(), max_size=200))
def test_margin_stays_within_its_limits_whatever_comes(misses: list[bool]) -> None:
    forecast = PeakForecast()
    for is_miss in misses:
        forecast.settle(100.0, 150.0 if is_miss else 50.0)

        assert PeakForecast.Z_MIN <= forecast.z <= PeakForecast.Z_MAX
    assert forecast.count == len(misses)
    assert 0.0 <= forecast.coverage <= 1.0


A, B = RequestId("a"), RequestId("b")


def test_variance_a_hair_below_zero_has_no_margin() -> None:
    assert PeakForecast().margin(-1e-9) == 0.0


def test_forecast_that_is_passed_is_judged_at_once_and_raises_the_margin() -> None:
    forecast = PeakForecast()
    forecast.begin(0.0, {A: InFlight(100, 10.0, 0.0)})
    before = forecast.z

    forecast.update(1.0, {A: 110})
    assert forecast.count == 0
    forecast.update(2.0, {A: 111})

    assert (forecast.count, forecast.coverage) == (1, 0.0)
    assert forecast.z == pytest.approx(before + 0.95 * PeakForecast.GAMMA)


def test_forecast_holds_when_all_of_its_requests_have_left() -> None:
    forecast = PeakForecast()
    forecast.begin(0.0, {A: InFlight(100, 100.0, 0.0)})

    forecast.update(1.0, {A: 160, B: 5000})
    forecast.update(2.0, {B: 6000})

    assert (forecast.count, forecast.coverage) == (1, 1.0)
    assert forecast.mean_over_estimate == pytest.approx(200 / 160 - 1)


def test_forecast_is_judged_when_its_horizon_is_over() -> None:
    forecast = PeakForecast(horizon_s=60.0)
    forecast.begin(0.0, {A: InFlight(100, 1000.0, 0.0)})

    forecast.update(59.0, {A: 300})
    assert forecast.count == 0
    forecast.update(60.0, {A: 310})

    assert forecast.count == 1


def test_open_forecasts_are_spaced_and_bounded() -> None:
    forecast = PeakForecast(interval_s=5.0, horizon_s=1000.0, open_max=3)
    begun = []
    for at in range(100):
        if forecast.is_due(float(at)):
            begun.append(at)
        forecast.begin(float(at), {A: InFlight(1, 1000.0, 0.0)})

    assert begun == [0, 5, 10]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("slots", "sigma", "lowest", "highest", "excess"),
    [(24, 0.2, 0.91, 0.99, 0.06), (24, 0.8, 0.93, 1.0, 0.12)],
    ids=["alike", "spread"],
)
def test_forecasts_hold_as_often_as_promised_on_a_busy_box_with_unknown_lengths(
    slots: int, sigma: float, lowest: float, highest: float, excess: float
) -> None:
    """The whole loop: lengths are learned, peaks forecast and judged, as the scheduler does it."""
    draw = random.Random(11)
    predictor, forecast = LoadPredictor(), PeakForecast()
    running: dict[RequestId, tuple[Request, int, int]] = {}
    for tick in range(5000):
        while len(running) < slots:
            born = RequestId(f"{tick}.{len(running)}")
            request = Request(born, Priority.P2, 2000, 500, family="f")
            running[born] = (request, round(draw.lognormvariate(5.5, sigma)) + 1, 0)
        in_flight = {}
        for id, (request, length, seen) in list(running.items()):
            if seen + 10 >= length:
                predictor.observe(request, Usage(500, length), is_truncated=False)
                del running[id]
                continue
            running[id] = (request, length, seen + 10)
            mean, variance = predictor.remaining(request, predictor.estimate(request), seen + 10)
            in_flight[id] = InFlight(500 + seen + 10, mean, variance)
        forecast.update(tick * 0.5, {id: one.held_tokens for id, one in in_flight.items()})
        if tick % 4 == 0:
            predictor.note_in_flight(
                (request, predictor.estimate(request), seen)
                for request, _, seen in running.values()
            )
        forecast.begin(tick * 0.5, in_flight)

    assert forecast.count > 300
    assert lowest <= forecast.coverage <= highest
    assert forecast.mean_over_estimate < excess
