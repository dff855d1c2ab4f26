"""Samples in steps: ten seconds for the last hours, minutes for days, ten minutes for weeks.

Coarser steps are made from the finer ones in the file, never from what is in RAM: so a crash loses
the last seconds and nothing else, and making one again gives the same.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from stoker.history.rows import Series
from stoker.history.series import Sample, merged

EngineSamples = Mapping[str, Sample]
"""Samples of one period, by engine."""


@dataclass(frozen=True, slots=True)
class Level:
    """Samples of one step, and how long they are kept."""

    step_s: int
    kept_s: float


@dataclass(frozen=True, slots=True)
class Period:
    """One engine over one period."""

    at: int
    engine: str
    sample: Sample


def levels(retention_s: float) -> tuple[Level, ...]:
    """The finest first; nothing is kept longer than `retention_s`."""
    return tuple(
        Level(step_s, min(kept_s, retention_s))
        for step_s, kept_s in ((10, 6 * 3600.0), (60, 48 * 3600.0), (600, retention_s))
    )


def append(
    db: sqlite3.Connection, at: int, samples: EngineSamples, kept: tuple[Level, ...]
) -> None:
    """Add the samples of a period that began at `at`; what is there of it already stays in it."""
    series, finest = Series(db), kept[0]
    for engine, sample in samples.items():
        _put(db, series, finest.step_s, Period(at, engine, sample), is_more=True)
    for level in kept[1:]:
        # The clock was set back, or a process began again within the period: make it anew.
        db.execute(
            "UPDATE rolled SET until = min(until, ?) WHERE step_s = ?",
            (at // level.step_s * level.step_s, level.step_s),
        )


def roll(db: sqlite3.Connection, now: float, kept: tuple[Level, ...]) -> None:
    """Put together every coarser period that has ended, and forget what is too old."""
    series = Series(db)
    for finer, coarser in pairwise(kept):
        _roll(db, series, finer, coarser, int(now) // coarser.step_s * coarser.step_s)
    for level in kept:
        db.execute(
            "DELETE FROM samples WHERE step_s = ? AND at < ?", (level.step_s, now - level.kept_s)
        )


def read(
    db: sqlite3.Connection, since: float, until: float, step_s: int, kept: tuple[Level, ...]
) -> list[Period]:
    """Every period in `[since, until)`, oldest first, in steps of `step_s` or the next finer that
    there are. What has not been put together yet is read as it is.
    """
    series, found = Series(db), list[Period]()
    coarsest = max((at for at, one in enumerate(kept) if one.step_s <= step_s), default=0)
    begin = since
    for level in reversed(kept[: coarsest + 1]):
        end = until
        if level is not kept[0]:
            end = min(until, _rolled(db, level.step_s))
        rows = db.execute(
            "SELECT at, engine, data FROM samples "
            "WHERE step_s = ? AND at > ? AND at < ? ORDER BY at",
            (level.step_s, begin - level.step_s, end),
        )
        found += [Period(row["at"], row["engine"], series.unpack(row["data"])) for row in rows]
        begin = max(begin, end)
    return found


def oldest(db: sqlite3.Connection, step_s: int) -> float | None:
    """When the first period of a step began."""
    row = db.execute("SELECT min(at) FROM samples WHERE step_s = ?", (step_s,)).fetchone()
    return None if row[0] is None else float(row[0])


def regrouped(periods: Iterable[Period], step_s: int) -> dict[str, dict[int, Sample]]:
    """By engine, then by the time at which each step begins."""
    found: dict[str, dict[int, Sample]] = {}
    for period in periods:
        of_engine = found.setdefault(period.engine, {})
        begin = period.at // step_s * step_s
        of_engine.setdefault(begin, Sample()).add(period.sample)
    return found


def _roll(db: sqlite3.Connection, series: Series, finer: Level, coarser: Level, end: int) -> None:
    step_s = coarser.step_s
    begin = _rolled(db, step_s)
    rows = db.execute(
        "SELECT DISTINCT at / ? * ? AS begin, engine FROM samples "
        "WHERE step_s = ? AND at >= ? AND at < ? ORDER BY begin",
        (step_s, step_s, finer.step_s, begin, end),
    ).fetchall()
    for row in rows:
        parts = db.execute(
            "SELECT data FROM samples WHERE step_s = ? AND engine = ? AND at >= ? AND at < ?",
            (finer.step_s, row["engine"], row["begin"], row["begin"] + step_s),
        )
        whole = merged(series.unpack(part["data"]) for part in parts)
        _put(db, series, step_s, Period(row["begin"], row["engine"], whole), is_more=False)
    db.execute(
        "INSERT INTO rolled (step_s, until) VALUES (?, ?) "
        "ON CONFLICT (step_s) DO UPDATE SET until = max(until, excluded.until)",
        (step_s, end),
    )


def _put(
    db: sqlite3.Connection, series: Series, step_s: int, period: Period, *, is_more: bool
) -> None:
    sample = period.sample
    key = (step_s, period.at, period.engine)
    if is_more:
        known = db.execute(
            "SELECT data FROM samples WHERE step_s = ? AND at = ? AND engine = ?", key
        ).fetchone()
        if known is not None:
            sample = merged((series.unpack(known["data"]), sample))
    db.execute("INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?)", (*key, series.pack(sample)))


def _rolled(db: sqlite3.Connection, step_s: int) -> int:
    row = db.execute("SELECT until FROM rolled WHERE step_s = ?", (step_s,)).fetchone()
    return 0 if row is None else int(row["until"])
