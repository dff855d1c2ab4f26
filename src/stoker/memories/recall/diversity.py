"""Which of the best hits to take: relevance against repetition, and a budget of tokens. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_WORD = re.compile(r"\w+")
_CHARS_PER_TOKEN = 4
"""A rule of thumb for English; a budget is a size of prompt, not an invoice."""


@dataclass(frozen=True, slots=True)
class Candidate:
    text: str
    score: float


def diverse(candidates: Sequence[Candidate], limit: int, repetition: float) -> list[int]:
    """Places of the chosen, best first: maximal marginal relevance over the words that they share.

    `repetition` is what a word-for-word copy of a chosen one loses, as a share of the best score.
    """
    if not candidates:
        return []
    words = [frozenset(_WORD.findall(each.text.casefold())) for each in candidates]
    cost = repetition * max(each.score for each in candidates)
    nearest = [0.0] * len(candidates)
    left = list(range(len(candidates)))
    chosen: list[int] = []
    while left and len(chosen) < limit:
        best = max(left, key=lambda at: (candidates[at].score - cost * nearest[at], -at))
        left.remove(best)
        chosen.append(best)
        for at in left:
            nearest[at] = max(nearest[at], _likeness(words[best], words[at]))
    return chosen


def within_budget(sizes: Sequence[int], token_budget: int | None) -> list[int]:
    """Places that fit, in order. The first does in any case; what is too long is stepped over."""
    if token_budget is None:
        return list(range(len(sizes)))
    taken: list[int] = []
    spent = 0
    for at, size in enumerate(sizes):
        if not taken or spent + size <= token_budget:
            taken.append(at)
            spent += size
    return taken


def tokens_of(*texts: str) -> int:
    """About how many tokens these texts are."""
    return sum(-(-len(text) // _CHARS_PER_TOKEN) for text in texts)


def _likeness(one: frozenset[str], other: frozenset[str]) -> float:
    shared = len(one & other)
    # Half of the words in common is what two statements about one thing have; it costs nothing.
    return max(0.0, 2 * shared / ((len(one) + len(other) - shared) or 1) - 1)
