"""Who does it to whom: `Anna pays Ben`, `Ben is paid by Anna` agree; `Ben pays Anna` does not.

Embeddings hardly see word order, and those that average words do not see it at all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from stoker.memories.lexical import stem, words

_PASSIVE: Final = re.compile(
    r"\b(?:is|are|was|were|been|being|be|got)(?: \w+){0,2}? "
    r"\w+(?:ed|en|wn|ght|ld|de|nt|id|ut|ung|ept)\b.*?\bby\b"
    r"|\b(?:gets?|got|receive[sd]?)\b.*?\bfrom\b",
    re.IGNORECASE,
)
_PREPOSITIONS: Final = frozenset(
    ["in", "at", "near", "to", "from", "for", "on", "of", "with", "about", "by", "into", "behind"]
)
_EITHER_WAY: Final = frozenset(["is", "are", "was", "were", "and", "or", "with", "has", "been"])
"""Between two parts that may change places: `blue is her colour`, `Anna and Ben`."""


class Words(NamedTuple):
    """The words in order, without articles, and whether it is a passive that names its doer."""

    stems: tuple[str, ...]
    is_passive: bool


def words_in_order(statement: str) -> Words:
    found = (word for word in words(statement) if word not in {"a", "an", "the"})
    return Words(
        tuple(word if word in _EITHER_WAY else stem(word) for word in found),
        _PASSIVE.search(statement) is not None,
    )


def doer_of(statement: str, names: Collection[str]) -> str:
    """The name that does it; empty where fewer than two are named, and nothing can be mixed up.

    In a passive, that is the first name behind its `by`; else the first one without a preposition.
    """
    found = words(statement)
    if len({word for word in found if word in names}) < 2:
        return ""
    passive = _PASSIVE.search(statement)
    if passive is not None:
        behind = words(statement[passive.end() :])
        return next((word for word in behind if word in names), "")
    places = [index for index, word in enumerate(found) if word in names]
    free = [i for i in places if i == 0 or found[i - 1] not in _PREPOSITIONS]
    return found[free[0]] if free else ""


def are_swapped(one: Words, other: Words) -> bool:
    """The same words with two parts exchanged around a third: `dog bites man`, `man bites dog`."""
    if len(one.stems) != len(other.stems) or one.is_passive != other.is_passive:
        return False
    mine, theirs = _without_common_ends(one.stems, other.stems)
    return any(
        mine[end:] + mine[start:end] + mine[:start] == theirs
        and not set(mine[start:end]) <= _EITHER_WAY
        for start in range(1, len(mine) - 1)
        for end in range(start + 1, len(mine))
    )


def _without_common_ends(
    one: Sequence[str], other: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    start, end = 0, len(one)
    while start < end and one[start] == other[start]:
        start += 1
    while end > start and one[end - 1] == other[end - 1]:
        end -= 1
    return tuple(one[start:end]), tuple(other[start:end])
