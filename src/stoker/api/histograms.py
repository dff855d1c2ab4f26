"""The histograms: times and tokens of each request, noted when it has finished."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Histogram

from stoker.core.work import Priority
from stoker.runtime.meter import Finished

HISTOGRAM_LABELS = ("engine", "priority")


@dataclass(frozen=True, slots=True)
class Distribution:
    """One histogram: its words, its buckets, and what of a request it notes, if that is known."""

    name: str
    help: str
    buckets: tuple[float, ...]
    read: Callable[[Finished], float | None]


DISTRIBUTIONS = (
    Distribution(
        "stoker_ttft_seconds",
        "Time to first token (of an answer that is not streamed: to its whole), waiting included.",
        (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 30, 60, 120),
        lambda finished: finished.ttft_s,
    ),
    Distribution(
        "stoker_tpot_seconds",
        "Time per output token after the first, on the average of a streamed answer.",
        (0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2),
        lambda finished: finished.itl_s,
    ),
    Distribution(
        "stoker_request_seconds",
        "Whole time of answered requests (end to end), waiting included.",
        (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600, 1200),
        lambda finished: finished.e2e_s,
    ),
    Distribution(
        "stoker_queue_seconds",
        "How long answered requests had waited for their turn.",
        (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600),
        lambda finished: finished.queued_s,
    ),
)


class Histograms:
    """Notes each finished request in all of them."""

    def __init__(self, registry: CollectorRegistry, engines: Sequence[str]) -> None:
        # Resolved once: `labels()` takes a lock and a lookup, and this is the hot path.
        self._noted = [
            (one.read, _children(_histogram(one, registry), engines)) for one in DISTRIBUTIONS
        ]

    def note(self, engine: str, finished: Finished) -> None:
        for read, histograms in self._noted:
            value = read(finished)
            if value is not None:
                histograms[engine, finished.priority].observe(value)


def _histogram(one: Distribution, registry: CollectorRegistry) -> Histogram:
    return Histogram(one.name, one.help, HISTOGRAM_LABELS, registry=registry, buckets=one.buckets)


def _children(
    histogram: Histogram, engines: Sequence[str]
) -> dict[tuple[str, Priority], Histogram]:
    return {
        (engine, priority): histogram.labels(engine, priority.label)
        for engine in engines
        for priority in Priority
    }
