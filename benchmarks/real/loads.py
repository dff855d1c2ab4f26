"""What is asked, how long the answers are, and when: drawn from a seed, so that arms are alike."""

from __future__ import annotations

import argparse
import math
import random
import statistics
import string
import tempfile
from dataclasses import dataclass
from typing import TypeAlias

Prompt: TypeAlias = list[int] | str
"""Token ids, or text. Two of a kind can be added, which is how a conversation grows."""

FIRST_ID, LAST_ID = 1_000, 32_000
"""Ordinary tokens of every vocabulary that we meet: its control tokens come before them."""
TAIL_MAX = 6.0
"""No answer is longer than this many means."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lognormal answer lengths, given by their mean, as people count tokens."""

    mean: float
    sigma: float = 0.0

    def draw(self, chance: random.Random) -> int:
        return self._whole(chance.lognormvariate(self._mu, self.sigma))

    def residual(self, chance: random.Random) -> int:
        """What is left of the answer that a closed loop is found in: the first wave.

        Long answers are found more often, in proportion to their length. Without this, all of the
        first wave would end together, and the second begin together.
        """
        found = chance.lognormvariate(self._mu + self.sigma**2, self.sigma)
        return self._whole(found * chance.random())

    @property
    def _mu(self) -> float:
        return math.log(self.mean) - self.sigma**2 / 2

    def _whole(self, length: float) -> int:
        return max(1, min(round(length), round(TAIL_MAX * self.mean)))


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts of a wanted length that share nothing with each other."""

    is_text: bool
    tokens_per_word: float = 1.0
    """As the engine's tokenizer has it; measured with one call."""

    def draw(self, chance: random.Random, tokens: int) -> Prompt:
        if not self.is_text:
            return chance.choices(range(FIRST_ID, LAST_ID), k=tokens)
        words = max(1, round(tokens / self.tokens_per_word))
        # The space leads, as tokenizers have it, so that what is appended does not change a token.
        return "".join(f" {word}" for word in chance.choices(WORDS, k=words))

    def fresh(self, tokens: int) -> Prompt:
        """Never asked before, in any arm: no prefix cache answers for the engine."""
        return self.draw(_UNSEEDED, tokens)


def joined(first: Prompt, second: Prompt) -> Prompt:
    """One prompt after the other. Both must be of the same kind."""
    match first, second:
        case str(), str():
            return first + second
        case list(), list():
            return first + second
    raise TypeError("a text and token ids do not make one prompt")


@dataclass(frozen=True, slots=True)
class Visit:
    """A time during which a person is there, and the questions asked in it."""

    began_at: float
    ended_at: float
    asks_at: tuple[float, ...]


def poisson(
    chance: random.Random, rate_per_s: float, began_at: float, ended_at: float
) -> list[float]:
    """Arrival moments of a Poisson process."""
    moments, at = [], began_at
    while (at := at + chance.expovariate(rate_per_s)) < ended_at:
        moments.append(at)
    return moments


def steady(seed: int, rate_per_s: float, window_s: float) -> list[Visit]:
    """Somebody is always there, and asks at any moment."""
    moments = poisson(random.Random(seed), rate_per_s, 0.0, window_s)
    return [Visit(0.0, window_s, tuple(moments))]


def bursts(
    seed: int, rate_per_s: float, window_s: float, *, on_s: float, off_s: float, lead_s: float
) -> list[Visit]:
    """Somebody types for `lead_s`, asks until `on_s` are over, is away for `off_s`, and so on."""
    chance = random.Random(seed)
    visits, at = [], 0.0
    while at < window_s:
        end = min(at + on_s, window_s)
        moments = poisson(chance, rate_per_s, at + lead_s, end)
        visits.append(Visit(at, end, tuple(moments)))
        at += on_s + off_s
    return visits


def _words() -> tuple[str, ...]:
    pages = (argparse, math, random, statistics, string, tempfile)
    found = " ".join(page.__doc__ or "" for page in pages).split()
    plain = {word for word in found if word.isascii() and word.isalpha() and word.islower()}
    return tuple(sorted(word for word in plain if 2 < len(word) < 8))


WORDS = _words()
_UNSEEDED = random.Random()
