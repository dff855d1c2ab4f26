"""Words of a text: normal form, content words, and where a quote stands, also a miscopied one.

English first: stop words and endings are English; in other languages every word counts as content.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final


def _list(text: str) -> list[str]:
    return text.split()


STOP_WORDS: Final = frozenset(
    _list(
        """a about above after again against all also am an and any are as at be because been before
        being below between both but by can could did do does doing down during each few for from
        further had has have having he her here hers herself him himself his how i if in into is it
        its itself just me might more most must my myself no nor not now of off on once only or
        other our ours ourselves out over own same shall she should so some such than that the
        their theirs them themselves then there these they this those through to too under until
        up upon us very was we were what when where which while who whom why will with would you
        your yours yourself said says say tells told mentioned mentions"""
    )
)

_SIGNS: Final = str.maketrans(
    {
        "‘": "'", "’": "'", "‚": "'", "`": "'", "´": "'", "“": "'", "”": "'", "„": "'", "«": "'",
        "»": "'", '"': "'", "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "−": "-",
        "\u00ad": "",        "\u200b": "", "\ufeff": "",
    }
)  # fmt: skip
_SPACES: Final = re.compile(r"\s+")
_UNEVEN: Final = re.compile(r"\A\s|\s\Z|\s\s|[^\S ]")
"""White space that a normal form has not."""
_ELLIPSIS: Final = re.compile(r"\.\.\.|…")
_WORD: Final = re.compile(r"[^\W_]+(?:['.@_-][^\W_]+)*")
_IRREGULAR: Final = {
    "went": "go", "gone": "go", "bought": "buy", "sold": "sell", "met": "meet", "made": "make",
    "took": "take", "taken": "take", "gave": "give", "given": "give", "got": "get", "ate": "eat",
    "saw": "see", "seen": "see", "wrote": "write", "written": "write", "spoke": "speak",
    "chose": "choose", "chosen": "choose", "paid": "pay", "left": "leave",
    "began": "begin", "begun": "begin", "ran": "run", "won": "win", "lost": "lose", "led": "lead",
    "built": "build", "taught": "teach", "learnt": "learn", "children": "child", "wives": "wife",
    "people": "person", "men": "man", "women": "woman", "better": "good", "best": "good",
    "flew": "fly", "drove": "drive", "driven": "drive", "held": "hold", "kept": "keep",
    "lent": "lend", "sent": "send", "grew": "grow", "knew": "know", "sang": "sing", "swam": "swim",
}  # fmt: skip


@lru_cache(maxsize=4096)
def normalise(text: str) -> str:
    """One spelling for what reads the same: case, quotes, dashes, widths, white space."""
    if text.isascii():
        return _SPACES.sub(" ", text.translate(_SIGNS).lower()).strip()
    return Normalised(text).text


class Normalised:
    """A text in normal form that still knows where each character stood."""

    __slots__ = ("_at", "text")

    def __init__(self, source: str) -> None:
        self._at: Sequence[int]
        if source.isascii() and _UNEVEN.search(source) is None:
            # Letter by letter, it stays where it is.
            self.text, self._at = source.translate(_SIGNS).lower(), range(len(source) + 1)
            return
        self.text, self._at = _folded(source)

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """Where [start, end) of the normal form stands in the source."""
        return self._at[start], self._at[end - 1] + 1 if end > start else self._at[start]


def _folded(source: str) -> tuple[str, list[int]]:
    letters: list[str] = []
    at: list[int] = []
    for index, letter in enumerate(source):
        for plain in _plain(letter):
            if plain == " " and (not letters or letters[-1] == " "):
                continue
            letters.append(plain)
            at.append(index)
    at.append(len(source))
    return "".join(letters).rstrip(), at


@lru_cache(maxsize=4096)
def _plain(letter: str) -> str:
    if letter.isascii():
        return " " if letter.isspace() else letter.translate(_SIGNS).lower()
    return "".join(
        " " if part.isspace() else part
        for part in unicodedata.normalize("NFKC", letter.translate(_SIGNS)).casefold()
    )


def words(text: str) -> list[str]:
    """The words in lower case; `x@y.z`, `v1.2` and `well-known` are one word each."""
    return list(_words(text))


@lru_cache(maxsize=2048)
def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(normalise(text)))


_SENTENCE_END: Final = re.compile(r"[.!?]+['\")\]’”]*(?=\s)|\n+")
_NO_END: Final = re.compile(
    r"(?:\b(?:mr|mrs|ms|dr|prof|st|jr|sr|vs|e\.g|i\.e|cf|approx|fig|vol|inc|ltd)|\b[A-Z])\.$",
    re.IGNORECASE,
)
"""`Dr. Who` and `J. Doe` end nowhere."""


def sentences(text: str) -> list[tuple[int, int]]:
    """Where the sentences of `text` stand; together they are all of it but white space."""
    ends = [
        match.end()
        for match in _SENTENCE_END.finditer(text)
        if not _NO_END.search(text[max(0, match.start() - 8) : match.end()])
    ]
    pairs = zip([0, *ends], [*ends, len(text)], strict=True)
    return [(start, end) for start, end in pairs if text[start:end].strip()]


def content_words(text: str) -> list[str]:
    """Stems of the words that carry meaning, in their order."""
    return list(_content(text))


@lru_cache(maxsize=8192)
def _content(text: str) -> tuple[str, ...]:
    # A chunk's lines are read again for every claim about them.
    found = (word.removesuffix("'s") for word in words(text))
    return tuple(stem(word) for word in found if word.partition("'")[0] not in STOP_WORDS)


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """Cut English endings, lightly: what is cut wrongly is cut alike on both sides."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    for ending, rest in (
        ("ies", "y"), ("ied", "y"), ("sses", "ss"), ("ing", ""), ("edly", ""), ("ed", ""),
        ("es", ""), ("ly", ""), ("s", ""),
    ):  # fmt: skip
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            return _without_double(word.removesuffix(ending) + rest).removesuffix("e")
    return word.removesuffix("e") if len(word) > 4 else word


def _without_double(root: str) -> str:
    is_doubled = len(root) > 3 and root[-1] == root[-2] and root[-1] in "bdgmnprt"
    return root[:-1] if is_doubled else root


# A new statement meets the same neighbours again and again: these forms cost more than comparing.
@lru_cache(maxsize=16_384)
def canonical(statement: str) -> str:
    """The form in which two statements are the same one: no case, no punctuation, no articles."""
    return " ".join(word for word in words(statement) if word not in {"a", "an", "the"})


def containment(part: str, *wholes: str) -> float:
    """Share of the content words of `part` that occur in `wholes`; 1 where there are none."""
    wanted = set(_content(part))
    if not wanted:
        return 1.0
    known = {word for whole in wholes for word in _content(whole)}
    return len(wanted & known) / len(wanted)


def similarity(one: str, other: str) -> float:
    """Dice over character trigrams and content words: a stand-in where there are no embeddings."""
    return (_dice(_trigrams(one), _trigrams(other)) + _dice(_stems(one), _stems(other))) / 2


@lru_cache(maxsize=16_384)
def _stems(text: str) -> frozenset[str]:
    return frozenset(content_words(text))


@lru_cache(maxsize=16_384)
def _trigrams(text: str) -> frozenset[str]:
    padded = f"  {canonical(text)} "
    return frozenset(padded[index : index + 3] for index in range(len(padded) - 2))


def _dice(one: frozenset[str], other: frozenset[str]) -> float:
    return 2 * len(one & other) / (len(one) + len(other)) if one or other else 1.0


@dataclass(frozen=True, slots=True)
class Found:
    """A quote in a text: [start, end), and how much of it is there."""

    start: int
    end: int
    likeness: float


def find_quote(quote: str, text: str, *, likeness_min: float = 0.9) -> Found | None:
    """Where `quote` stands in `text`, or the passage that differs from it by a tenth at most.

    Parts around an ellipsis have to follow each other. Inserted letters count as missing ones do.
    """
    parts = [normalise(part).strip(" '") for part in _ELLIPSIS.split(quote)]
    parts = [part for part in parts if part]
    if not parts:
        return None
    whole = Normalised(text)
    found: list[Found] = []
    offset = 0
    for part in parts:
        spot = _find(part, whole.text, offset, likeness_min)
        if spot is None:
            return None
        found.append(spot)
        offset = spot.end
    start, _ = whole.origin(found[0].start, found[0].end)
    _, end = whole.origin(found[-1].start, found[-1].end)
    return Found(start, end, min(spot.likeness for spot in found))


def _find(part: str, text: str, offset: int, likeness_min: float) -> Found | None:
    at = text.find(part, offset)
    if at >= 0:
        return Found(at, at + len(part), 1.0)
    errors_max = int(len(part) * (1 - likeness_min) + 1e-9)
    if errors_max == 0:
        return None
    end, errors = min(
        _approximate_ends(part, text[offset:]), key=lambda pair: (pair[1], pair[0]), default=(0, 99)
    )
    if errors > errors_max:
        return None
    # Read backwards from its end, the same search tells where it begins.
    backwards = text[offset : offset + end][::-1][: len(part) + errors_max]
    length, _ = min(_approximate_ends(part[::-1], backwards), key=lambda pair: (pair[1], pair[0]))
    return Found(offset + end - length, offset + end, 1 - errors / len(part))


def _approximate_ends(pattern: str, text: str) -> Iterator[tuple[int, int]]:
    """(end, edit distance) of the best passage ending there: Myers, JACM 1999, in one integer."""
    masks: dict[str, int] = {}
    for index, letter in enumerate(pattern):
        masks[letter] = masks.get(letter, 0) | 1 << index
    full, last = (1 << len(pattern)) - 1, 1 << (len(pattern) - 1)
    up, down, errors = full, 0, len(pattern)
    for index, letter in enumerate(text):
        match = masks.get(letter, 0)
        diagonal = ((((match & up) + up) ^ up) | match | down) & full
        right, left = down | (full & ~(diagonal | up)), up & diagonal
        if right & last:
            errors += 1
        elif left & last:
            errors -= 1
        right, left = (right << 1) & full, (left << 1) & full
        up, down = left | (full & ~(diagonal | right)), right & diagonal
        yield index + 1, errors
