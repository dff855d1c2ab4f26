"""Weeks, months, quarters, seasons and thirds, as [first day, day after the last)."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final, NamedTuple


class Stretch(NamedTuple):
    first: date | None
    after: date | None
    precision: str


def day(first: date) -> Stretch:
    return Stretch(first, first + timedelta(days=1), "day")


def week(inside: date) -> Stretch:
    monday = inside - timedelta(days=inside.weekday())
    return Stretch(monday, monday + timedelta(days=7), "week")


def weekend(inside: date) -> Stretch:
    saturday = inside - timedelta(days=inside.weekday() - 5)
    return Stretch(saturday, saturday + timedelta(days=2), "range")


def month(year: int, number: int) -> Stretch:
    return Stretch(month_start(year, number), month_start(year, number + 1), "month")


def year_of(year: int) -> Stretch:
    return Stretch(date(year, 1, 1), date(year + 1, 1, 1), "year")


def month_start(year: int, number: int) -> date:
    return date(year + (number - 1) // 12, (number - 1) % 12 + 1, 1)


def shift_months(on: date, months: int) -> date:
    first = month_start(on.year, on.month + months)
    last = month_start(first.year, first.month + 1) - timedelta(days=1)
    return first.replace(day=min(on.day, last.day))


def quarter(year: int, number: int) -> Stretch:
    """Quarter `number` of `year`, counted on beyond the year's ends."""
    first = month_start(year, 3 * number - 2)
    return Stretch(first, month_start(first.year, first.month + 3), "season")


SEASONS: Final = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}


def season(year: int, name: str) -> Stretch:
    """Winter is named after the year in which it begins."""
    first = month_start(year, SEASONS[name.lower()])
    return Stretch(first, month_start(first.year, first.month + 3), "season")


def third(whole: Stretch, part: str) -> Stretch:
    """The beginning, the middle or the end of a week, month, season or year."""
    assert whole.first is not None
    assert whole.after is not None
    index = {"middle": 1, "mid": 1, "end": 2, "late": 2}.get(part.lower(), 0)
    if whole.precision == "year":  # Three months, four in the middle.
        begins, ends = ((1, 4), (5, 9), (10, 13))[index]
        year = whole.first.year
        return Stretch(month_start(year, begins), month_start(year, ends), "range")
    days = (whole.after - whole.first).days
    first = whole.first + timedelta(days=days * index // 3)
    return Stretch(first, whole.first + timedelta(days=days * (index + 1) // 3), "range")
