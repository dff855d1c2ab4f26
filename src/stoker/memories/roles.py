"""Who does it to whom: `Anna pays Ben`, `Ben is paid by Anna` agree; `Ben pays Anna` does not.

Embeddings hardly see word order, and those that average words do not see it at all.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, NamedTuple

from stoker.memories.lexical import content_words, words

_PASSIVE: Final = re.compile(
    r"\b(?:is|are|was|were|been|being|be|got)(?: \w+){0,2}? "
    r"\w+(?:ed|en|wn|ght|ld|de|nt|id|ut|ung|ept)\b.*?\bby\b",
    re.IGNORECASE,
)


class Words(NamedTuple):
    """The content words in their order, and whether it is a passive that names its doer."""

    stems: tuple[str, ...]
    is_passive: bool


def words_in_order(statement: str) -> Words:
    return Words(tuple(content_words(statement)), _PASSIVE.search(statement) is not None)


def doer_of(statement: str, names: Collection[str]) -> str:
    """The name that does it; empty where fewer than two are named, and nothing can be mixed up.

    In a passive, that is the first name behind its `by`.
    """
    order = list(dict.fromkeys(word for word in words(statement) if word in names))
    if len(order) < 2:
        return ""
    passive = _PASSIVE.search(statement)
    behind = words(statement[passive.end() :]) if passive is not None else []
    return next((word for word in behind if word in names), order[0])


def are_swapped(one: Words, other: Words) -> bool:
    """The same words with two parts exchanged around a third: `dog bites man`, `man bites dog`."""
    length = len(one.stems)
    if length != len(other.stems) or one.is_passive != other.is_passive or one.stems == other.stems:
        return False
    return any(
        one.stems[end:] + one.stems[start:end] + one.stems[:start] == other.stems
        for start in range(1, length - 1)
        for end in range(start + 1, length)
    )
