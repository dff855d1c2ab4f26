"""The shapes of chats in JSON, as the world writes them. Unknown fields are ignored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stoker.memories.sources.dates import wall_time
from stoker.memories.sources.documents import Block
from stoker.memories.tiles import Role, SpanKind

_ROLES = {
    "user": Role.USER, "human": Role.USER, "prompter": Role.USER,
    "assistant": Role.ASSISTANT, "gpt": Role.ASSISTANT, "model": Role.ASSISTANT,
    "bot": Role.ASSISTANT, "ai": Role.ASSISTANT, "chatgpt": Role.ASSISTANT, "bard": Role.ASSISTANT,
    "claude": Role.ASSISTANT, "function_call": Role.ASSISTANT,
    "system": Role.SYSTEM, "developer": Role.SYSTEM,
    "tool": Role.TOOL, "function": Role.TOOL, "observation": Role.TOOL,
}  # fmt: skip
_TIMES = ("said_at", "created_at", "create_time", "timestamp", "created", "date", "ts", "time")
_UPDATES = ("updated_at", "update_time", *_TIMES)
_TEXT_PARTS = {"text", "input_text", "output_text", None}


@dataclass(frozen=True, slots=True)
class Chat:
    """One conversation of an export."""

    id: str
    title: str
    at: float | None
    turns: tuple[Block, ...]


def chats_of(value: object) -> Iterator[Chat]:
    """Every conversation in `value`; none if it is no chat, or the single turn of one."""
    if isinstance(value, list):
        for item in value:
            yield from chats_of(item) if isinstance(item, dict) else ()
        return
    if not isinstance(value, dict):
        return
    if isinstance(value.get("mapping"), dict):
        yield _chat(value, list(_visible_branch(value)))
        return
    for field in ("messages", "conversations", "chat_messages", "conversation", "items", "turns"):
        if isinstance(turns := value.get(field), list) and turns:
            found = [turn_of(item) for item in turns]
            if any(turn is not None for turn in found):
                yield _chat(value, [turn for turn in found if turn])
            else:
                yield from chats_of(turns)  # an export with its conversations one level deeper
            return


def turn_of(value: object) -> Block | None:
    """One turn, or None if `value` is none. A turn without words has an empty text."""
    if not isinstance(value, dict):
        return None
    inner = value.get("message")
    if isinstance(inner, dict):  # logs of agents keep the message beside their own fields
        return turn_of({**{name: value[name] for name in _TIMES if name in value}, **inner})
    name = _first_text(value, "role", "from", "sender", "speaker", "author")
    if isinstance(author := value.get("author"), dict):
        name = _first_text(author, "role", "name")
    text = _text(value)
    if text is None:
        return None
    role = _ROLES.get(name.lower(), Role.USER if name else Role.DOCUMENT)
    kind = SpanKind.TURN if name else SpanKind.PARAGRAPH
    # A name that is no role is who speaks: "Alice".
    author_name = _first_text(value, "name") or ("" if name.lower() in _ROLES else name)
    return Block(text, kind, role=role, author=author_name, said_at=_time(value, _TIMES))


def _chat(value: dict[str, object], turns: list[Block]) -> Chat:
    id = _first_text(value, "conversation_id", "uuid", "id", "session_id")
    title = _first_text(value, "title", "name")
    return Chat(
        id, title, _time(value, _UPDATES), tuple(turn for turn in turns if turn.text.strip())
    )


def _visible_branch(value: dict[str, object]) -> Iterator[Block]:
    """ChatGPT keeps a tree of edits and new tries; what the person last saw is one path of it."""
    mapping = value["mapping"]
    assert isinstance(mapping, dict)
    at = value.get("current_node") or next(reversed(mapping), None)
    path: list[object] = []
    seen: set[object] = set()
    while isinstance(at, str) and at not in seen and isinstance(node := mapping.get(at), dict):
        seen.add(at)
        path.append(node.get("message"))
        at = node.get("parent")
    for message in reversed(path):
        if (turn := turn_of(message)) is not None:
            yield turn


def _text(value: dict[str, object]) -> str | None:
    for field in ("content", "value", "text", "output"):
        if field in value and (text := _content(value[field])) is not None:
            # Claude's export has the words in `text` where its `content` has only parts.
            if not text and isinstance(value.get("text"), str):
                return str(value["text"])
            return text
    return "" if "role" in value and "tool_calls" in value else None


def _content(content: object) -> str | None:
    match content:
        case None:
            return ""
        case str():
            return content
        case {"parts": list(parts)} | list(parts):
            return "\n\n".join(text for part in parts if (text := _part(part)))
        case {"text": str(text)}:
            return text
        case dict():
            return ""
        case _:
            return None


def _part(part: object) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and part.get("type") in _TEXT_PARTS:
        return _first_text(part, "text")
    return ""  # an image, a tool call: no words of the person


def _time(value: dict[str, object], fields: tuple[str, ...]) -> float | None:
    times = (wall_time(value[field]) for field in fields if field in value)
    return next((at for at in times if at is not None), None)


def _first_text(value: dict[str, object], *fields: str) -> str:
    return next((text for name in fields if isinstance(text := value.get(name), str) and text), "")
