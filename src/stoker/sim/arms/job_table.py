"""The job store in virtual time: what was handed in and is not running, oldest first.

A backlog without end is drawn from as the table empties. Where it has several families, enough
rows lie here to choose from; where it has one, none lie here, so that a job is as long as jobs are
at the time when it starts.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
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

    @property
    def tenants(self) -> dict[str, int]:
        """How many rows of each tenant lie here."""
        return Counter(row.request.tenant for row in self._rows)

    def claim(self, count: int, family: str, tenant: str | None = None) -> list[Row]:
        """Take rows: those of the family first, then the oldest; of one tenant, if it is named."""
        self._fill(count)
        rows = self._rows
        if tenant is not None:
            rows = [row for row in rows if row.request.tenant == tenant]
        # A stable sort: within the family, and within the rest, the oldest come first.
        first = sorted(rows, key=lambda row: row.request.family != family) if family else None
        taken = sorted((first or rows)[:count])
        places = {row.place for row in taken}
        self._rows = [row for row in self._rows if row.place not in places]
        return taken

    def give_back(self, request: SimRequest, kept_tokens: int) -> None:
        """Put a job back at its old place."""
        insort(self._rows, Row(place_of(request), kept_tokens, request))

    def fill(self) -> None:
        """Let rows to choose from lie here."""
        self._fill(0)

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
