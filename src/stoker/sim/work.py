"""What the simulated world is made of: requests of known length, and what the engine tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stoker.core.work import Priority, RequestId, Usage


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a prompt, addressed by content: equal keys share their first tokens.

    A prompt is a chain of segments. The prefix cache may serve the start of a segment when all
    segments before it are served whole. An agent's growing context is one key of growing length.
    """

    key: str
    tokens: int


@dataclass(frozen=True, slots=True)
class SimRequest:
    """One inference call with its true length, which only the engine model may look at."""

    id: RequestId
    priority: Priority
    segments: tuple[Segment, ...]
    output_tokens: int
    """True output length, `max_tokens` already applied."""
    max_tokens: int | None = None
    """What the client asked for at most, as the scheduler may see it."""
    family: str = ""
    session: str = ""
    """The agent session that it is a turn of."""
    tenant: str = ""
    extends: bool = False
    """Its output continues the content of its last segment (an agent's next turn sends it back)."""

    @property
    def prompt_tokens(self) -> int:
        return sum(segment.tokens for segment in self.segments)


@dataclass(frozen=True, slots=True)
class Started:
    """Its first token is out. `cached_tokens` of the prompt were served from the prefix cache."""

    at: float
    id: RequestId
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class Ended:
    """Its last token is out."""

    at: float
    id: RequestId
    usage: Usage
    gaps: Sequence[tuple[int, float]]
    """Inter-token gaps as (tokens, seconds each); empty unless the request was watched."""


Notice = Started | Ended
