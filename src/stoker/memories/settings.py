"""What a person may set about the memory server, as it is given to it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MemoriesSettings:
    """Described in `config.MemoriesConfig`."""

    does_extract: bool = True
    model: str | None = None
    is_small: bool = False
    """Short prompts and small schemas, for models of a billion parameters or less."""
    is_strict_openai: bool = False
    """The engine refuses fields that OpenAI does not have."""
    has_assistants: bool = False
    jobs_ahead_max: int = 256
