"""The expressions of time that are known, each with what it means.

Weeks begin on Monday; seasons are those of the northern hemisphere; a third of a month or year is
its beginning, middle or end. Where a tense decides (`on Tuesday`, `in March`) and there is none,
the time is past: people tell what was.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from stoker.memories import date_meanings as meanings
from stoker.memories.anchors import CARDINALS, MONTHS, WEEKDAYS
from stoker.memories.calendar import Stretch, third
from stoker.memories.date_meanings import Said


@dataclass(frozen=True, slots=True)
class Rule:
    pattern: re.Pattern[str]
    meaning: Callable[[re.Match[str], Said], Stretch | None]
    is_relative: bool = True
    cues: frozenset[str] = frozenset()
    """What a text has that the pattern finds anything in, as `cues_in` tells."""


_UNIT: Final = r"(?P<unit>day|week|weekend|fortnight|month|quarter|year|decade)s?"
_WEEKDAY: Final = (
    r"(?P<wd>"
    + "|".join(sorted((n for n in WEEKDAYS if len(n) > 4), key=len, reverse=True))
    + "|tues|weds?|thurs?|fri)"
)
_MONTH: Final = (
    # `may` in lower case is rather a verb.
    r"(?P<mon>(?-i:May)|"
    + "|".join(sorted(MONTHS.keys() - {"may"}, key=len, reverse=True))
    + r")\b\.?"
)
_YEAR: Final = r"(?P<y>(?:19|20)\d\d)"
_COUNT: Final = (
    r"(?P<n>\d{1,3}|an?|" + "|".join(name for name in CARDINALS if name != "zero")
    + r"|a couple(?: of)?|half an?)"
)  # fmt: skip
_PARTS: Final = r"(?: (?:morning|afternoon|evening|night|noon))?"
_SHIFT: Final = r"(?P<shift>last|previous|this|current|next)"
_SEASON: Final = r"(?P<season>spring|summer|autumn|fall|winter)"
_THIRD: Final = r"(?:at |in |by |around |towards? )?(?:the )?(?P<part>start|beginning|middle|end|early|mid|late)(?: of|-)? (?:the )?"  # noqa: E501
_BOUND: Final = r"(?P<bound>(?:ever )?since|until|till|by)"
_DAY: Final = r"(?P<d>[0-3]?\d)"
_CUES: Final = {
    _UNIT: ("day", "week", "fortnight", "month", "quarter", "year", "decade"),
    _WEEKDAY: ("mon", "tue", "wed", "thu", "fri", "sat", "sun"),
    _MONTH: tuple(name for name in MONTHS if len(name) == 3),
    _YEAR: ("19", "20"),
    _SEASON: ("spring", "summer", "autumn", "fall", "winter"),
    _SHIFT: ("last", "previous", "this", "current", "next"),
    _THIRD: ("start", "beginning", "middle", "end", "early", "mid", "late"),
    _BOUND: ("since", "until", "till", "by"),
    _DAY: tuple("0123456789"),
}
"""What a pattern needs that has such a part; none of these parts is ever optional."""
Meaning = Callable[[re.Match[str], Said], Stretch | None]


class _Base(NamedTuple):
    """An expression that also stands behind `since`, `until` and `by`, without its preposition."""

    preposition: str
    core: str
    meaning: Meaning
    is_relative: bool = True


def _bounded(meaning: Meaning) -> Meaning:
    """`since` the first day of what follows; `until` and `by` have its last day with them."""

    def bounded(match: re.Match[str], said: Said) -> Stretch | None:
        is_since = match["bound"].lower().endswith("since")
        span = meaning(match, Said(said.on, is_future=not is_since))
        if span is None or span.precision == "unknown":
            return None
        return (
            Stretch(span.first, None, "since") if is_since else Stretch(None, span.after, "until")
        )

    return bounded


def _third_of(meaning: Meaning) -> Meaning:
    def third_of(match: re.Match[str], said: Said) -> Stretch | None:
        whole = meaning(match, said)
        return None if whole is None or whole.precision == "day" else third(whole, match["part"])

    return third_of


def cues_in(text: str) -> frozenset[str]:
    """Which rules to look with: a hundred patterns take a millisecond, their cues 10 µs."""
    lowered = text.lower()
    found = []
    for part, words in _CUES.items():
        for word in words:
            if word in lowered:
                found.append(part)
                break
    return frozenset(found)


def _rule(pattern: str, meaning: Meaning, *, is_relative: bool = True) -> Rule:
    cues = frozenset(part for part in _CUES if part in pattern)
    return Rule(re.compile(rf"\b{pattern}(?!\w)", re.IGNORECASE), meaning, is_relative, cues)


_SHIFTED_WEEKDAY: Final = (
    r"(?P<shift>last|previous|this past|this coming|this|next) " + _WEEKDAY + _PARTS
)
_MAYBE_IN: Final = r"(?:(?:back )?(?:in|during|over|for) )?"
_MAYBE_ON: Final = r"(?:on )?"

_WHOLE: Final = (
    _Base(_MAYBE_IN, rf"(?:the )?{_SHIFT} {_UNIT}", meanings.shifted),
    _Base(_MAYBE_IN, rf"(?:the )?{_SHIFT} {_SEASON}", meanings.shifted_season),
    _Base(r"(?:back )?in (?:the )?", _SEASON, meanings.bare_season),
    _Base(
        _MAYBE_IN,
        rf"(?:the )?{_SEASON} (?:of )?{_YEAR}",
        meanings.season_of_year,
        is_relative=False,
    ),
    _Base(_MAYBE_IN, rf"(?P<q>Q[1-4]) {_YEAR}", meanings.quarter_of_year, is_relative=False),
    _Base(_MAYBE_IN, rf"{_MONTH},? (?:of )?{_YEAR}", meanings.month_of_year, is_relative=False),
    _Base(
        _MAYBE_IN,
        rf"{_MONTH},? (?:of )?(?P<shift>last|this|next) year",
        meanings.month_of_shifted_year,
    ),
    _Base(_MAYBE_IN, rf"(?P<shift>last|this|next) {_MONTH}", meanings.shifted_month),
    _Base(r"(?:back )?(?:in|during) ", _YEAR, meanings.plain_year, is_relative=False),
    _Base(r"(?:back )?(?:in|during) ", _MONTH, meanings.bare_month),
)
_BASES: Final = (
    *_WHOLE,
    _Base("", r"today|tonight|this (?:morning|afternoon|evening)|earlier today", meanings.fixed(0)),
    _Base("", rf"yesterday{_PARTS}|last night", meanings.fixed(-1)),
    _Base("", rf"tomorrow{_PARTS}", meanings.fixed(1)),
    _Base("", r"(?:the )?day before yesterday|(?:the )?night before last", meanings.fixed(-2)),
    _Base("", r"(?:the )?day after tomorrow", meanings.fixed(2)),
    _Base(
        r"(?:about |around |almost |over )?",
        rf"{_COUNT} {_UNIT} (?:ago|back|earlier than now)",
        meanings.ago,
    ),
    _Base(
        "", r"(?:the )?(?P<unit>week|weekend|month|year|quarter) before last", meanings.before_last
    ),
    _Base(
        "", r"(?:the )?(?P<unit>week|weekend|month|year|quarter) after next", meanings.after_next
    ),
    _Base(_MAYBE_ON, _SHIFTED_WEEKDAY, meanings.shifted_weekday),
    _Base(
        _MAYBE_ON,
        rf"{_WEEKDAY}{_PARTS},?(?: of)? (?P<shift>last|this|next) week",
        meanings.weekday_of_week,
    ),
    _Base("", rf"(?P<shift>last|this|next) week,? on {_WEEKDAY}{_PARTS}", meanings.weekday_of_week),
    _Base("on ", rf"{_WEEKDAY}{_PARTS}", meanings.bare_weekday),
    _Base(
        r"(?:on |at |for )?",
        r"(?:(?P<shift>last|this|next) )?(?P<holiday>"
        + "|".join(meanings.HOLIDAYS).replace("'", "['’]")
        + ")",
        meanings.holiday,
    ),
    _Base(
        _MAYBE_ON,
        r"(?:the )?(?P<y>(?:19|20)\d\d)-(?P<m>[01]\d)-(?P<d>[0-3]\d)",
        meanings.exact_day,
        is_relative=False,
    ),
    _Base(
        _MAYBE_ON,
        rf"(?:the )?{_DAY}(?:st|nd|rd|th)?(?: of)? {_MONTH},? {_YEAR}",
        meanings.exact_day,
        is_relative=False,
    ),
    _Base(
        _MAYBE_ON,
        rf"{_MONTH} {_DAY}(?:st|nd|rd|th)?,? {_YEAR}",
        meanings.exact_day,
        is_relative=False,
    ),
    _Base(_MAYBE_ON, rf"(?:the )?{_DAY}(?:st|nd|rd|th)?(?: of)? {_MONTH}", meanings.exact_day),
    _Base(_MAYBE_ON, rf"{_MONTH} {_DAY}(?:st|nd|rd|th)?", meanings.exact_day),
    _Base(
        _MAYBE_ON,
        r"(?P<one>\d{1,2})/(?P<other>\d{1,2})/(?P<y>(?:19|20)\d\d)",
        meanings.slashed_day,
        is_relative=False,
    ),
    _Base("on ", rf"the {_DAY}(?:st|nd|rd|th)", meanings.day_of_month),
)
RULES: Final = (
    *(_rule(f"{b.preposition}(?:{b.core})", b.meaning, is_relative=b.is_relative) for b in _BASES),
    *(
        _rule(
            rf"{_BOUND}(?: the)? (?:{b.core})",
            _bounded(b.meaning),
            is_relative=b.is_relative,
        )
        for b in _BASES
    ),
    *(_rule(f"{_THIRD}(?:{b.core})", _third_of(b.meaning)) for b in _WHOLE),
    _rule(rf"{_THIRD}(?P<unit>week|month|year)", _third_of(meanings.this_unit)),
    _rule(rf"in (?:about |around )?{_COUNT} {_UNIT}(?:['’] time)?", meanings.ahead),
    _rule(rf"{_COUNT} {_UNIT} from (?:now|today)", meanings.ahead),
    _rule(rf"{_COUNT} (?:hours?|minutes?) ago", meanings.hours_ago),
    _rule(
        rf"(?:over|in|during|for|within) the (?:last|past) (?:{_COUNT} )?{_UNIT}", meanings.window
    ),
    _rule(r"(?:in )?the (?P<decade>(?:19|20)\d0|[3-9]0)['’]?s", meanings.decade, is_relative=False),
    _rule(
        r"(?:from|between) (?P<from>(?:19|20)\d\d) (?:to|and|until) (?P<to>(?:19|20)\d\d)",
        meanings.years,
        is_relative=False,
    ),
    _rule(r"(?P<from>(?:19|20)\d\d)[-–](?P<to>(?:19|20)\d\d)", meanings.years, is_relative=False),
    _rule(
        r"recently|lately|(?:pretty |very )?soon|these days|the other (?:day|week|night)|earlier"
        r"|(?:a few|some|several|many|a number of) "
        r"(?:days?|weeks?|months?|years?|hours?) (?:ago|back)"
        r"|(?:in|over|during|for) the (?:last|past) (?:few|couple of|several) "
        r"(?:days?|weeks?|months?|years?)"
        r"|in a few (?:days?|weeks?|months?|years?)|a while (?:ago|back)|just now|some day|one day",
        meanings.unknown,
    ),
)


@lru_cache(maxsize=512)
def rules_with(cues: frozenset[str]) -> tuple[Rule, ...]:
    """The rules that may find something in a text with these cues."""
    return tuple(rule for rule in RULES if rule.cues <= cues)
