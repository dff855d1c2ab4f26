"""The history document as the sections read it: series by name, whole sums, happenings by kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stoker.report.charts import Chart, Line, Values, bands_of

CLASSES = ("p0", "p1", "p2")
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Columns:
    """One engine, or the box."""

    name: str
    data: Json
    since: float
    until: float
    step_s: float

    @property
    def at(self) -> Sequence[float]:
        return self.data["at"]  # type: ignore[no-any-return]

    def whole(self, name: str) -> float:
        """What was counted over all of it."""
        return float(self.data["whole"]["sums"].get(name, 0.0))

    def whole_times(self, name: str) -> Json:
        """`count`, `p50`, `p95`, `p99` over all of it; empty where there was none."""
        found: Json = self.data["whole"]["times"].get(name, {})
        return found

    def whole_gauge(self, name: str) -> Json:
        found: Json = self.data["whole"]["gauges"].get(name, {})
        return found

    def beginning_with(self, prefix: str) -> dict[str, float]:
        """Whole sums of this family of series, by the rest of their names; the largest first."""
        sums = self.data["whole"]["sums"].items()
        found = {name[len(prefix) :]: value for name, value in sums if name.startswith(prefix)}
        return dict(sorted(found.items(), key=lambda pair: -pair[1]))

    def share(self, name: str) -> Values:
        """A sum per second that was looked at."""
        values = self.data["sums"].get(name)
        if values is None:
            return [None] * len(self.at)
        return [
            value / covered if covered else None
            for value, covered in zip(values, self.data["covered_s"], strict=True)
        ]

    def count(self, name: str) -> Values:
        found: Values = self.data["sums"].get(name, [None] * len(self.at))
        return found

    def gauge(self, name: str, which: str = "mean") -> Values:
        known = self.data["gauges"].get(name)
        return [None] * len(self.at) if known is None else known[which]

    def times(self, name: str, which: str) -> Values:
        known = self.data["times"].get(name)
        return [None] * len(self.at) if known is None else known[which]

    def has(self, *names: str) -> bool:
        """Whether any of these gauges was ever seen."""
        return any(name in self.data["gauges"] for name in names)

    def chart(
        self,
        title: str,
        unit: Callable[[float], str],
        *,
        lines: Sequence[Line] = (),
        stacked: Sequence[Line] = (),
        bands: Sequence[tuple[float, float]] = (),
        most: float | None = None,
        scale: float = 1.0,
        note: str = "",
    ) -> str:
        return Chart(
            title,
            self.at,
            self.step_s,
            self.since,
            self.until,
            unit,
            lines,
            stacked,
            bands,
            most,
            scale,
            note,
        ).html()


class Stretch:
    """All of the document."""

    def __init__(self, document: Json) -> None:
        self.since: float = document["since"]
        self.until: float = document["until"]
        self.step_s: float = document["step_s"]
        self.happenings: Sequence[Json] = document["happenings"]
        self.slowest: Sequence[Json] = document["slowest"]
        self.box = self._columns("", document["box"])
        self.engines = [self._columns(name, data) for name, data in document["engines"].items()]

    @property
    def is_empty(self) -> bool:
        return not self.box.at and not self.happenings and not self.slowest

    def of_kind(self, *kinds: str) -> list[Json]:
        return [one for one in self.happenings if one["kind"] in kinds]

    def total(self, name: str) -> float:
        """Over all engines."""
        return sum(one.whole(name) for one in self.engines)

    def named(self, text: str, engine: Columns) -> str:
        """With the engine's name where there are several."""
        return text if len(self.engines) == 1 else f"{text}, {engine.name}"

    def leases(self) -> list[tuple[float, float]]:
        """When a P0 lease was held."""
        return bands_of(self._lease_pairs(), self.since, self.until)

    def _lease_pairs(self) -> Iterator[tuple[float, float]]:
        open_since: dict[str, float] = {}
        for one in self.of_kind("lease", "lease_ended"):
            if one["kind"] == "lease":
                open_since[one["id"]] = one["at"]
            else:
                since = open_since.pop(one["id"], one["at"] - one.get("held_s", 0.0))
                yield since, one["at"]
        for since in open_since.values():
            yield since, self.until

    def _columns(self, name: str, data: Json) -> Columns:
        return Columns(name, data, self.since, self.until, self.step_s)
