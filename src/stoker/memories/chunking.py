"""Cuts a document's blocks into chunks whose borders depend on the text around them, not on counts.

An insertion then changes the chunk that it stands in, and perhaps the next; every later border
falls where it fell before, and what was extracted there stays paid for. Pure.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from stoker.memories.sources.documents import Block
from stoker.memories.tiles import Role, SpanKind


@dataclass(frozen=True, slots=True)
class ChunkRules:
    """Sizes, in characters. `benchmarks/bench_chunking.py` measures what they do to an edit."""

    chunk_min_chars: int = 1200
    chunk_max_chars: int = 4200
    span_max_chars: int = 1600
    """A longer block is cut at sentences first."""
    span_min_chars: int = 400
    gap_s: float = 3 * 3600.0
    """So long a silence in a conversation begins something new."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Consecutive blocks, `first` up to but not including `last`."""

    first: int
    last: int


def split_long(blocks: Sequence[Block], rules: ChunkRules) -> list[Block]:
    """The same text in blocks of at most `span_max_chars`; only longer ones are cut."""
    return [
        replace(block, text=text)
        for block in blocks
        for text in (
            [block.text] if len(block.text) <= rules.span_max_chars else _pieces(block, rules)
        )
    ]


def cut(blocks: Sequence[Block], rules: ChunkRules) -> list[Cut]:
    """Where the chunks begin and end. Together they are all blocks, in order."""
    if not blocks:
        return []
    ranks = [_rank(before, after, rules) for before, after in pairwise(blocks)]
    cuts: list[Cut] = []
    for first, last in _parts(ranks, _MUST):
        sizes = [len(block.text) for block in blocks[first:last]]
        ends = _ends(sizes, ranks[first : last - 1], rules.chunk_min_chars, rules.chunk_max_chars)
        cuts += [Cut(first + a, first + b) for a, b in pairwise((0, *ends))]
    return cuts


# How well a border suits, lower is better; (class, hash of the text before it).
Rank = tuple[int, int]
_MUST: Rank = (-1, 0)
_HEADING, _PLAIN, _UNWANTED = 0, 1, 2


def _rank(before: Block, after: Block, rules: ChunkRules) -> Rank:
    if SpanKind.TURN in {before.kind, after.kind}:
        if before.session != after.session or _gap_s(before, after) >= rules.gap_s:
            return _MUST
        is_reply = after.role in {Role.ASSISTANT, Role.TOOL}
        goes_on = after.role is before.role and after.author == before.author
        # An answer stays with its question, and a speaker's turns with each other.
        return (_UNWANTED if is_reply or goes_on else _PLAIN, _hash(before.text))
    if before.kind is SpanKind.HEADING:  # without its text it says nothing
        return (_UNWANTED, _hash(before.text))
    return (_HEADING if after.kind is SpanKind.HEADING else _PLAIN, _hash(before.text))


def _parts(ranks: Sequence[Rank], border: Rank) -> Iterator[tuple[int, int]]:
    ends = [at + 1 for at, rank in enumerate(ranks) if rank == border]
    yield from pairwise((0, *ends, len(ranks) + 1))


def _ends(sizes: Sequence[int], ranks: Sequence[Rank], least: int, most: int) -> list[int]:
    """Cut after these many pieces: where a border is the best within `least` characters around.

    That depends on nothing further away, so an edit moves no border but those near it. Where good
    borders are rare, what is longer than `most` is cut again, at its best border.
    """
    places = list(accumulate(sizes))
    ends: list[int] = []
    first = 0
    for last in [*_best_around(places, ranks, least), len(sizes)]:
        ends += _halved(places, ranks, (first, last), (least, most))
        first = last
    return ends


def _best_around(places: Sequence[int], ranks: Sequence[Rank], reach: int) -> Iterator[int]:
    """The borders that no other within reach is better than; of equal ones the first."""
    total = places[-1] if places else 0
    for at, rank in enumerate(ranks):
        place = places[at]
        if rank[0] == _UNWANTED or min(place, total - place) < reach:
            continue
        if _is_best(places, ranks, at, -1, reach) and _is_best(places, ranks, at, 1, reach):
            yield at + 1


def _is_best(places: Sequence[int], ranks: Sequence[Rank], at: int, step: int, reach: int) -> bool:
    other = at + step
    while 0 <= other < len(ranks) and abs(places[other] - places[at]) < reach:
        if ranks[other] < ranks[at] or (step < 0 and ranks[other] == ranks[at]):
            return False
        other += step
    return True


def _halved(
    places: Sequence[int], ranks: Sequence[Rank], part: tuple[int, int], sizes: tuple[int, int]
) -> list[int]:
    """The ends of the pieces of `part`, none longer than the second of `sizes` if that can be."""
    waiting, ends = [part], []
    while waiting:
        first, last = waiting.pop()
        begin = places[first - 1] if first else 0
        if last - first < 2 or places[last - 1] - begin <= sizes[1]:
            ends.append(last)
            continue
        # Looking further would make a long text of one word over and over cost its square.
        inner = range(first + 1, min(last, bisect_left(places, begin + 4 * sizes[1]) + 1))
        far = [
            end
            for end in inner
            if min(places[end - 1] - begin, places[last - 1] - places[end - 1]) >= sizes[0]
        ]
        end = min(far or inner or [first + 1], key=lambda end: ranks[end - 1])
        waiting += [(end, last), (first, end)]
    return ends


def _gap_s(before: Block, after: Block) -> float:
    if before.said_at is None or after.said_at is None:
        return 0.0
    return abs(after.said_at - before.said_at)


def _hash(text: str) -> int:
    """The lowest hash of three words in a row: it mostly stays when a few words change."""
    words = text.split()
    threes = {" ".join(words[at : at + 3]) for at in range(max(1, len(words) - 2))}
    return min(
        int.from_bytes(hashlib.blake2b(three.encode(), digest_size=8).digest()) for three in threes
    )


# ---------------------------------------------------------------------------- long blocks

_SENTENCE = re.compile(r"[.!?…][\"'”’)\]]*\s+|[。！？]\s*|\n\s*")
_LINE = re.compile(r"\n")


def _pieces(block: Block, rules: ChunkRules) -> Iterator[str]:
    """Cut at sentences or lines by the same rule as blocks; a longer one at its spaces."""
    pattern = _LINE if block.kind in {SpanKind.CODE, SpanKind.TABLE} else _SENTENCE
    ends = [match.end() for match in pattern.finditer(block.text)]
    sentences = (block.text[a:b] for a, b in pairwise((0, *ends, len(block.text))))
    parts = [part for sentence in sentences for part in _short(sentence, rules)]
    ranks = [(_PLAIN, _hash(part)) for part in parts[:-1]]
    sizes = [len(part) for part in parts]
    ends = _ends(sizes, ranks, rules.span_min_chars, rules.span_max_chars)
    yield from ("".join(parts[first:last]) for first, last in pairwise((0, *ends)))


def _short(text: str, rules: ChunkRules) -> Iterator[str]:
    while len(text) > rules.span_max_chars:
        at = text.rfind(" ", rules.span_min_chars, rules.span_max_chars) + 1
        at = at or rules.span_max_chars
        yield text[:at]
        text = text[at:]
    if text:
        yield text
