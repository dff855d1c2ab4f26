"""Assembles the frames of a stream into the one answer that the engine would have given (pure)."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import msgspec

from stoker.core.work import Usage
from stoker.engines.bodies import CHAT
from stoker.engines.sse import data_of
from stoker.ports import Checkpoint

Json: TypeAlias = dict[str, Any]
# `Any` is what JSON of unknown shape is; it does not leave this module.


class Assembling(Protocol):
    """What puts a stream together, whatever its events are."""

    @property
    def text(self) -> str | None:
        """The text of this run so far, or `None` when the answer is more than one plain text."""

    def add(self, frame: bytes) -> None: ...

    def whole(self, usage: Usage | None, /) -> bytes:
        """The whole answer. Raises `EngineInterrupted` where the stream had none."""


class Assembler:
    """Takes frames in order; `text` grows with them, `whole()` is the finished answer."""

    def __init__(self, endpoint: str, *, kept: Checkpoint | None, is_prefill_echoed: bool) -> None:
        self._is_chat = endpoint == CHAT
        self._kept = kept
        self._echo = kept.text if kept is not None and is_prefill_echoed else ""
        self._answer: Json = {}
        self._choices: dict[int, Json] = {}

    def add(self, frame: bytes) -> None:
        """Merge one frame. Comments, pings and `[DONE]` change nothing."""
        data = data_of(frame)
        if not data.startswith(b"{"):
            return
        chunk: Json = msgspec.json.decode(data)
        for choice in chunk.pop("choices", None) or []:
            self._add_choice(choice)
        merge_last(self._answer, chunk)

    @property
    def text(self) -> str | None:
        """The text of this run so far, or `None` when the answer is more than one plain text."""
        if not self._choices:
            return ""
        if list(self._choices) != [0]:
            return None
        choice = self._choices[0]
        message = choice.get("message", {}) if self._is_chat else {"content": choice.get("text")}
        has_more = any(value for key, value in message.items() if key not in {"role", "content"})
        if has_more or choice.get("logprobs"):
            return None
        return message.get("content") or ""

    def whole(self, usage: Usage | None) -> bytes:
        """The whole answer, what earlier runs had in front. `usage` is that of the last run."""
        choices = [self._choices[index] for index in sorted(self._choices)]
        if self._kept is not None and choices:
            self._prepend(choices[0], self._kept.text)
        answer = {**self._answer, "choices": choices}
        answer["object"] = "chat.completion" if self._is_chat else "text_completion"
        if self._kept is not None:
            # The engine counted the last run only, and the kept text as prompt.
            answer["usage"] = _wire_usage(usage_of_runs(usage, self._kept))
        return msgspec.json.encode(answer)

    def _add_choice(self, choice: Json) -> None:
        index = choice.get("index", 0)
        mine = self._choices.setdefault(index, {"index": index})
        for key, value in choice.items():
            if key == "delta":
                self._merge_message(mine.setdefault("message", {}), value or {})
            elif key == "logprobs":
                mine["logprobs"] = _joined_logprobs(mine.get("logprobs"), value)
            elif key == "text":
                mine["text"] = _grown(mine.get("text"), self._without_echo(value)) or ""
            elif key != "index":
                merge_last(mine, {key: value})

    def _merge_message(self, message: Json, delta: Json) -> None:
        for key, value in delta.items():
            if key == "tool_calls":
                _merge_tool_calls(message.setdefault("tool_calls", []), value or [])
            elif key == "content":
                message[key] = _grown(message.get(key), self._without_echo(value))
            elif isinstance(value, str) and key != "role":
                message[key] = _grown(message.get(key), value)
            else:
                merge_last(message, {key: value})

    def _without_echo(self, piece: str | None) -> str | None:
        """Strip the prefill where the engine repeats it: it then comes whole, in its first piece.

        A continuation that merely repeats itself comes token by token, and is left alone.
        """
        if not self._echo or not piece:
            return piece
        echo, self._echo = self._echo, ""
        return piece.removeprefix(echo)

    def _prepend(self, choice: Json, text: str) -> None:
        holder, key = (choice, "text")
        if self._is_chat:
            holder, key = choice.setdefault("message", {"role": "assistant"}), "content"
        holder[key] = text + (holder.get(key) or "")


def merge_last(into: Json, new: Json) -> None:
    """Later values win, lists grow, and a null never overwrites something."""
    for key, value in new.items():
        known = into.get(key)
        if isinstance(known, list) and isinstance(value, list):
            known.extend(value)
        elif value is not None or key not in into:
            into[key] = value


def spent(endpoint: str, body: bytes, kept: Checkpoint, request_id: str) -> bytes:
    """The answer of a call whose earlier runs already had every token that it asked for."""
    is_chat = endpoint == CHAT
    message = {"message": {"role": "assistant", "content": kept.text}}
    answer = {
        "id": request_id,
        "object": "chat.completion" if is_chat else "text_completion",
        "model": msgspec.json.decode(body).get("model"),
        "choices": [
            {"index": 0, **(message if is_chat else {"text": kept.text}), "finish_reason": "length"}
        ],
        "usage": _wire_usage(usage_of_runs(None, kept)),
    }
    return msgspec.json.encode(answer)


def usage_of_runs(last: Usage | None, kept: Checkpoint | None) -> Usage:
    """Count all runs of a resumed call as the one call that they are to the client."""
    last = last or Usage(prompt_tokens=0, output_tokens=0)
    if kept is None:
        return last
    prompt_tokens = kept.prompt_tokens
    if prompt_tokens is None:
        prompt_tokens = max(0, last.prompt_tokens - kept.output_tokens)
    return Usage(
        prompt_tokens=prompt_tokens,
        output_tokens=kept.output_tokens + last.output_tokens,
        cached_tokens=None
        if last.cached_tokens is None
        else min(last.cached_tokens, prompt_tokens),
    )


def _grown(known: str | None, piece: str | None) -> str | None:
    # A role frame may say `content: null`; an answer without text keeps that null.
    return known if piece is None else (known or "") + piece


def _merge_tool_calls(known: list[Json], pieces: list[Json]) -> None:
    for piece in pieces:
        index = piece.get("index", len(known))
        while len(known) <= index:
            known.append({"function": {"name": "", "arguments": ""}})
        call = known[index]
        function = piece.get("function") or {}
        for key in ("name", "arguments"):
            call["function"][key] += function.get(key) or ""
        merge_last(call, {k: v for k, v in piece.items() if k not in {"index", "function"}})


def _joined_logprobs(known: Json | None, new: Json | None) -> Json | None:
    if known is None or new is None:
        return known if new is None else new
    merge_last(known, new)
    return known


def _wire_usage(usage: Usage) -> Json:
    counted: Json = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
    }
    if usage.cached_tokens is not None:
        counted["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    return counted
