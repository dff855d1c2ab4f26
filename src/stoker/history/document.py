"""A stretch of the past as one plain document: what `/v1/fabric/history` answers and `stoker
report` draws. Read from an open file; nothing here writes.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from stoker.history.levels import Level, oldest, read, regrouped
from stoker.history.series import BOX, Gauge, Sample, merged, percentile_s

POINTS_MAX = 1_000
POINTS_WANTED = 360
HAPPENINGS_MAX = 2_000
SLOWEST_MAX = 30
"""Of each class."""
_SHARES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
_DIGITS = 5


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which stretch of the past, and what of it. Times are seconds since 1970."""

    since: float
    until: float
    step_s: int | None = None
    """As fine as makes some hundred points, when not given."""
    series: tuple[str, ...] = ()
    """Beginnings of names; empty is all."""
    engine: str | None = None
    """This one and the box; all when not given."""


def history_document(
    db: sqlite3.Connection, wanted: Wanted, kept: Sequence[Level]
) -> dict[str, Any]:
    """Everything that is kept of a stretch of the past."""
    step_s = _step_s(db, wanted, kept)
    periods = read(db, wanted.since, wanted.until, step_s, tuple(kept))
    by_engine = regrouped(periods, step_s)
    names = sorted(name for name in by_engine if name != BOX and wanted.engine in (None, name))
    return {
        "since": wanted.since,
        "until": wanted.until,
        "step_s": step_s,
        "box": _columns(by_engine.get(BOX, {}), wanted.series),
        "engines": {name: _columns(by_engine[name], wanted.series) for name in names},
        "happenings": _happenings(db, wanted),
        "slowest": _slowest(db, wanted),
    }


def _step_s(db: sqlite3.Connection, wanted: Wanted, kept: Sequence[Level]) -> int:
    """The finest step that is there for all of it, as coarse as the number of points asks for."""
    known = [begin for level in kept if (begin := oldest(db, level.step_s)) is not None]
    since = max(wanted.since, min(known, default=wanted.since))
    finest = kept[-1].step_s
    for level in kept:
        begin = oldest(db, level.step_s)
        if begin is not None and begin <= since + kept[-1].step_s:
            finest = level.step_s
            break
    most = POINTS_WANTED if wanted.step_s is None else POINTS_MAX
    least = max(wanted.step_s or 0, math.ceil(max(0.0, wanted.until - since) / most))
    return finest * max(1, math.ceil(least / finest))


def _columns(samples: Mapping[int, Sample], prefixes: tuple[str, ...]) -> dict[str, Any]:
    """One engine: a list for each series, with `null` where nobody looked."""
    times = sorted(samples)
    rows = [samples[at].only(prefixes) if prefixes else samples[at] for at in times]
    whole = merged(rows)
    return {
        "at": times,
        "covered_s": [_short(row.covered_s) for row in rows],
        "sums": {
            name: [_short(row.sums.get(name, 0.0)) for row in rows] for name in sorted(whole.sums)
        },
        "gauges": {
            name: _gauge_columns([row.gauges.get(name) for row in rows])
            for name in sorted(whole.gauges)
        },
        "times": {
            name: _time_columns([row.times.get(name, {}) for row in rows])
            for name in sorted(whole.times)
        },
        "whole": {
            "covered_s": _short(whole.covered_s),
            "sums": {name: _short(value) for name, value in sorted(whole.sums.items())},
            "gauges": {
                name: {
                    "mean": _short(one.mean),
                    "least": _short(one.least),
                    "most": _short(one.most),
                }
                for name, one in sorted(whole.gauges.items())
            },
            "times": {name: _times(bins) for name, bins in sorted(whole.times.items())},
        },
    }


def _gauge_columns(gauges: Sequence[Gauge | None]) -> dict[str, list[float | None]]:
    return {
        "mean": [None if one is None else _short(one.mean) for one in gauges],
        "least": [None if one is None else _short(one.least) for one in gauges],
        "most": [None if one is None else _short(one.most) for one in gauges],
    }


def _time_columns(bins: Iterable[Mapping[int, int]]) -> dict[str, list[float | None]]:
    found = [_times(one) for one in bins]
    return {name: [one[name] for one in found] for name in ("count", *_SHARES)}


def _times(bins: Mapping[int, int]) -> dict[str, float | None]:
    percentiles = {name: percentile_s(bins, share) for name, share in _SHARES.items()}
    return {
        "count": sum(bins.values()),
        **{name: None if s is None else _short(s) for name, s in percentiles.items()},
    }


def _happenings(db: sqlite3.Connection, wanted: Wanted) -> list[dict[str, Any]]:
    """The newest of them, in order of time."""
    rows = db.execute(
        "SELECT at, kind, engine, text, fields FROM happenings WHERE at >= ? AND at < ? "
        "AND (? IS NULL OR engine IN (?, '')) ORDER BY at DESC, number DESC LIMIT ?",
        (wanted.since, wanted.until, wanted.engine, wanted.engine, HAPPENINGS_MAX),
    ).fetchall()
    return [
        {
            "at": row["at"],
            "kind": row["kind"],
            "engine": row["engine"],
            "text": row["text"],
            **msgspec.json.decode(row["fields"]),
        }
        for row in reversed(rows)
    ]


def _slowest(db: sqlite3.Connection, wanted: Wanted) -> list[dict[str, Any]]:
    """The slowest of each class, slowest first."""
    rows = db.execute(
        "SELECT request FROM ("
        "  SELECT request, felt_s, class, row_number() OVER ("
        "    PARTITION BY class ORDER BY felt_s DESC) AS place FROM slowest"
        "  WHERE at >= ? AND at < ? AND (? IS NULL OR engine = ?)"
        ") WHERE place <= ? ORDER BY class, felt_s DESC",
        (wanted.since, wanted.until, wanted.engine, wanted.engine, SLOWEST_MAX),
    )
    return [msgspec.json.decode(row["request"]) for row in rows]


def _short(value: float) -> float:
    """To five digits: nobody sees more of them."""
    rounded = float(f"{value:.{_DIGITS}g}") if abs(value) < 10**_DIGITS else round(value)
    return int(rounded) if float(rounded).is_integer() else rounded
