"""What running and leaving requests teach: lengths to the predictor, truth to the peak forecast,
times to the service curve.

Every outcome is classified before it may teach anything: a failed call says nothing about length,
and one that was stopped says only that it would have been longer.
"""

from __future__ import annotations

from collections.abc import Mapping

from stoker.core.events import Left
from stoker.core.ledger import Ledger, Running
from stoker.core.load import LoadPredictor, PeakForecast
from stoker.core.resuming import Resuming
from stoker.core.service_meter import ServiceMeter
from stoker.core.window_meter import WindowMeter
from stoker.core.work import Outcome, RequestId

_UNLEARNED_MAX = 64
_NOTE_INTERVAL_S = 1.0
"""How often running requests are shown to the length curves as censored observations, and how often
each is predicted anew: lengths come in steps of 12.5 % anyway, and a full box asks for hundreds."""


class Learning:
    def __init__(
        self,
        ledger: Ledger,
        predictor: LoadPredictor,
        forecast: PeakForecast,
        meter: ServiceMeter,
        resuming: Resuming,
        window: WindowMeter,
    ) -> None:
        self._resuming = resuming
        self._ledger = ledger
        self._meter = meter
        self._window = window
        self._predictor = predictor
        self._forecast = forecast
        self._noted_at = float("-inf")
        self._unlearned: list[tuple[Running, Left]] = []

    def progressed(self, at: float, tokens: Mapping[RequestId, int]) -> None:
        """Correct each running request's remaining length by what it has shown so far."""
        self._learn_all()
        self._meter.progressed(at, tokens)
        ledger = self._ledger
        if at - self._noted_at >= _NOTE_INTERVAL_S:
            # First, so that the curves are rebuilt here and not when somebody arrives.
            self._noted_at = at
            self._predictor.note_in_flight(
                (running.request, running.load, tokens.get(id, running.tokens_seen))
                for id, running in ledger.running.items()
            )
        predictions = {
            id: self._predict(running, tokens[id], at)
            for id, running in ledger.running.items()
            if at >= running.predict_at and id in tokens
        }
        self._window.note_outputs(ledger.note_progress(tokens, predictions))
        self._judge(at)

    def _predict(self, running: Running, tokens_seen: int, at: float) -> tuple[float, float]:
        running.predict_at = at + _NOTE_INTERVAL_S
        return self._predictor.remaining(running.request, running.load, tokens_seen)

    def left(self, running: Running, event: Left) -> None:
        """Remember it for the next progress report: whoever takes its place need not wait."""
        self._meter.left(event.at, running, event.usage)
        self._window.note_left(running, event)
        self._unlearned.append((running, event))
        if len(self._unlearned) >= _UNLEARNED_MAX:
            self._learn_all()

    def _learn_all(self) -> None:
        for running, event in self._unlearned:
            self._learn(running, event)
        self._unlearned.clear()

    def _learn(self, running: Running, event: Left) -> None:
        request = running.request
        self._resuming.learn(running, event.usage)
        if event.outcome is Outcome.FINISHED:
            if event.usage is not None:
                total = request.resumed_tokens + event.usage.output_tokens
                # A call that only reads has a bound of 0, and has not been cut off by it.
                is_truncated = bool(request.max_tokens) and total >= (request.max_tokens or 0)
                self._predictor.observe(request, event.usage, is_truncated=is_truncated)
                self._meter.finished(event.at, running, event.usage)
        elif event.outcome is not Outcome.FAILED:
            self._predictor.observe_censored(request, running.tokens_seen)

    def _judge(self, at: float) -> None:
        running = self._ledger.running
        if self._forecast.has_open:
            self._forecast.update(at, {id: one.held_tokens for id, one in running.items()})
        if running and self._forecast.is_due(at):
            self._forecast.begin(at, {id: one.in_flight for id, one in running.items()})
