"""LoCoMo through the whole pipeline: the set's observations are what a scripted model answers.

The conversations are imported as a chat reader reads them. Asked about a chunk, the script answers
with the observations that name a turn of it, each with the sentence of that turn that is most like
it. A ninth is cut off, as by a limit of tokens: the pipeline then asks about the halves.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from bench_memories_ingest import InstantJobs
from locomo import Conversation, Observation, Turn

from stoker.memories.asking import as_data
from stoker.memories.extract import ENTRIES_MAX
from stoker.memories.importing import prepare
from stoker.memories.lexical import containment
from stoker.memories.recall.recall import Recall
from stoker.memories.remembering import Remembering
from stoker.memories.service import Memories
from stoker.memories.settings import MemoriesSettings
from stoker.memories.sources import Document
from stoker.memories.sources.documents import Block
from stoker.memories.store.sqlite import SqliteMemoryStore
from stoker.memories.tiles import Role, SpanId, SpanKind
from stoker.runtime.clock import SystemClock

_LINE = re.compile(r"^\[(\d+)\] (.*)$", re.MULTILINE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_QUOTE_MAX_CHARS = 120


async def replay(
    store: SqliteMemoryStore, recall: Recall, data: Sequence[Conversation]
) -> Counter[str]:
    """Import and extract everything, one scope for each conversation; how each guard decided."""
    settings = MemoriesSettings()
    handler = Remembering(store, settings, recall)
    memories = Memories(store, InstantJobs(Observer(data)), SystemClock(), settings, handler)
    running = asyncio.create_task(memories.run())
    for conversation in data:
        view = await memories.begin_import(conversation.name, scope=conversation.name)
        await memories.add_reading(view, document(conversation))
        await memories.wait_import(view.id)
    running.cancel()
    return Counter(memories.guards)


def document(conversation: Conversation) -> Document:
    """As a chat reader reads it."""
    blocks = tuple(
        Block(
            turn.text,
            SpanKind.TURN,
            Role.USER,
            turn.author,
            turn.said_at + order,
            f"session {turn.session}",
        )
        for order, turn in enumerate(conversation.turns)
    )
    return Document(f"locomo:{conversation.name}", "chat", conversation.name, blocks, "locomo/1")


def turns_of(data: Sequence[Conversation]) -> dict[SpanId, str]:
    """The data set's name of each span."""
    named: dict[SpanId, str] = {}
    for conversation in data:
        placed = prepare(document(conversation), conversation.name, MemoriesSettings()).spans
        turns = zip(placed, conversation.turns, strict=True)
        named.update({one.span.id: turn.id for one, turn in turns})
    return named


class Observer:
    """A model that makes of each chunk what the authors' model made of its turns."""

    def __init__(self, data: Sequence[Conversation]) -> None:
        self._said: dict[str, list[tuple[Turn, Observation]]] = defaultdict(list)
        for conversation in data:
            turns = {turn.id: turn for turn in conversation.turns}
            for observation in conversation.observations:
                turn = turns[observation.turns[0]]
                line = f"{as_data(turn.author)}: {as_data(turn.text)}"
                self._said[line].append((turn, observation))

    def answer(self, body: Mapping[str, object]) -> str:
        """The text of the answer to a request's body."""
        messages = body["messages"]
        assert isinstance(messages, list)
        text = str(messages[-1]["content"])
        if text.startswith("New: "):
            return json.dumps({"dup": [], "supersedes": [], "why": "different"})
        claims = list(self._claims(text.partition("<text>")[2]))
        whole = json.dumps({"c": claims[:ENTRIES_MAX]})
        return whole if len(claims) <= ENTRIES_MAX else f"{whole[:-2]}, {{"

    def _claims(self, chunk: str) -> Iterator[dict[str, object]]:
        for number, line in _LINE.findall(chunk):
            for turn, observation in self._said.get(line, ()):
                yield {
                    "q": int(number),
                    "quote": likest(observation.statement, turn.text),
                    "s": observation.subject,
                    "k": "fact",
                    "t": observation.statement,
                    "when": None,
                }


def likest(statement: str, text: str) -> str:
    """The beginning of the sentence of `text` that has most of the statement's words."""
    best = max(_SENTENCE.split(text), key=lambda sentence: containment(statement, sentence))
    return best[:_QUOTE_MAX_CHARS]
