"""What must not differ between two statements of the same thing: numbers, dates, names, polarity.

Embeddings hardly see these (a changed number leaves a cosine of 0.98), so code compares them. A
date is written as far as it is given: `2023-05-07`, `2023-05`, `2023`, `--05-07`, `--05`, `fri`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from stoker.memories.lexical import STOP_WORDS, normalise, stem, words


def _list(names: str) -> list[str]:
    return names.split()


MONTHS: Final = {
    name: number
    for number, names in enumerate(
        (
            "january jan", "february feb", "march mar", "april apr", "may", "june jun", "july jul",
            "august aug", "september sept sep", "october oct", "november nov", "december dec",
        ),
        start=1,
    )
    for name in names.split()
}  # fmt: skip
WEEKDAYS: Final = {
    name: number
    for number, names in enumerate(
        (
            "monday mon", "tuesday tues tue", "wednesday wed", "thursday thurs thur thu",
            "friday fri", "saturday sat", "sunday sun",
        )
    )
    for name in names.split()
}  # fmt: skip
CARDINALS: Final = {
    name: number
    for number, name in enumerate(
        _list(
            """zero one two three four five six seven eight nine ten eleven twelve thirteen
            fourteen fifteen sixteen seventeen eighteen nineteen"""
        )
    )
} | {
    name: 10 * number
    for number, name in enumerate(
        _list("twenty thirty forty fifty sixty seventy eighty ninety"), start=2
    )
}
_SCALES: Final = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "dozen": 12}
_ORDINALS: Final = {
    name: number
    for number, name in enumerate(
        _list(
            """first second third fourth fifth sixth seventh eighth ninth tenth eleventh
            twelfth"""
        ),
        start=1,
    )
}
_UNITS: Final = {
    spelling: names.split()[0]
    for names in (
        "km kilometre kilometres kilometer kilometers",
        "m metre metres meter meters",
        "cm centimetre centimetres centimeter centimeters",
        "mile miles mi",
        "kg kilo kilos kilogram kilograms",
        "g gram grams",
        "lb lbs",
        "h hour hours hr hrs",
        "min minute minutes mins",
        "s sec secs seconds",
        "ms millisecond milliseconds",
        "day days",
        "week weeks",
        "month months",
        "year years yr yrs",
        "% percent",
        "eur euro euros €",
        "usd dollar dollars bucks $",
        "gbp pound pounds quid £",
        "l litre litres liter liters",
        "c celsius °c",
        "f fahrenheit °f",
        "token tokens",
        "kb",
        "mb",
        "gb",
        "tb",
        "k",
    )
    for spelling in names.split()
}

_MONTH: Final = r"(?P<{0}>" + "|".join(sorted(MONTHS, key=len, reverse=True)) + r")\b\.?"
_YEAR: Final = r"(?P<{0}>(?:19|20)\d\d)"
_DAY: Final = r"(?P<{0}>[0-3]?\d)(?:st|nd|rd|th)?"
_DATES: Final = tuple(
    re.compile(rf"\b{pattern}(?!\w)")
    for pattern in (
        r"(?P<y>(?:19|20)\d\d)-(?P<m>[01]\d)(?:-(?P<d>[0-3]\d))?",
        rf"{_DAY.format('d')}(?: of)? {_MONTH.format('mon')}(?:,? {_YEAR.format('y')})?",
        rf"{_MONTH.format('mon')} {_DAY.format('d')}(?:,? {_YEAR.format('y')})?",
        rf"{_MONTH.format('mon')}(?: of)?,? {_YEAR.format('y')}",
        rf"(?:in|since|until|till|by|from|to|and|between|last|next|this|of|during|early|late|mid"
        rf"|around) {_MONTH.format('mon')}",
        rf"(?P<wd>{'|'.join(sorted(WEEKDAYS, key=len, reverse=True))})",
        # A year, unless it is a sum or a count: `$2000`, `2000 steps`.
        rf"(?<![€$£]){_YEAR.format('y')}(?! ?(?:km|kg|cm|[a-z]+s|[%€$£m])(?!\w))",
    )
)
_DATE_CUE: Final = re.compile(
    rf"(?:19|20)\d\d|\b(?:{'|'.join(sorted({*MONTHS, *WEEKDAYS}, key=len, reverse=True))})(?!\w)"
)
"""One of these is in every date; most sentences have none."""
_SHORT_WORDS: Final = {"sun", "sat", "wed", "mon", "mar", "may"}  # Also other words.
_CODE: Final = re.compile(
    r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+|https?://[^\s<>\"')]+|(?<![\w/])~?(?:/[\w.@-]+){2,}/?"
    r"|\b[A-Za-z]:\\[\w\\.-]+|\bv?\d+\.\d+\.\d+[\w.-]*|\b[A-Za-z]+[-_]\d[\w-]*|\b\w+_\w+\b"
    r"|\b[\w-]+\.(?:py|md|txt|json|toml|yaml|yml|js|ts|rs|go|c|h|cpp|sh|sql|pdf|csv|html)\b"
)
_NUMBER: Final = re.compile(
    r"(?P<sign>[€$£])?(?<![\w.])(?P<value>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
    r"(?:st|nd|rd|th)?(?: ?(?P<unit>[a-z°%€$£]+))?"
)
_COUNTED: Final = frozenset(stem(word) for word in (*_UNITS, *CARDINALS, *_SCALES))
_NEGATIONS: Final = frozenset(
    _list(
        """not no never none nobody nothing neither nor without cannot nowhere hardly lacks lack
        refuse refuses refused deny denies denied fail fails failed unable ain't"""
    )
)
_NEGATABLE: Final = re.compile(r"[a-z]+(?:n't)?(?:'\w+)?")
_NO_NEGATION: Final = re.compile(
    r"\bnot (?:just|only)\b|\bnot-[\w-]+|\bno (?:problem|doubt|matter|wonder)\b"
    r"|\b(?:can't|cannot) wait\b|\bwhy not\b"
)
_OPPOSITES: Final = {
    stem(pair.split("/")[1])
    for pair in _list(
        """like/dislike love/hate increase/decrease rise/fall enable/disable accept/reject
        start/stop begin/end buy/sell before/after more/less allow/forbid allow/prohibit
        true/false win/lose arrive/leave above/below agree/disagree cheaper/dearer faster/slower
        larger/smaller older/younger higher/lower gain/lose hire/fire join/quit
        connect/disconnect approve/disapprove trust/distrust happy/unhappy possible/impossible
        borrow/lend married/divorced maximum/minimum most/least lock/unlock add/remove
        import/export safe/unsafe healthy/unhealthy upgrade/downgrade vegetarian/carnivore"""
    )
}
"""The second of each pair turns a statement round, as a negation does."""
_PLANS: Final = re.compile(
    r"\b(?:plan(?:s|ned|ning)?|want(?:s|ed)?|hop(?:e|es|ed|ing)|might|may|could|consider(?:s|ed|ing)?"
    r"|intend(?:s|ed|ing)?|will|would(?! rather)|going to(?! [A-Z]| the| an?)|wish(?:es|ed)?"
    r"|think(?:s|ing)? (?:about|of)"
    r"|dream(?:s|ed|ing)? of|should|must|tr(?:y|ies|ied|ying) to|about to|probably|maybe|perhaps"
    r"|used to|if|almost|nearly|rumou?red|allegedly)\b",
)
_SPELLED: Final = re.compile(r"[a-z]+(?:'[a-z]+)?")
_OPENING: Final = re.compile(r"(?:^|[.!?:;\n(\[]\s*|[\"“'‘]\s*)$")
_CAPITALISED: Final = re.compile(r"\b[A-Z][\w'’]*(?:-[A-Z]\w*)*")
_TITLES: Final = frozenset(_list("mr mrs ms dr prof sir miss the i i'm i've i'd i'll ok yes no"))


@dataclass(frozen=True, slots=True)
class Anchors:
    """What was found in one statement, each in one spelling."""

    quantities: frozenset[tuple[float, str]]
    """Values with their units (`""` without)."""
    dates: frozenset[str]
    names: frozenset[str]
    """Capitalised words inside a sentence, and subjects that were given."""
    first_names: frozenset[str]
    """Capitalised words that begin a sentence: names, or not."""
    words: frozenset[str]
    codes: frozenset[str]
    """Addresses, paths, versions, identifiers."""
    is_negated: bool
    is_planned: bool
    """Wished, possible, intended, past habit: not said to be so."""


def anchors_of(statement: str, *subjects: str) -> Anchors:
    """Everything in `statement` that a paraphrase has to keep."""
    rest, codes = _take_codes(statement)
    plain = normalise(rest)
    dates = frozenset(date for _, _, date in dates_in(plain))
    inside, first = names_in(rest)
    given = {word for subject in subjects for word in words(subject) if word not in STOP_WORDS}
    return Anchors(
        quantities=frozenset(quantities_in(plain)),
        dates=dates,
        names=frozenset(inside | (first & given)),
        first_names=frozenset(first - given - inside),
        words=frozenset(word.removesuffix("'s") for word in words(rest)),
        codes=frozenset(codes),
        is_negated=_is_negated(plain),
        is_planned=_PLANS.search(_without_dates(rest)) is not None,
    )


def is_counted(stemmed: str) -> bool:
    """Whether a word is a number or a unit, which `quantities` compares by value."""
    return stemmed.replace(".", "").replace("-", "").isdecimal() or stemmed in _COUNTED


def codes_in(text: str) -> frozenset[str]:
    """E-mail addresses, links, paths, versions, file names and identifiers, in lower case."""
    return frozenset(_take_codes(text)[1])


def _take_codes(text: str) -> tuple[str, set[str]]:
    codes = {match.rstrip(".,;:").lower() for match in _CODE.findall(text)}
    return _CODE.sub(" ", text), codes


def dates_in(plain: str) -> Iterator[tuple[int, int, str]]:
    """The dates that a normalised text names, and where; the fuller form first."""
    if _DATE_CUE.search(plain) is None:
        return
    taken: list[tuple[int, int]] = []
    for pattern in _DATES:
        for match in pattern.finditer(plain):
            start, end = match.span()
            date = _date(match)
            if date and all(end <= a or b <= start for a, b in taken):
                taken.append((start, end))
                yield start, end, date


def _date(match: re.Match[str]) -> str:
    parts = match.groupdict()
    if parts.get("wd"):
        name = parts["wd"]
        return "" if name in _SHORT_WORDS else f"day{WEEKDAYS[name]}"
    month = int(parts["m"]) if parts.get("m") else MONTHS.get(parts.get("mon") or "", 0)
    day = int(parts.get("d") or 0)
    year = parts.get("y") or "-"
    if day > 31 or month > 12:
        return ""
    return year + (f"-{month:02}" if month else "") + (f"-{day:02}" if day else "")


def quantities_in(plain: str) -> Iterator[tuple[float, str]]:
    """Values and units of a normalised text, without those that are part of a date."""
    for start, end, _ in sorted(dates_in(plain), reverse=True):
        plain = plain[:start] + " " + plain[end:]
    for match in _NUMBER.finditer(plain):
        value = float(match["value"].replace(",", ""))
        unit = _UNITS.get(match["sign"] or match["unit"] or "", "")
        scale = _SCALES.get(match["unit"] or "", 1)
        yield (value * 1000, "") if unit == "k" else (value * scale, unit)
    yield from _spelled(_SPELLED.findall(plain))


def _spelled(found: list[str]) -> Iterator[tuple[float, str]]:
    """`twenty five thousand euros`, `third`; a plain `one` or `second` is more often no number."""
    index = 0
    while index < len(found):
        word = found[index]
        if word in _ORDINALS and word != "second":
            yield float(_ORDINALS[word]), ""
        if word not in CARDINALS and word != "dozen":
            index += 1
            continue
        start, total, value = index, 0, 0
        while index < len(found) and (found[index] in CARDINALS or found[index] in _SCALES):
            scale = _SCALES.get(found[index])
            value = value + CARDINALS[found[index]] if scale is None else max(value, 1) * scale
            if scale is not None and scale >= 1000:
                total, value = total + value, 0
            index += 1
        unit = _UNITS.get(found[index], "") if index < len(found) else ""
        if found[start:index] != ["one"] or unit:
            yield float(total + value), unit


def names_in(text: str) -> tuple[set[str], set[str]]:
    """(capitalised words inside sentences, capitalised words that begin one), in lower case."""
    inside: set[str] = set()
    first: set[str] = set()
    for match in _CAPITALISED.finditer(text):
        word = normalise(match[0]).removesuffix("'s").rstrip("'")
        if word in _TITLES or word in MONTHS or word in WEEKDAYS:
            continue
        is_first = _OPENING.search(text[max(0, match.start() - 4) : match.start()])
        if is_first and word in STOP_WORDS:
            continue
        (first if is_first else inside).add(word)
    return inside, first


def _is_negated(plain: str) -> bool:
    turns = [word for word in _NEGATABLE.findall(plain) if stem(word) in _OPPOSITES]
    return (negations_in(plain) + len(turns)) % 2 == 1


def negations_in(plain: str) -> int:
    """How often a normalised text says no; `not only` and `no doubt` do not."""
    found = _NEGATABLE.findall(_NO_NEGATION.sub(" ", plain))
    return sum(word in _NEGATIONS or word.endswith("n't") for word in found)


def _without_dates(text: str) -> str:
    """Without dates, for the month of May is no verb."""
    return re.sub(r"\bMay\b", " ", text)


def differences(one: Anchors, other: Anchors) -> tuple[str, ...]:
    """Which kinds of anchors forbid that the two say the same, by name, in a fixed order."""
    return tuple(
        name
        for name, is_different in (
            ("number", _values(one) != _values(other)),
            ("unit", _units_differ(one, other)),
            ("date", one.dates != other.dates),
            ("name", _names_differ(one, other)),
            ("code", one.codes != other.codes),
            ("negation", one.is_negated != other.is_negated),
            ("modality", one.is_planned != other.is_planned),
        )
        if is_different
    )


def are_different(one: Anchors, other: Anchors) -> bool:
    """Whether there are any `differences`, without saying which."""
    return (
        one.dates != other.dates
        or one.is_negated != other.is_negated
        or one.is_planned != other.is_planned
        or one.codes != other.codes
        or (one.quantities != other.quantities and _quantities_differ(one, other))
        or _names_differ(one, other)
    )


def _quantities_differ(one: Anchors, other: Anchors) -> bool:
    return _values(one) != _values(other) or _units_differ(one, other)


def _values(one: Anchors) -> set[float]:
    return {value for value, _ in one.quantities}


def _units_differ(one: Anchors, other: Anchors) -> bool:
    units = {value: unit for value, unit in one.quantities if unit}
    return any(unit and units.get(value, unit) != unit for value, unit in other.quantities)


def _names_differ(one: Anchors, other: Anchors) -> bool:
    # A word that begins a sentence may be a name or not: then the other has it too, in any case.
    mine, theirs = one.names | one.first_names, other.names | other.first_names
    return not (one.names <= theirs and other.names <= mine) or (
        bool(one.first_names - other.words) and bool(other.first_names - one.words)
    )
