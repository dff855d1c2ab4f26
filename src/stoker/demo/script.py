"""Who does what and when: the timeline of the people, and the words of every request.

Pure. The same seconds and documents give the same workload.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, cycle
from typing import Any

from stoker.demo.documents import Document

Json = dict[str, Any]

PERIOD_S = 30.0
"""P0 then has the box for about a third of the time, the seconds after each visit included."""
TYPING_S = 1.0
"""From the first keystroke, when the lease is taken, to the first question."""
REST = 1.5
"""People stay away for this multiple of their last visit: on a slow box they come less often."""
QUESTIONS = 4
TOOL_S = 4.0
"""An agent's tool runs this long; the engine has nothing to do for it meanwhile."""
_BURST_AT, _STRAY_AT = 1 / 3, 1 / 10
_ANSWER_TOKENS, _PLAN_TOKENS, _SUMMARY_TOKENS = 20, 20, 32
_TOOL_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class Visit:
    """A person comes with questions: under a lease, or with one question and none."""

    at_s: float
    is_leased: bool

    @property
    def questions(self) -> int:
        return QUESTIONS if self.is_leased else 1


def visits(seconds: float) -> list[Visit]:
    """A leased burst in every period, and before all but the first burst a lone question.

    The lone question comes while background work has the box: after a burst it needs some seconds
    to return. A run of one period has both.
    """
    periods = max(1, round(seconds / PERIOD_S))
    period = seconds / periods
    found = []
    for index in range(periods):
        if index or periods == 1:
            found.append(Visit((index + _STRAY_AT) * period, is_leased=False))
        found.append(Visit((index + _BURST_AT) * period, is_leased=True))
    return found


def questions() -> Iterator[Json]:
    """Short interactive chats without end; none repeats soon, so no prefix cache knows it."""
    names = [name for name in dir(builtins) if name.islower() and not name.startswith("_")]
    for round, name in ((round, name) for round in count() for name in names):
        again = f" Answer differently than {round} times before." if round else ""
        text = f"What does Python's {name}() do? Answer in one sentence.{again}"
        yield _streamed([_user(text)], max_tokens=_ANSWER_TOKENS)


def summaries(documents: list[Document]) -> Iterator[tuple[str, Json]]:
    """Background work without end: each document with each instruction, by name."""
    for instruction in cycle(_INSTRUCTIONS):
        for document in documents:
            text = f"{instruction}\n\n{document.text}"
            yield document.name, _chat([_user(text)], max_tokens=_SUMMARY_TOKENS)


_INSTRUCTIONS = (
    "Summarise this documentation in one sentence.",
    "Say in one sentence when a programmer needs what is documented here.",
    "Write a question that this documentation answers.",
)


def plan(document: Document) -> Json:
    """An agent's first turn."""
    text = f"You are an agent with a tool that reads the documentation of {document.name}. "
    text += "Plan in one sentence how to explain it."
    return _streamed([_user(text)], max_tokens=_PLAN_TOKENS)


def act(planned: Json, answer: str, document: Document) -> Json:
    """Its second: the conversation so far, and what the tool brought."""
    result = f"Tool result:\n{document.text[:_TOOL_CHARACTERS]}\n\nExplain it in one sentence."
    turns = [*planned["messages"], {"role": "assistant", "content": answer}, _user(result)]
    return _streamed(turns, max_tokens=_SUMMARY_TOKENS)


def _user(text: str) -> Json:
    return {"role": "user", "content": text}


def _streamed(messages: list[Json], *, max_tokens: int) -> Json:
    # The client streams it; without this option the engine would not say how many tokens it took.
    return {**_chat(messages, max_tokens=max_tokens), "stream_options": {"include_usage": True}}


def _chat(messages: list[Json], *, max_tokens: int) -> Json:
    return {"messages": messages, "max_tokens": max_tokens, "temperature": 0}
