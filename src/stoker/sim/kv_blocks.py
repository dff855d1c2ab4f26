"""The engine model's KV cache: counted blocks, and prefixes addressed by content.

Blocks are not kept one by one. All users of a prefix hold its first blocks, so an entry needs two
numbers: how many blocks are cached, and how many of these are held. The rest is idle: it serves
whoever comes with the same prefix until somebody needs the room, the longest unused first and its
tail before its head.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from stoker.sim.work import SimRequest

ENDLESS = 1 << 60

PathKey = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """The blocks of a sequence whose last token lies in one segment."""

    key: PathKey
    first: int
    end: int


Path = tuple[Piece, ...]


def path_of(request: SimRequest, block_tokens: int) -> Path:
    """Where a request's tokens lie by content; its output continues the last piece or is its own.

    A segment's key counts only behind equal predecessors, as a block's hash includes its parent's.
    """
    pieces: list[Piece] = []
    parent: PathKey = ()
    at = 0
    for segment in request.segments:
        key = (parent, segment.key)
        pieces.append(Piece(key, at // block_tokens, (at + segment.tokens) // block_tokens))
        at += segment.tokens
        parent = (key, segment.tokens)
    if request.extends and pieces:
        last = pieces.pop()
        return (*pieces, Piece(last.key, last.first, ENDLESS))
    return (*pieces, Piece((parent, "output of", request.id), at // block_tokens, ENDLESS))


@dataclass(slots=True)
class _Entry:
    cached: int = 0
    held: int = 0
    holders: dict[int, int] = field(default_factory=dict)
    """How many hold that many blocks."""

    def move(self, before: int, after: int) -> None:
        """Let one holder hold `after` blocks in place of `before` (0: none)."""
        if before:
            left = self.holders[before] - 1
            if left:
                self.holders[before] = left
            else:
                del self.holders[before]
        if after:
            self.holders[after] = self.holders.get(after, 0) + 1
        self.held = max(self.holders, default=0)


class KvBlocks:
    """Which blocks are free, cached or held. Counts in blocks throughout."""

    def __init__(self, blocks: int, *, caches: bool) -> None:
        self._blocks = blocks
        self._caches = caches
        self._blank = blocks
        """Free, with nothing in them worth keeping."""
        self._idle = 0
        """Free, with a prefix in them."""
        self._entries: dict[PathKey, _Entry] = {}
        self._by_age: dict[PathKey, None] = {}
        """Entries that may have idle blocks, longest unused first."""

    @property
    def free(self) -> int:
        return self._blank + self._idle

    @property
    def used(self) -> int:
        return self._blocks - self.free

    def match(self, path: Path, most: int) -> tuple[int, int]:
        """Say how many of the first `most` blocks are cached, and how many of these are idle."""
        matched = idle = 0
        if not self._caches:
            return 0, 0
        for key, start, end in _spans(path, 0, most):
            entry = self._entries.get(key)
            if entry is None:
                break
            have = min(entry.cached, end)
            matched += max(0, have - start)
            idle += max(0, have - entry.held)
            if have < end:
                break
        return matched, idle

    def hold(self, path: Path, matched: int) -> None:
        """Hold the first `matched` blocks, which are cached."""
        for key, _, end in _spans(path, 0, matched):
            entry = self._entries[key]
            assert entry.cached >= end, "held more than is cached"
            held = entry.held
            entry.move(0, end)
            self._idle -= entry.held - held

    def take(self, blocks: int) -> None:
        """Take free blocks; what they cached, oldest first, is forgotten."""
        assert blocks <= self.free, "took more blocks than are free"
        if blocks > self._blank:
            self._evict(blocks - self._blank)
        self._blank -= blocks

    def register(self, path: Path, start: int, end: int) -> None:
        """Cache blocks `start` to `end` of a sequence, which has taken and filled them.

        Where somebody else has cached the same in the meantime, the two share one copy.
        """
        for key, before, after in _spans(path, start, end):
            entry = self._entries.get(key)
            if entry is None:
                entry = self._entries[key] = _Entry()
            idle = entry.cached - entry.held
            self._blank += max(0, min(entry.cached, after) - before)
            entry.cached = max(entry.cached, after)
            entry.move(before, after)
            self._idle += entry.cached - entry.held - idle

    def release(self, path: Path, registered: int, taken: int) -> None:
        """Give back what a sequence holds: `registered` blocks stay cached, of `taken` in all."""
        self._blank += taken - registered
        for key, _, end in reversed(list(_spans(path, 0, registered))):
            entry = self._entries[key]
            held = entry.held
            entry.move(end, 0)
            self._idle += held - entry.held
            self._by_age.pop(key, None)
            self._by_age[key] = None

    def _evict(self, blocks: int) -> None:
        while blocks:
            key = next(iter(self._by_age))
            entry = self._entries[key]
            gone = min(blocks, entry.cached - entry.held)
            entry.cached -= gone
            self._idle -= gone
            self._blank += gone
            blocks -= gone
            if entry.cached == entry.held:
                del self._by_age[key]
                if not entry.cached:
                    del self._entries[key]


def _spans(path: Path, start: int, end: int) -> Iterator[tuple[PathKey, int, int]]:
    """Cut blocks `start` to `end` of a sequence into (key, from, to), counted inside each piece."""
    for piece in path:
        first = max(start, piece.first)
        last = min(end, piece.end)
        if first < last:
            yield piece.key, first - piece.first, last - piece.first
