"""Finds texts that are almost the same: MinHash to find candidates, the exact overlap to decide.

One hash per shingle, dropped into as many bins as the signature is long (one-permutation
hashing, Li, Owen and Zhang 2012, with rotation for empty bins): no dependency, and as fast as
reading the text is. Pure.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator

SIMILAR_FROM = 0.85
_SHINGLE_WORDS = 3
_BINS = 128
_ROWS = 8
"""Per band: 16 bands of 8 find a pair of overlap 0.85 in 99 cases of 100, one of 0.5 in 6."""
_SHINGLES_MIN = 8
"""Below, one word is too much of the whole: such texts are the same or they are not."""

_WORD = re.compile(r"\w+")
_NEGATIONS = frozenset((
    "no", "not", "never", "none", "nobody", "nothing", "without", "cannot", "t", "nicht", "kein",
    "keine", "nie", "ne", "pas", "jamais", "non", "nunca", "jamás",
))  # fmt: skip


def bands(text: str) -> tuple[str, ...]:
    """Keys under which near-duplicates meet: two texts that share one are worth comparing."""
    shingles = _shingles(text)
    if len(shingles) < _SHINGLES_MIN:
        return ()
    signature = _signature(shingles)
    parts = [value.to_bytes(8) for value in signature]
    starts = range(0, _BINS, _ROWS)
    return tuple(f"{at:03d}{_digest(b''.join(parts[at : at + _ROWS]))}" for at in starts)


def is_near_duplicate(one: str, other: str) -> bool:
    """Whether two texts say the same in almost the same words.

    Another number or a negation more is another statement, however alike the rest is.
    """
    if _weighty(one) != _weighty(other):
        return False
    shingles, others = _shingles(one), _shingles(other)
    if min(len(shingles), len(others)) < _SHINGLES_MIN:
        return shingles == others
    return len(shingles & others) >= SIMILAR_FROM * len(shingles | others)


def _shingles(text: str) -> frozenset[tuple[str, ...]]:
    words = _words(text)
    return frozenset(zip(*(words[start:] for start in range(_SHINGLE_WORDS)), strict=False))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _weighty(text: str) -> Counter[str]:
    return Counter(
        word for word in _words(text) if word in _NEGATIONS or any(map(str.isdigit, word))
    )


def _signature(shingles: frozenset[tuple[str, ...]]) -> list[int]:
    bins: list[int | None] = [None] * _BINS
    for shingle in shingles:
        data = " ".join(shingle).encode()
        hashed = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())
        at, value = hashed % _BINS, hashed // _BINS
        lowest = bins[at]
        if lowest is None or value < lowest:
            bins[at] = value
    return list(_filled(bins))


def _filled(bins: list[int | None]) -> Iterator[int]:
    """An empty bin takes its right neighbour's value, and how far away that stood."""
    filled = bins * 2
    for at in range(_BINS):
        step = next(step for step in range(_BINS) if filled[at + step] is not None)
        value = filled[at + step]
        assert value is not None
        yield (value + step * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()
