"""Which tiles may be linked by rule: those that share a key. Exact, where a search is a guess.

Two statements are taken for the same if they have the same content words, or one has one word more;
and two values change each other if they are of one property. A key for each of these finds all
such pairs, whatever else is known, by as many look-ups as a statement has words.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from stoker.memories.merge import facts_of
from stoker.memories.tiles import Tile


@dataclass(frozen=True, slots=True)
class Keys:
    """Hashes, within a tile's scope. Who stores `kept` is found by those who look for it."""

    kept: tuple[int, ...]
    property: int | None
    words: tuple[int, ...]
    """What tiles keep that have the same words, one more or one less."""


# Looked for before a tile is written, and written with it.
@lru_cache(maxsize=256)
def keys_of(tile: Tile) -> Keys:
    """The keys under which a tile is kept, and those under which its like are found."""
    facts = facts_of(tile)
    content = sorted(facts.content)
    told = facts.property
    whole = _key(tile.scope, "words", content)
    shorter = [content[:place] + content[place + 1 :] for place in range(len(content))]
    property = None if told is None else _key(tile.scope, "property", (told.subject, told.name))
    without_one = [_key(tile.scope, "but one", words) for words in shorter]
    kept = [whole, *without_one, *([] if property is None else [property])]
    words = [
        whole,
        _key(tile.scope, "but one", content),
        *(_key(tile.scope, "words", words) for words in shorter),
    ]
    return Keys(tuple(kept), property, tuple(words))


def _key(scope: str, kind: str, parts: Iterable[str]) -> int:
    joined = "\0".join((scope, kind, *parts)).encode()
    return int.from_bytes(blake2b(joined, digest_size=8).digest(), "little", signed=True)
