"""Chats as JSON: OpenAI messages, ShareGPT, the exports of ChatGPT and Claude, logs of agents.

`transcripts` knows the shapes; here are lines, files, and what a chat is called.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from urllib.parse import quote

import msgspec

from stoker.memories.sources.decoding import decode
from stoker.memories.sources.documents import Block, Document, Limits, Reading, SourceError, name_of
from stoker.memories.sources.readers.text import read_code
from stoker.memories.sources.readers.transcripts import Chat, chats_of, turn_of
from stoker.memories.sources.writing import finish

_SHAPES = "a list of `messages` (OpenAI), `conversations` (ShareGPT), `mapping`, or `text`"


def read_jsonl(data: bytes, uri: str, limits: Limits) -> Iterator[Reading]:
    """A document for each line that is a chat; lines that are single turns make one together."""
    seen: dict[str, int] = {}
    turns: list[Block] = []
    is_told = False  # an error has said what is wrong
    for number, line in enumerate(decode(data).encode().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            value = _json(line, limits)
            chats = list(chats_of(value))
            turn = None if chats else turn_of(value)
            if turn is None and not chats:
                raise _shape_unknown()
            turns += [turn] if turn and turn.text.strip() else []
            yield from _documents(chats, uri, seen)
        except SourceError as error:
            is_told = True
            yield error.at(f"{uri}#line-{number}")
    if turns:
        yield from _whole(turns, uri)
    elif not seen and not is_told:
        yield from _nothing(uri)


def read_json(data: bytes, uri: str, limits: Limits) -> Iterator[Reading]:
    """A document for each chat of an export; any other JSON is read as it stands."""
    try:
        value = msgspec.json.decode(decode(data))
    except (msgspec.DecodeError, RecursionError) as error:
        raise _broken(error) from error
    chats = list(chats_of(value))
    if chats:
        yield from _documents(chats, uri, {})
    elif isinstance(value, list) and (turns := [turn_of(item) for item in value]) and all(turns):
        yield from _whole([turn for turn in turns if turn and turn.text.strip()], uri)
    else:
        yield from read_code(data, uri, limits)


def _documents(chats: list[Chat], uri: str, seen: dict[str, int]) -> Iterator[Reading]:
    for chat in chats:
        name = _name(chat)
        seen[name] = seen.get(name, 0) + 1
        part = f"{uri}#{name}" + (f"-{seen[name]}" if seen[name] > 1 else "")
        blocks = tuple(replace(turn, session=turn.session or chat.title) for turn in chat.turns)
        document = Document(part, "chat", chat.title or part, blocks, "chat/1", container=uri)
        try:
            yield finish(replace(document, observed_at=_latest(chat.at, blocks)))
        except SourceError as error:
            yield error.at(part)


def _whole(turns: list[Block], uri: str) -> Iterator[Reading]:
    stem = PurePosixPath(name_of(uri)).stem
    document = Document(uri, "chat", stem, tuple(turns), "chat/1")
    yield finish(replace(document, observed_at=_latest(None, document.blocks)))


def _nothing(uri: str) -> Iterator[Reading]:
    yield SourceError(
        "no line of it could be used",
        advice=f"expected in each: {_SHAPES}",
        code="source_empty",
        uri=uri,
    )


def _name(chat: Chat) -> str:
    """What a chat is called in its file: its id, else its beginning, which stays as it grows."""
    if chat.id:
        return quote(chat.id, safe="@.-_+")[:120]
    first = chat.turns[0].text if chat.turns else ""
    return hashlib.blake2b(first.encode("utf-8", "replace"), digest_size=8).hexdigest()


def _latest(at: float | None, blocks: tuple[Block, ...]) -> float | None:
    times = [block.said_at for block in blocks if block.said_at is not None]
    return max(times, default=at)


def _json(line: bytes, limits: Limits) -> object:
    if len(line) > limits.line_max_bytes:
        raise SourceError(
            f"the line has {len(line):,} bytes, more than the {limits.line_max_bytes:,} allowed",
            advice="split the record",
            code="source_too_large",
        )
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _broken(error) from error


def _broken(error: Exception) -> SourceError:
    return SourceError(
        f"it is not valid JSON ({error})", advice="mend or remove it", code="source_corrupt"
    )


def _shape_unknown() -> SourceError:
    return SourceError(
        "it is no chat that is known here",
        advice=f"expected is {_SHAPES}",
        code="source_unsupported",
    )
