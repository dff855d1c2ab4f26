"""Prometheus text -> the few samples that are wanted (pure). A missing one is `None`, never 0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    labels: Mapping[str, str]
    value: float


class Exposition:
    """The samples of a `/metrics` page whose names begin with one of `prefixes`.

    An engine's page has hundreds of histogram lines; parsing only the wanted ones is what makes
    polling it four times a second cheap.
    """

    def __init__(self, text: str, prefixes: tuple[str, ...]) -> None:
        wanted = [line for line in text.splitlines() if line.startswith(prefixes)]
        self._samples = list(_parse("\n".join(wanted) + "\n"))

    def named(self, name: str) -> list[Sample]:
        """All samples of exactly that name; counters also under `name` + `_total`."""
        names = {name, f"{name}_total"}
        return [sample for sample in self._samples if sample.name in names]

    def total(self, *names: str, without: str | None = None) -> float | None:
        """Sum of the first of `names` that is there, over all its labels.

        With `without`, samples that carry a value in that label are a breakdown of the others, and
        are left out.
        """
        for name in names:
            samples = self.named(name)
            if without is not None:
                samples = [sample for sample in samples if not sample.labels.get(without)]
            if samples:
                return sum(sample.value for sample in samples)
        return None

    def highest(self, *names: str, without: str | None = None) -> float | None:
        """The fullest of several replicas: shares cannot be summed."""
        for name in names:
            samples = self.named(name)
            if without is not None:
                samples = [sample for sample in samples if not sample.labels.get(without)]
            if samples:
                return max(sample.value for sample in samples)
        return None

    def count(self, *names: str, without: str | None = None) -> int | None:
        """`total` as a whole number."""
        total = self.total(*names, without=without)
        return None if total is None else int(total)


def _parse(text: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield Sample(sample.name, sample.labels, sample.value)
