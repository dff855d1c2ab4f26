"""What one reader of a streamed answer sees, and when."""

from __future__ import annotations

from typing import Any

from stoker.demo.journal import Answer, Group
from stoker.ports import Clock


class Reader:
    """Give it the chunks as they come; it makes the `Answer`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_at = clock.monotonic()
        self._first_at: float | None = None
        self._pieces: list[str] = []
        self._usage: dict[str, Any] = {}

    @property
    def has_text(self) -> bool:
        return bool(self._pieces)

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def take(self, chunk: dict[str, Any]) -> None:
        """Note one chunk: its text, and the token counts that the last one brings."""
        piece = _text_of(chunk)
        if piece:
            if self._first_at is None:
                self._first_at = self._clock.monotonic()
            self._pieces.append(piece)
        self._usage = chunk.get("usage") or self._usage

    def answer(self, group: Group, *, is_beside_agent: bool) -> Answer:
        """The stream has ended."""
        first_at = self._first_at
        return Answer(
            group=group,
            ttft_s=None if first_at is None else first_at - self._began_at,
            e2e_s=self._clock.monotonic() - self._began_at,
            prompt_tokens=self._usage.get("prompt_tokens", 0),
            output_tokens=self._usage.get("completion_tokens", len(self._pieces)),
            is_beside_agent=is_beside_agent,
        )


def _text_of(chunk: dict[str, Any]) -> str:
    """What it adds to the answer; reasoning is something to read, too."""
    choices = chunk.get("choices")
    if not choices:
        return ""
    delta = choices[0].get("delta", {})
    return str(delta.get("content") or delta.get("reasoning_content") or "")
