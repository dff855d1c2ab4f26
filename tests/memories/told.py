"""The seeded conversations as documents, ready to be imported."""

from __future__ import annotations

import json
from collections.abc import Sequence

from stoker.memories.sources import Block, Document
from stoker.memories.tiles import Role, SpanKind
from stoker.ports import EngineCall
from stoker.testing.conversations import Conversation, Script


def document(conversation: Conversation) -> Document:
    """A conversation as a chat export would give it."""
    blocks = tuple(
        Block(turn.text, SpanKind.TURN, Role.USER, turn.author, turn.said_at, turn.session)
        for turn in conversation.turns
    )
    return Document(f"chat:{conversation.id}", "chat", conversation.id, blocks, "told/1")


def script(told: Sequence[Conversation]):
    """A model that extracts the gold, and judges by it."""
    gold = Script(told)

    def answer(call: EngineCall) -> str:
        return gold.answer(json.loads(call.body))

    return answer
