"""Which property of what a statement tells, where its form shows it: `Tom` `lives in` `Porto`.

Only a property that has one value at a time can be superseded. Some are so by nature and declared
here; others only look so (`Tom's editor is …`), and need a judge.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from stoker.memories.lexical import canonical, stem, words


@dataclass(frozen=True, slots=True)
class Property:
    """`subject` has `value` for `name`."""

    subject: str
    name: str
    value: str
    is_declared: bool
    """It has one value at a time by nature."""


_TIME: Final = re.compile(
    r"[ ,]*(?:\((?:said|as of)[^)]*\)|\b(?:since|as of|from|starting|on|in|until|by|between)"
    r" (?:the week of )?(?:\d{1,2} )?(?:[A-Z][a-z]+ )?(?:19|20)\d\d(?:-\d\d)*\b.*"
    r"|\b(?:now|currently|these days|at present|any ?more)\b)"
)
_SUBJECT: Final = r"(?P<s>[\w'’.-]+(?: [\w'’.-]+){0,4}?)"
_SINGLE: Final = frozenset(
    stem(word)
    for word in (
        "age", "birthday", "deadline", "port", "version", "price", "cost", "rent", "salary",
        "status",
        "location", "address", "size", "limit", "budget", "timeout", "height", "weight", "owner",
        "capital", "ceo", "password", "date", "quota", "rate", "fee",
    )
)  # fmt: skip
_FORMS: Final = tuple(
    (re.compile(rf"^(?:the )?{pattern}$", re.IGNORECASE), name, is_declared)
    for pattern, name, is_declared in (
        (rf"{_SUBJECT} (?:now )?(?:lives|resides|is living|is based) in (?P<v>.+)", "home", True),
        (rf"{_SUBJECT} (?:has )?(?:moved|relocated) (?:from .+ )?to (?P<v>.+)", "home", True),
        (rf"{_SUBJECT} is (?P<v>\d+) years old", "age", True),
        (rf"{_SUBJECT} (?:costs|is priced at) (?P<v>.+)", "price", True),
        (rf"{_SUBJECT} (?:listens|runs|is reachable) on port (?P<v>\d+)", "port", True),
        (rf"{_SUBJECT} is due (?P<v>.+)", "deadline", True),
        (rf"{_SUBJECT} (?:works|is employed) (?:at|for) (?P<v>.+)", "employer", False),
        (rf"{_SUBJECT} (?:has )?(?:joined|started at) (?P<v>.+)", "employer", False),
        (rf"{_SUBJECT} works as (?:an? )?(?P<v>.+)", "job", False),
        (rf"{_SUBJECT} (?:drives|owns) (?:an? )?(?P<v>.+)", "vehicle", False),
        (rf"{_SUBJECT} (?:is married to|married) (?P<v>.+)", "spouse", False),
        (rf"{_SUBJECT} (?:uses|switched to|migrated to) (?P<v>.+)", "tool", False),
    )
)  # fmt: skip
_OWNED: Final = re.compile(
    rf"^(?:the )?{_SUBJECT}['’]s? (?P<n>[\w -]{{2,40}}?) (?:is|are|was|has been|were)"
    r"(?: now| changed to| set to| moved to)* (?P<v>.+)$",
    re.IGNORECASE,
)
_OF: Final = re.compile(
    r"^the (?P<n>[\w -]{2,40}?) (?:of|for) (?P<s>(?:the )?[\w'’. -]{2,40}?)"
    r" (?:is|are|was|has been|were)(?: now| changed to| set to| moved to)* (?P<v>.+)$",
    re.IGNORECASE,
)


def property_of(statement: str, subject: str = "") -> Property | None:
    """The property that `statement` tells; `None` where its form does not show one."""
    plain = _TIME.sub("", statement).strip(" .,")
    for pattern, name, is_declared in _FORMS:
        match = pattern.match(plain)
        if match is not None:
            return _property(match["s"] or subject, name, match["v"], is_declared=is_declared)
    for pattern in (_OWNED, _OF):
        match = pattern.match(plain)
        if match is not None:
            name = canonical(match["n"]).removeprefix("new ").removeprefix("current ")
            is_favourite = name.startswith(("favourite ", "favorite "))
            is_single = is_favourite or stem(name.split()[-1]) in _SINGLE if name else False
            name = name.replace("favorite", "favourite")
            return _property(match["s"], name, match["v"], is_declared=is_single)
    return None


def _property(subject: str, name: str, value: str, *, is_declared: bool) -> Property | None:
    subject = " ".join(word.removesuffix("'s") for word in words(canonical(subject)))
    value = canonical(value)
    is_told = subject and value and not value.startswith(("not ", "no ", "neither "))
    return Property(subject, name, value, is_declared) if is_told else None
