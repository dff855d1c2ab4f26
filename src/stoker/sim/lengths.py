"""How long prompts and answers are: recorded traces where they are at hand, parametric twins else.

A twin is a table of quantiles of the trace it stands for, so that a bare clone runs the same
scenarios. Sources: Azure LLM inference trace 2023, conversation (Microsoft, CC-BY-4.0), and the
arXiv summarisation lengths of microsoft/vidur (MIT).
"""

from __future__ import annotations

import csv
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Protocol


class Shape(Protocol):
    """A joint distribution of prompt and output tokens."""

    def draw(self, random: Random) -> tuple[int, int]: ...


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A distribution by points of its inverse, straight lines between them."""

    points: tuple[tuple[float, float], ...]

    def draw(self, random: Random) -> int:
        return round(self.at(random.random()))

    def at(self, share: float) -> float:
        index = min(bisect_right(self.points, (share, math.inf)), len(self.points) - 1)
        (x0, y0), (x1, y1) = self.points[index - 1], self.points[index]
        return y0 + (y1 - y0) * (share - x0) / (x1 - x0)


@dataclass(frozen=True, slots=True)
class Twin:
    """Prompt and output drawn apart: in the traces their correlation is below 0.1."""

    prompt: Quantiles
    output: Quantiles

    def draw(self, random: Random) -> tuple[int, int]:
        return self.prompt.draw(random), self.output.draw(random)


@dataclass(frozen=True, slots=True)
class LogNormal:
    """Means and widths (sigma of the logarithm) of both, and what no draw exceeds."""

    prompt_mean: float
    output_mean: float
    prompt_sigma: float = 0.3
    output_sigma: float = 0.7
    prompt_max: int = 100_000
    output_max: int = 100_000

    def draw(self, random: Random) -> tuple[int, int]:
        prompt = lognormal(random, self.prompt_mean, self.prompt_sigma)
        output = lognormal(random, self.output_mean, self.output_sigma)
        return min(prompt, self.prompt_max), min(output, self.output_max)


def lognormal(random: Random, mean: float, sigma: float) -> int:
    """A positive whole number with that mean and that sigma of its logarithm."""
    return max(1, round(random.lognormvariate(math.log(mean) - sigma * sigma / 2.0, sigma)))


@dataclass(frozen=True, slots=True)
class Recorded:
    """Rows of a trace, each as likely as the other."""

    rows: Sequence[tuple[int, int]]

    def draw(self, random: Random) -> tuple[int, int]:
        return random.choice(self.rows)


AZURE_CONVERSATION_TWIN = Twin(
    prompt=Quantiles(
        (
            (0.0, 20), (0.05, 181), (0.25, 396), (0.5, 1020), (0.75, 1189), (0.9, 2734),
            (0.95, 4083), (0.99, 4142), (1.0, 6000),
        )
    ),
    output=Quantiles(
        (
            (0.0, 7), (0.05, 41), (0.25, 85), (0.5, 129), (0.75, 395), (0.9, 424), (0.95, 451),
            (0.99, 601), (1.0, 1000),
        )
    ),
)  # fmt: skip
ARXIV_TWIN = Twin(
    prompt=Quantiles(
        (
            (0.0, 20), (0.05, 747), (0.25, 1986), (0.5, 2730), (0.75, 3370), (0.9, 3702),
            (0.95, 3813), (0.99, 3933), (1.0, 4054),
        )
    ),
    output=Quantiles(
        (
            (0.0, 10), (0.05, 60), (0.25, 115), (0.5, 167), (0.75, 242), (0.9, 372), (0.95, 736),
            (0.99, 3270), (1.0, 4056),
        )
    ),
)  # fmt: skip
AZURE_GAP_SHAPE = 0.835
"""Gamma shape of the conversation trace's arrival gaps: 1 / 1.094**2, their squared variation."""


@dataclass(frozen=True, slots=True)
class Traces:
    """What is recorded, or its twins. Gaps are in units of their mean, and in their order."""

    conversation: Shape = AZURE_CONVERSATION_TWIN
    summaries: Shape = ARXIV_TWIN
    conversation_gaps: Sequence[float] = ()


def load_traces(folder: Path | None) -> Traces:
    """Read the two traces from a folder of their CSV files; without a folder, their twins."""
    if folder is None:
        return Traces()
    rows = _rows(folder / "azure_llm_2023_conv.csv")
    times = [_seconds(row["TIMESTAMP"]) for row in rows]
    mean = (times[-1] - times[0]) / (len(times) - 1)
    return Traces(
        conversation=Recorded(
            [(max(1, int(r["ContextTokens"])), max(1, int(r["GeneratedTokens"]))) for r in rows]
        ),
        summaries=Recorded(
            [
                (max(1, int(row["num_prefill_tokens"])), max(1, int(row["num_decode_tokens"])))
                for row in _rows(folder / "arxiv_summarization_lengths.csv")
            ]
        ),
        conversation_gaps=[(b - a) / mean for a, b in pairwise(times)],
    )


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _seconds(timestamp: str) -> float:
    """Of the day: the trace lies within one."""
    hours, minutes, seconds = timestamp.split()[1].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
