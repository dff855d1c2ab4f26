"""What each kind of expression of time means on the day on which it is said."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta
from typing import Final, NamedTuple

from stoker.memories.anchors import CARDINALS, MONTHS, WEEKDAYS
from stoker.memories.calendar import (
    Stretch,
    day,
    month,
    month_start,
    quarter,
    season,
    shift_months,
    week,
    weekend,
    year_of,
)


class Said(NamedTuple):
    """On which day, and whether the sentence speaks of what is still to come."""

    on: date
    is_future: bool


_FUTURE: Final = re.compile(
    r"\b(?:will|'ll|’ll|going to|gonna|plan\w*|want\w*|hop(?:e|es|ing)|upcoming|coming|next"
    r"|shall|intends?|is due|are due|deadline|scheduled|looking forward|tomorrow|book(?:ed|ing)"
    r"|(?:am|is|are|'m|'re|’re) (?:\w+ )?"
    r"(?:mov|fly|travel|go|visit|leav|start|meet|hav|see)\w*ing)\b",
    re.IGNORECASE,
)


def tense(text: str, at: int) -> bool:
    """Whether the sentence around `at` speaks of the future."""
    start = max(text.rfind(sign, 0, at) for sign in ".!?\n") + 1
    ends = [end for sign in ".!?\n" if (end := text.find(sign, at)) >= 0]
    return _FUTURE.search(text[start : min(ends, default=len(text))]) is not None


_SHIFTS: Final = {"last": -1, "previous": -1, "past": -1, "this": 0, "current": 0, "next": 1,
                  "coming": 1, "following": 1}  # fmt: skip
HOLIDAYS: Final = {
    "christmas eve": (12, 24), "christmas day": (12, 25), "christmas": (12, 25),
    "new year's eve": (12, 31), "new year's day": (1, 1), "halloween": (10, 31),
    "valentine's day": (2, 14), "valentines day": (2, 14),
}  # fmt: skip


def _count(text: str) -> int:
    text = text.lower()
    if text.startswith("a couple"):
        return 2
    return 1 if text in {"a", "an"} else CARDINALS.get(text) or int(text)


def _back(unit: str, on: date, count: int) -> Stretch:
    """The day, week, month … that lies `count` of them before `on` (after it, if negative)."""
    unit = unit.lower()
    days = {"day": 1, "week": 7, "fortnight": 14, "weekend": 7}.get(unit)
    if days is not None:
        then = on - timedelta(days=days * count)
        return {"day": day, "weekend": weekend}.get(unit, week)(then)
    if unit == "month":
        first = month_start(on.year, on.month - count)
        return month(first.year, first.month)
    if unit == "quarter":
        return quarter(on.year, (on.month + 2) // 3 - count)
    if unit == "decade":
        return _ten_years((on.year // 10 - count) * 10)
    return year_of(on.year - count)


def _ten_years(first: int) -> Stretch:
    return Stretch(date(first, 1, 1), date(first + 10, 1, 1), "range")


def _weekday(text: str) -> int:
    return WEEKDAYS["wed" if text.lower().startswith("wed") else text.lower()]


def _nearest(said: Said, candidates: list[Stretch]) -> Stretch:
    """The last of them that has begun, or the first that is still to come."""
    if said.is_future:
        later = [span for span in candidates if span.after is not None and span.after > said.on]
        return min(later, key=lambda span: span.first or date.max)
    begun = [span for span in candidates if span.first is not None and span.first <= said.on]
    return max(begun, key=lambda span: span.first or date.min)


def fixed(days: int) -> Callable[[re.Match[str], Said], Stretch]:
    return lambda _, said: day(said.on + timedelta(days=days))


def ago(match: re.Match[str], said: Said) -> Stretch:
    if match["n"].lower().startswith("half"):
        months = {"year": 6, "decade": 60}.get(match["unit"].lower())
        return _back("month", said.on, months) if months else _back("day", said.on, 15)
    return _back(match["unit"], said.on, _count(match["n"]))


def ahead(match: re.Match[str], said: Said) -> Stretch | None:
    if match["n"].lower().startswith("half"):
        return None
    return _back(match["unit"], said.on, -_count(match["n"]))


def hours_ago(match: re.Match[str], said: Said) -> Stretch | None:
    return day(said.on) if _count(match["n"].replace("half a", "a")) <= 3 else None


def shifted(match: re.Match[str], said: Said) -> Stretch:
    return _back(match["unit"], said.on, -_SHIFTS[match["shift"].lower()])


def shifted_season(match: re.Match[str], said: Said) -> Stretch:
    spans = [season(year, match["season"]) for year in range(said.on.year - 3, said.on.year + 3)]
    shift = _SHIFTS[match["shift"].lower()]
    if shift < 0:  # The last one that is over.
        return max(span for span in spans if span.after is not None and span.after <= said.on)
    coming = [span for span in spans if span.after is not None and span.after > said.on]
    if shift == 0:
        return min(coming)
    return min(span for span in coming if span.first is not None and span.first > said.on)


def shifted_weekday(match: re.Match[str], said: Said) -> Stretch:
    number, today = _weekday(match["wd"]), said.on.weekday()
    match match["shift"].lower():
        case "last" | "previous" | "this past":
            return day(said.on - timedelta(days=(today - number - 1) % 7 + 1))
        case "this coming":
            return day(said.on + timedelta(days=(number - today - 1) % 7 + 1))
        case "next":
            return day(said.on + timedelta(days=7 - today + number))
    return day(said.on + timedelta(days=number - today))


def weekday_of_week(match: re.Match[str], said: Said) -> Stretch:
    monday = week(said.on).first
    assert monday is not None
    shift = _SHIFTS[match["shift"].lower()]
    return day(monday + timedelta(days=7 * shift + _weekday(match["wd"])))


def bare_weekday(match: re.Match[str], said: Said) -> Stretch:
    number, today = _weekday(match["wd"]), said.on.weekday()
    if said.is_future:
        return day(said.on + timedelta(days=(number - today - 1) % 7 + 1))
    return day(said.on - timedelta(days=(today - number - 1) % 7 + 1))


def bare_month(match: re.Match[str], said: Said) -> Stretch | None:
    number = _month_number(match)
    return _nearest(said, [month(said.on.year + shift, number) for shift in (-1, 0, 1)])


def shifted_month(match: re.Match[str], said: Said) -> Stretch:
    number, shift = _month_number(match), _SHIFTS[match["shift"].lower()]
    spans = [month(said.on.year + years, number) for years in (-1, 0, 1)]
    if shift < 0:
        return max(span for span in spans if span.after is not None and span.after <= said.on)
    if shift > 0:
        return min(span for span in spans if span.first is not None and span.first > said.on)
    return spans[1]


def month_of_year(match: re.Match[str], _: Said) -> Stretch:
    return month(int(match["y"]), _month_number(match))


def month_of_shifted_year(match: re.Match[str], said: Said) -> Stretch:
    return month(said.on.year + _SHIFTS[match["shift"].lower()], _month_number(match))


def plain_year(match: re.Match[str], _: Said) -> Stretch:
    return year_of(int(match["y"]))


def season_of_year(match: re.Match[str], _: Said) -> Stretch:
    return season(int(match["y"]), match["season"])


def bare_season(match: re.Match[str], said: Said) -> Stretch:
    years = range(said.on.year - 2, said.on.year + 3)
    return _nearest(said, [season(year, match["season"]) for year in years])


def quarter_of_year(match: re.Match[str], _: Said) -> Stretch:
    return quarter(int(match["y"]), int(match["q"][1]))


def before_last(match: re.Match[str], said: Said) -> Stretch:
    return _back(match["unit"], said.on, 2)


def after_next(match: re.Match[str], said: Said) -> Stretch:
    return _back(match["unit"], said.on, -2)


def this_unit(match: re.Match[str], said: Said) -> Stretch:
    return _back(match["unit"], said.on, 0)


def _month_number(match: re.Match[str]) -> int:
    return MONTHS[match["mon"].lower().rstrip(".")]


def exact_day(match: re.Match[str], said: Said) -> Stretch | None:
    groups = match.groupdict()
    number = int(groups["m"]) if groups.get("m") else _month_number(match)
    try:
        if groups.get("y"):
            return day(date(int(match["y"]), number, int(match["d"])))
        years = (said.on.year - 1, said.on.year, said.on.year + 1)
        return _nearest(said, [day(date(year, number, int(match["d"]))) for year in years])
    except ValueError:  # There is no such day.
        return None


def slashed_day(match: re.Match[str], _: Said) -> Stretch | None:
    one, other = int(match["one"]), int(match["other"])
    if one <= 12 and other <= 12 and one != other:
        return Stretch(None, None, "unknown")  # Day and month, or month and day: nobody can tell.
    try:
        return day(date(int(match["y"]), min(one, other) if one > 12 else one, max(one, other)))
    except ValueError:
        return None


def day_of_month(match: re.Match[str], said: Said) -> Stretch | None:
    days = []
    for months in (-2, -1, 0, 1, 2):
        first = month_start(said.on.year, said.on.month + months)
        try:
            days.append(day(first.replace(day=int(match["d"]))))
        except ValueError:
            continue
    return _nearest(said, days) if len(days) >= 4 else None


def holiday(match: re.Match[str], said: Said) -> Stretch:
    number, of_month = HOLIDAYS[match["holiday"].lower().replace("’", "'")]
    shift = (match["shift"] or "").lower()
    spans = [day(date(said.on.year + years, number, of_month)) for years in (-1, 0, 1)]
    if shift == "this":
        return spans[1]
    if shift == "last":
        return max(span for span in spans if span.first is not None and span.first < said.on)
    if shift == "next":
        return min(span for span in spans if span.first is not None and span.first > said.on)
    return _nearest(said, spans)


def decade(match: re.Match[str], _: Said) -> Stretch:
    digits = match["decade"]
    first = int(digits) if len(digits) == 4 else (1900 if int(digits) >= 30 else 2000) + int(digits)
    return _ten_years(first)


def window(match: re.Match[str], said: Said) -> Stretch | None:
    """`over the past two weeks`: up to the day on which it was said."""
    count = 1 if match["n"] is None else _count(match["n"])
    unit = match["unit"].lower()
    days = {"day": 1, "week": 7, "fortnight": 14}.get(unit)
    months = {"month": 1, "quarter": 3, "year": 12, "decade": 120}.get(unit)
    if days is None and months is None:
        return None
    first = (
        said.on - timedelta(days=days * count)
        if days
        else shift_months(said.on, -count * (months or 0))
    )
    return Stretch(first, said.on + timedelta(days=1), "range")


def years(match: re.Match[str], _: Said) -> Stretch | None:
    first, last = int(match["from"]), int(match["to"])
    return Stretch(date(first, 1, 1), date(last + 1, 1, 1), "range") if first < last else None


def unknown(_: re.Match[str], __: Said) -> Stretch:
    return Stretch(None, None, "unknown")
