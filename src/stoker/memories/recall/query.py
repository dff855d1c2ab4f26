"""A question, taken apart: its words and phrases, and which words are worth a look-up."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stoker.memories.recall.stop_words import STOP_WORDS

_PHRASE = re.compile(r'"([^"]+)"')
_WORD = re.compile(r"\w+(?:['’]\w+)?")
_WORDS_MAX = 64
"""A query of a page's length is cut here: nobody's question is longer."""
_TERMS_MIN = 3
_TERMS_MAX = 16
_POSTINGS_MAX = 10_000
"""Rows that the text index may have to score. At a million rows, each thousand costs 0.5 ms."""


@dataclass(frozen=True, slots=True)
class Query:
    """Words without stop words, each once, and quoted phrases, in order."""

    text: str
    words: tuple[str, ...]
    phrases: tuple[str, ...]


def parse(text: str) -> Query:
    """Take it apart. If there are only stop words, they are the words."""
    phrases = tuple(phrase.strip() for phrase in _PHRASE.findall(text) if _WORD.search(phrase))
    found = [word.removesuffix("'s").removesuffix("’s") for word in _WORD.findall(text)]
    said = [word for word in found if word.casefold() not in STOP_WORDS] or found
    words = {word.casefold(): word for word in reversed(said[:_WORDS_MAX])}
    return Query(text, tuple(reversed(words.values())), phrases)


class Stemmer:
    """What the text index makes of a word. SQLite itself is asked, so that they never disagree."""

    def __init__(self, tokenizer: str = "porter unicode61 remove_diacritics 2") -> None:
        self._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._db.execute(f"CREATE VIRTUAL TABLE words USING fts5 (word, tokenize = '{tokenizer}')")
        self._db.execute("CREATE VIRTUAL TABLE stems USING fts5vocab (words, instance)")

    def stems(self, words: Sequence[str]) -> list[str]:
        """One stem a word; a word that the index splits is its first part."""
        self._db.execute("DELETE FROM words")
        self._db.executemany("INSERT INTO words (rowid, word) VALUES (?, ?)", enumerate(words))
        found = self._db.execute('SELECT doc, term FROM stems WHERE "offset" = 0').fetchall()
        by_place = dict(found)
        return [by_place.get(place, word.casefold()) for place, word in enumerate(words)]

    def close(self) -> None:
        self._db.close()


def rarest(words: Sequence[str], rows_with: Mapping[str, int]) -> tuple[str, ...]:
    """The words worth a look-up, rarest first: three in any case, more while it stays cheap.

    What is in a fifth of all rows says little, and costs as much as all others together.
    """
    known = [word for word in words if rows_with.get(word, 0) > 0]
    known.sort(key=lambda word: rows_with[word])
    chosen: list[str] = []
    postings = 0
    for word in known[:_TERMS_MAX]:
        postings += rows_with[word]
        if postings > _POSTINGS_MAX and len(chosen) >= _least(chosen, rows_with):
            break
        chosen.append(word)
    return tuple(chosen)


def match_expression(terms: Sequence[str], phrases: Sequence[str]) -> str | None:
    """Any of them, as FTS5 writes it; `None` if there is nothing to look for."""
    parts = [_quoted(part) for part in (*phrases, *terms)]
    return " OR ".join(parts) or None


def _least(chosen: Sequence[str], rows_with: Mapping[str, int]) -> int:
    # Two rare words do without a third one that would be most of the work.
    return 1 if chosen and rows_with[chosen[0]] * 4 < _POSTINGS_MAX else _TERMS_MIN


def _quoted(part: str) -> str:
    return '"' + part.replace('"', '""') + '"'
