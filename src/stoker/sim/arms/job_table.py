"""The job store in virtual time: what was handed in and is not running, oldest first.

A backlog without end is drawn from as the table empties. Where it has several families, enough
rows lie here to choose from; where it has one, none lie here, so that a job is as long as jobs are
at the time when it starts.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field

from stoker.sim.work import SimRequest
from stoker.sim.workload import Backlog

ROWS = 128
"""Jobs to choose from."""


@dataclass(frozen=True, slots=True, order=True)
class Row:
    place: int
    kept_tokens: int = field(compare=False)
    """Output of earlier runs that is part of the prompt now."""
    request: SimRequest = field(compare=False)


class JobTable:
    def __init__(self, backlog: Backlog | None) -> None:
        self._backlog = backlog
        self._rows: list[Row] = []

    def __len__(self) -> int:
        return len(self._rows)

    def claim(self, count: int, family: str) -> list[Row]:
        """Take rows: those of the family first, then the oldest."""
        self._fill(count)
        # A stable sort: within the family, and within the rest, the oldest come first.
        first = sorted(self._rows, key=lambda row: row.request.family != family) if family else None
        taken = sorted((first or self._rows)[:count])
        places = {row.place for row in taken}
        self._rows = [row for row in self._rows if row.place not in places]
        return taken

    def give_back(self, request: SimRequest, kept_tokens: int) -> None:
        """Put a job back at its old place."""
        insort(self._rows, Row(place_of(request), kept_tokens, request))

    def _fill(self, count: int) -> None:
        backlog = self._backlog
        if backlog is None:
            return
        least = ROWS if backlog.has_families else count
        while len(self._rows) < max(least, count):
            request = backlog.take()
            insort(self._rows, Row(place_of(request), 0, request))


def place_of(request: SimRequest) -> int:
    """Its number in the backlog."""
    return int(request.id.rpartition("-")[2])
