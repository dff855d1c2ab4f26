"""LoCoMo's conversations as the memory server sees them. The data set is read, never shipped.

It is under CC BY-NC 4.0: get `locomo10.json` from the authors' repository (snap-research/locomo),
and name it on the command line or in `LOCOMO`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_TURN = re.compile(r"D(\d+):(\d+)")
_SESSION = re.compile(r"session_(\d+)")
ADVERSARIAL = 5
"""Questions without an answer in the text."""


@dataclass(frozen=True, slots=True)
class Turn:
    id: str
    author: str
    text: str
    session: int
    said_at: float


@dataclass(frozen=True, slots=True)
class Observation:
    """What an LLM of the authors made of some turns: here, the extraction's answer."""

    statement: str
    subject: str
    turns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    evidence: frozenset[str]
    category: int


@dataclass(frozen=True, slots=True)
class Conversation:
    name: str
    turns: tuple[Turn, ...]
    observations: tuple[Observation, ...]
    questions: tuple[Question, ...]


def conversations(path: Path) -> list[Conversation]:
    """All ten, questions without evidence left out."""
    return [_conversation(raw) for raw in json.loads(path.read_text(encoding="utf-8"))]


def _conversation(raw: Mapping[str, object]) -> Conversation:
    turns = tuple(_turns(raw["conversation"]))
    known = {turn.id for turn in turns}
    questions = (_question(each, known) for each in raw["qa"])
    return Conversation(
        raw["sample_id"],
        turns,
        tuple(_observations(raw["observation"], known)),
        tuple(question for question in questions if question.evidence),
    )


def _turns(raw: Mapping[str, object]) -> Iterator[Turn]:
    numbers = sorted(int(match[1]) for name in raw if (match := _SESSION.fullmatch(name)))
    for number in numbers:
        said_at = _when(raw[f"session_{number}_date_time"])
        for turn in raw[f"session_{number}"]:
            photo = turn.get("blip_caption")
            text = turn["text"] + (f" [shares a photo of {photo}]" if photo else "")
            yield Turn(turn["dia_id"], turn["speaker"], text, number, said_at)


def _observations(raw: Mapping[str, object], known: set[str]) -> Iterator[Observation]:
    for session in raw.values():
        for subject, entries in session.items():
            for statement, evidence in entries:
                turns = tuple(dict.fromkeys(_ids(evidence)))
                turns = tuple(turn for turn in turns if turn in known)
                if turns:
                    yield Observation(statement, subject, turns)


def _question(raw: Mapping[str, object], known: set[str]) -> Question:
    evidence = frozenset(_ids(raw["evidence"])) & known
    return Question(raw["question"], evidence, raw["category"])


def _ids(raw: object) -> list[str]:
    # "D8:6; D9:17", lists of them, and one with a leading zero.
    return [f"D{int(a)}:{int(b)}" for a, b in _TURN.findall(str(raw))]


def _when(text: str) -> float:
    return datetime.strptime(text, "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC).timestamp()
